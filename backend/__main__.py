"""The command line. Exit codes: 0 done, 1 a bug, 2 an error that the user can fix, 130 interrupted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from backend.analyses import Analysis
from backend.errors import LayershiftError, StudyError
from backend.lab.pinning import pin
from backend.new_study import fields, from_trainer, inputs
from backend.new_study.asked import KINDS
from backend.reports import export as exporting
from backend.reports import report as reporting
from backend.reports import summary
from backend.reports.terminal import bar
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.config import BASE, STUDY_FILE, Study, load_study
from backend.study.kinds import NAMES
from backend.study.training_log import read_training_log
from backend.vocabulary.display import visible
from backend.wiring import find_study, open_lab, studies, studies_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except LayershiftError as error:
        print(_line(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; finished results are kept.", file=sys.stderr)
        return 130


def _line(text: object) -> str:
    """The text on one line: a label word or a file's name may hold line ends."""
    return " ".join(str(text).splitlines())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m backend", description="Layershift on the command line.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int], name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    command(_studies, "studies", "List the studies and whether they can be opened.")
    for run, name, text in (
        (
            _check,
            "check",
            "Check files, weights, data and prompts; print three prompts as the model sees them.",
        ),
        (_finetune, "finetune", "Fine-tune the base model of a study and save one checkpoint per epoch."),
        (_warm, "warm", "Compute and cache the results that the pages show first."),
        (_export, "export", "Write the results of every analysis as CSV, with a manifest and the sample."),
        (_report, "report", "Write the whole study as one HTML file that works offline."),
    ):
        sub = command(run, name, text)
        sub.add_argument("study", metavar="STUDY", help="name of a study in studies/, or path of its folder")
        if name == "finetune":
            sub.add_argument("--data", type=Path, help="train on this data file instead of the study's training data")
            sub.add_argument("--overwrite", action="store_true", help="train again and overwrite finished checkpoints")
        if name == "export":
            sub.add_argument("--out", type=Path, required=True, help="output folder")
        if name in ("warm", "export"):
            sub.add_argument("--only", metavar="A,B", help="run only these analyses, separated by commas")
        if name == "report":
            sub.add_argument("--out", type=Path, default=Path("report.html"), help="output file (default: report.html)")
        if name in ("warm", "export", "report"):
            _add_viewpoint(sub)
    _add_new(command(_new, "new", "Create a new study: check its parts and write study.toml."))
    return parser


def _add_new(sub: argparse.ArgumentParser) -> None:
    """Add the options of `new`, named like the fields of NewStudy."""
    template = inputs.TEMPLATE
    sub.add_argument("name", metavar="NAME", help="name of the study's folder; use letters, digits, - and _")
    sub.add_argument("folder", metavar="FOLDER", nargs="?", help="output folder of a trainer with base and checkpoints")
    sub.add_argument("--base", help="hub repository or local directory of the base model (default: found in FOLDER)")
    sub.add_argument("--checkpoints", nargs="+", help="directories, or a quoted pattern (default: found in FOLDER)")
    sub.add_argument(
        "--data", required=True, help="data file (.parquet, .csv, .jsonl, ...), saved dataset, or hub dataset"
    )
    sub.add_argument("--labels", help="the label values to use, in class order, separated by commas (default: all)")
    sub.add_argument("--split", help="split of a hub dataset or of a saved one (default: test, or the only one)")
    sub.add_argument(
        "--text",
        action="append",
        help="column of the texts (default: text); for pairs both, as in --text premise,hypothesis or given twice",
    )
    sub.add_argument("--label", default="label", help="column of the labels (default: label)")
    kinds = "; ".join(f"{kind}: {words}" for kind, words in KINDS.items())
    sub.add_argument("--kind", choices=tuple(KINDS), default="answers", help=f"{kinds} (default: answers)")
    sub.add_argument("--chat", action="store_true", help="the template is the user's message of a chat")
    sub.add_argument("--system", default="", help="the system message of a chat")
    sub.add_argument("--template", help=f'the prompt (default: "{template}"; with a classification head: the text)')
    sub.add_argument("--separator", help="what stands between prompt and label word (default: found)")
    sub.add_argument("--tokenizer", choices=("own", "base"), help="whose token ids count where they differ")
    sub.add_argument("--label-words", help="one word per class, in class order, separated by commas")
    sub.add_argument("--max-tokens", type=int, default=256, help="longest prompt in tokens (default: 256)")
    sub.add_argument("--sample", type=int, help="number of texts to draw, balanced by class (default: up to 200)")
    sub.add_argument("--family", choices=("causal", "encoder"), help="kind of model (default: that of the base)")
    sub.add_argument("--title", help="title shown in the dashboard (default: NAME)")


