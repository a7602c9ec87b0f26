"""The command line. Exit codes: 0 done, 1 a bug, 2 an error that the user can fix, 130 interrupted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from backend.errors import CacheError, LayershiftError, StudyError
from backend.lab.lab import Lab
from backend.lab.pinning import pin
from backend.new_study import fields, from_trainer, inputs
from backend.new_study.options import add_options, check_used
from backend.reports import export as exporting
from backend.reports import report as reporting
from backend.reports import status, summary, taught
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
    sub = command(_cache, "cache", "Show what the cache holds, by study, or clear it.")
    sub.add_argument("study", metavar="STUDY", nargs="?", help="name of a study (default: all)")
    sub.add_argument("--clear", action="store_true", help="delete these results, after a question")
    sub.add_argument("--yes", action="store_true", help="delete without a question")
    add_options(command(_new, "new", "Create a new study: check its parts and write study.toml."))
    return parser


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
    pinned = pin(study, lab := open_lab(), tried=True)
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
    count = len(pinned.sample.text)
    print(f"  sample       {count} text{'s' * (count != 1)}, {int(prompts.truncated.sum())} truncated")
    if study.difference is not None:
        print(f"  own texts    {len(pinned.own_texts)} of {study.difference.texts}, for the Difference page")
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
    for sentence in taught.adapters(pinned, replace(lab, study=study.name)):
        print(f"  merged       {_line(sentence)}")
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


def _opened(name: str) -> tuple[exporting.PinnedStudy, Lab]:
    """Return a study, and a lab that works for it."""
    study = find_study(name)
    lab = replace(open_lab(), study=study.name)
    return pin(study, lab, tried=True), lab


def _warm(options: argparse.Namespace) -> int:
    analyses = exporting.choose(options.only)
    pinned, lab = _opened(options.study)
    viewpoint = _viewpoint(options)
    for _ in exporting.compute(pinned, lab, analyses, bar, viewpoint, _note):
        pass
    for sentence in exporting.without_values(pinned, analyses, viewpoint, every=options.only is None):
        _note(sentence)
    _note_missing(pinned)
    return 0


def _export(options: argparse.Namespace) -> int:
    analyses = exporting.choose(options.only)
    pinned, lab = _opened(options.study)
    viewpoint = _viewpoint(options)
    for file in exporting.export(pinned, lab, options.out, analyses, bar, viewpoint, _note):
        print(file)
    for sentence in exporting.without_values(pinned, analyses, viewpoint, every=options.only is None):
        _note(sentence)
    _note_missing(pinned)
    return 0


def _report(options: argparse.Namespace) -> int:
    pinned, lab = _opened(options.study)
    print(reporting.write_report(pinned, lab, options.out, bar, _viewpoint(options)))
    _note_missing(pinned)
    return 0


def _cache(options: argparse.Namespace) -> int:
    cache = open_lab().cache
    if cache.note:
        raise CacheError(cache.note)
    kept = cache.usage()
    if options.study is not None:
        kept = [one for one in kept if one.study == options.study]
        if not kept:
            raise CacheError(f'The cache holds nothing of a study "{options.study}"; `cache` lists the studies.')
    total = f"{sum(one.entries for one in kept):,} entries, {status.size(sum(one.size for one in kept))}"
    print(f"{cache.folder}: {total}")
    for one in kept:
        print(f"  {one.study or status.SHARED:<16} {one.entries:>7,} entries {status.size(one.size):>10}")
    if not options.clear:
        return 0
    if not options.yes:
        if not sys.stdin.isatty():
            raise CacheError("Nothing was deleted, because a script cannot be asked; repeat the command with --yes.")
        if input(f"Delete {total}? [y/N] ").strip().lower() not in ("y", "yes"):
            print("Nothing was deleted.")
            return 0
    print(f"deleted {cache.clear(options.study):,} entries")
    return 0


def _note(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _note_missing(pinned: exporting.PinnedStudy) -> None:
    for sentence in pinned.study.notes:
        _note(_line(sentence))
    for one in pinned.missing:
        print(f"left out {one.label}: {_line(one.reason)}", file=sys.stderr)


def _new(options: argparse.Namespace) -> int:
    check_used(options)
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
    for line in completed.found:
        print(line)
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