def _add_viewpoint(sub: argparse.ArgumentParser) -> None:
    """Add the options that the sidebar of the dashboard offers."""
    sub.add_argument("--reference", metavar="LABEL", default=BASE, help="reference checkpoint (default: base)")
    sub.add_argument(
        "--drop-largest", metavar="K", type=int, default=0, help="exclude the K largest dimensions (default: 0)"
    )
    sub.add_argument("--layer", metavar="L", type=int, help="layer for single-layer analyses (default: the last)")


def _viewpoint(options: argparse.Namespace) -> exporting.Viewpoint:
    return exporting.Viewpoint(options.reference, options.drop_largest, options.layer)


def _studies(_: argparse.Namespace) -> int:
    studies_by_name = studies()
    if not studies_by_name:
        raise StudyError(f"{studies_folder()} contains no studies; create one with: python -m backend new NAME ...")
    for name, study in studies_by_name.items():
        if isinstance(study, Study):
            print(f"{name:<16} {study.title} ({len(study.checkpoints)} checkpoints)")
        else:
            print(f"{name:<16} cannot be read: {study}")
    return 0


def _check(options: argparse.Namespace) -> int:
    study = find_study(options.study)
    pinned = pin(study, open_lab(), tried=True)
    print(f"{study.name}: {study.title}")
    for checkpoint in pinned.checkpoints:
        facts = checkpoint.facts
        print(
            f"  {checkpoint.label:<12} {facts.architecture}, {facts.layers} blocks, width {facts.width}, "
            f"{facts.parameters / 1e6:.2f} M parameters, {_memory(checkpoint)}, {checkpoint.fingerprint[:12]}  "
            f"{checkpoint.ref.place}"
        )
    for one in pinned.missing:
        print(f"  {one.label:<12} {_line(one.reason)}")
    for sentence in pinned.warnings:
        print(f"  warning      {sentence}")
    prompts = pinned.prompts
    if study.kind != "answers" or study.prompt.position != "last":
        print(f"  kind         {NAMES[study.kind]}, read at {summary.POSITIONS[study.prompt.position]}")
    print(f"  sample       {len(pinned.sample.text)} texts, {int(prompts.truncated.sum())} truncated")
    if values := pinned.sample.values:
        print(f"  values       {min(values):g} to {max(values):g} in order, {len(set(values))} different")
    _print_classes(pinned)
    reader = pinned.readers.first
    if len(study.prompt.fields) > 1 and study.family == "encoder":
        types = "token types 0 and 1" if prompts.token_types else "no token types"
        how = f"tokenizer(first, second), {types}" if reader.pairs(study.prompt.fields) else "the template as one text"
        print(f"  pair         {how}")
    tokenizer = reader.tokenizer
    for ids in prompts.token_ids[:3]:
        print(f"  prompt       {tokenizer.decode(list(ids), skip_special_tokens=False)!r}")
    if pinned.missing:
        raise StudyError(
            f"{len(pinned.missing)} of {len(study.checkpoints)} checkpoints cannot be used (reasons above); fix them, "
            f"or train them with: python -m backend finetune {options.study}"
        )
    return 0


def _memory(checkpoint: PinnedCheckpoint) -> str:
    """Return the dtype that a checkpoint computes in, its bytes there, and the dtype in its files."""
    dtype, facts = checkpoint.dtype, checkpoint.facts
    stored = "" if facts.stored == dtype else f" (stored as {facts.stored})"
    return f"{dtype}{stored}, {facts.memory(dtype) / 1e6:,.1f} MB in memory"


def _print_classes(pinned: exporting.PinnedStudy) -> None:
    """Print the separator, then per class its label value, label word, tokens or head row, and two example texts."""
    if pinned.separator is not None:
        origin = "chosen: makes the label words likeliest" if pinned.separator_found else "prompt.separator"
        print(f"  separator    {visible(pinned.separator) if pinned.separator else '(none)'}  ({origin})")
    for line in () if pinned.lacks("classes") else summary.classes(pinned):
        agree = len(set(line.read.values())) == 1
        source = line.read["base"] if agree else ", ".join(f"{label}: {how}" for label, how in line.read.items())
        answer = f" -> {line.word!r} -> {source}" if pinned.prompts.asks else f", called {line.word!r}"
        print(f"  class {line.place}      label {line.value}{answer}")
        for text in line.examples:
            print(f"               {text}")


def _finetune(options: argparse.Namespace) -> int:
    study = find_study(options.study)
    from backend.training.finetune import finetune  # imports torch, so only here

    finetune(study, options.data, options.overwrite)
    return 0


def _warm(options: argparse.Namespace) -> int:
    lab = open_lab()
    analyses = exporting.choose(options.only)
    pinned = pin(find_study(options.study), lab, tried=True)
    for _ in exporting.compute(pinned, lab, analyses, bar, _viewpoint(options), _note):
        pass
    _note_missing(pinned)
    return 0


def _export(options: argparse.Namespace) -> int:
    lab = open_lab()
    analyses = exporting.choose(options.only)
    pinned = pin(find_study(options.study), lab, tried=True)
    viewpoint = _viewpoint(options)
    for file in exporting.export(pinned, lab, options.out, analyses, bar, viewpoint, _note):
        print(file)
    expected = [one for one in analyses if one.needs != "order" or options.only]
    _note_undefined(pinned, [one for one in expected if not viewpoint.queries(one, pinned)])
    _note_missing(pinned)
    return 0


def _report(options: argparse.Namespace) -> int:
    lab = open_lab()
    pinned = pin(find_study(options.study), lab, tried=True)
    print(reporting.write_report(pinned, lab, options.out, bar, _viewpoint(options)))
    _note_missing(pinned)
    return 0


def _note(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _note_undefined(pinned: exporting.PinnedStudy, analyses: Sequence[Analysis]) -> None:
    """Print the analyses without values for the study, with what to add for them."""
    reasons: dict[str, list[str]] = {}
    for one in analyses:
        lacking = pinned.lacks(one.needs) if one.needs else None
        reasons.setdefault(lacking or "undefined for this study with this reference", []).append(one.name)
    for reason, names in reasons.items():
        _note(f"left out {', '.join(names)}: {reason}")


def _note_missing(pinned: exporting.PinnedStudy) -> None:
    for sentence in pinned.study.notes:
        _note(_line(sentence))
    for one in pinned.missing:
        print(f"left out {one.label}: {_line(one.reason)}", file=sys.stderr)


def _new(options: argparse.Namespace) -> int:
    given = {key: value for key, value in vars(options).items() if key != "run" and value is not None}
    for key in ("labels", "label_words"):
        if key in given:
            given[key] = inputs.split_words(given[key])
    if "text" in given:
        given["text"] = inputs.text_columns(given["text"])
    draft = fields.NewStudy(**{"base": "", **given, "checkpoints": tuple(options.checkpoints or ())})
    defaults = {"family", "template"} - given.keys()
    completed = from_trainer.complete(draft, studies_folder(), open_lab(), defaults)
    folder = fields.create(completed.study, studies_folder(), open_lab())
    for note in completed.notes:
        print(note, file=sys.stderr)
    if completed.base_file is not None:
        print(f"base         {completed.study.base}, named by {completed.base_file}")
    print(f"wrote {folder / STUDY_FILE}")
    _show_curve(load_study(folder))
    return _check(argparse.Namespace(study=str(folder)))


def _show_curve(study: Study) -> None:
    """Print whether a training curve was found; the error of a damaged log is printed instead."""
    try:
        log = read_training_log(study)
    except LayershiftError as error:
        print(error, file=sys.stderr)
        return
    if log is not None:
        print(f"curve        {len(log.step)} lines, up to step {log.step[-1]}")


if __name__ == "__main__":
    sys.exit(main())
