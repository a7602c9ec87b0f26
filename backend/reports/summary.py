"""Describe a study: model, checkpoints, texts, prompt, time and device of the computation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from backend.analyses import accuracy
from backend.lab.lab import Lab, ReadoutQuery, collect
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.comparison import Comparison
from backend.study.config import CheckpointRef, DatasetSpec, Study, TrainingSpec
from backend.study.kinds import NAMES
from backend.study.pinned import PinnedStudy
from backend.study.prompts import shown

POSITIONS = {
    "last": "the last token of the prompt",
    "text_end": "the last token of the text",
    "text_mean": "the mean over the tokens of the text",
    "generated": "the first token that the model writes",
}
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))
_DAYS = 30
"""Age in days from which a date says more."""
_EXAMPLES, _BEGINNING = 2, 80
"""How many texts of a class are shown, and how many characters of each."""


def listed(study: Study) -> str:
    """Return the title of a study for a list of studies, marked if weights are missing or still on the hub."""
    own = [Path(ref.path).is_dir() for ref in study.refs if ref.path is not None]
    if not all(own):
        return f"{study.title} ({'some weights' if any(own) else 'weights'} missing)"
    here = all(_downloaded(ref.repo, ref.subfolder) for ref in study.refs if ref.repo is not None)
    return study.title if here else f"{study.title} (weights to download)"


def _downloaded(repo: str, subfolder: str | None) -> bool:
    """Return whether this disk holds weights of a hub repository, of any revision. The hub is not asked."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    snapshots = cache / f"models--{repo.replace('/', '--')}" / "snapshots"
    return any(True for _ in snapshots.glob(f"*/{f'{subfolder}/' if subfolder else ''}*.safetensors"))


def compared(pinned: PinnedStudy, lab: Lab, now: float | None) -> dict[str, str]:
    """Return what is compared, in plain text.

    `now`, in seconds since 1970, adds how long ago it was computed; None for a file, which is read later.
    """
    study, facts = pinned.study, pinned.base.facts
    sample = pinned.sample
    each = f", {len(sample.text) // pinned.prompts.classes} of each class" if pinned.prompts.classes > 1 else ""
    results = {
        "model": f"{facts.architecture}, {facts.layers} blocks, width {facts.width}, {_millions(facts.parameters)} "
        f"parameters",
        **({} if study.kind == "answers" else {"kind": NAMES[study.kind]}),
        "texts": f"{len(sample.text)} of {source(study.dataset, study.folder)}{each}, drawn with seed "
        f"{study.dataset.seed}",
        "prompt": pinned.readers.first.spec.template,
        **_asked(pinned),
        "cut": f"{int(pinned.prompts.truncated.sum())} texts, to fit {study.prompt.max_tokens} tokens; the "
        f"{study.prompt.keep} of a text is kept",
    }
    if study.training is not None:
        results["training"] = training(study.training, study.folder)
    if now is not None:
        times = [time for checkpoint in pinned.checkpoints if (time := _computed(pinned, checkpoint, lab)) is not None]
        results["computed"] = moment(min(times), now) if times else "not yet"
    results["device"] = f"{lab.models.device}, {pinned.base.dtype}"
    return results


def _computed(pinned: PinnedStudy, checkpoint: PinnedCheckpoint, lab: Lab) -> float | None:
    """Return when a checkpoint's answers (without answers, its residuals) were computed; None if they were not."""
    if pinned.lacks("answers"):
        return collect.computed(ReadoutQuery(checkpoint, pinned.prompts.seen_by(checkpoint)), lab)
    return accuracy.recipe.computed(accuracy.Query(checkpoint, pinned.prompts), lab)


def _asked(pinned: PinnedStudy) -> dict[str, str]:
    """Return the label words, or the classes of a contrast, and where residuals are read if not at the last token."""
    prompt = pinned.study.prompt
    position = {} if prompt.position == "last" else {"read at": POSITIONS[prompt.position]}
    names = {"answers": "answers", "contrast": "classes"}.get(pinned.study.kind)
    return ({names: ", ".join(pinned.words)} if names else {}) | position


@dataclass(frozen=True)
class ClassLine:
    """One class under all its names: label value (and the data's name for it), word, and what answers for it.

    `read` says for each checkpoint which tokens or which row of its head stand for the class; `examples` are two texts.
    """

    place: int
    value: str
    word: str
    read: dict[str, str]
    examples: tuple[str, ...]


def classes(pinned: PinnedStudy) -> list[ClassLine]:
    """Return the label value, class, label word and head row that belong together, for the reader to check."""
    lines = []
    for c, names in enumerate(pinned.classes):
        texts = [pinned.sample.text[i] for i in np.flatnonzero(pinned.sample.label == c)[:_EXAMPLES]]
        value = names.value if names.name is None else f"{names.value} ({names.name})"
        read = {checkpoint.label: _answer(pinned, checkpoint, c) for checkpoint in pinned.checkpoints}
        lines.append(ClassLine(c, value, names.word, read, tuple(_beginning(text) for text in texts)))
    return lines


def _answer(pinned: PinnedStudy, one: PinnedCheckpoint, c: int) -> str:
    """Return the tokens or the head row that stand for a class."""
    prompts, reader = pinned.prompts.seen_by(one), pinned.readers.of[one.fingerprint]
    if reader.endings:
        return shown(reader.tokenizer, prompts.continuations[c])
    if not one.facts.asked:
        return "not asked"
    if not one.facts.replies:
        return "no head"
    row = prompts.label_tokens[c]
    return f"row {row}" + (f" ({one.facts.head_names[row]})" if one.facts.head_names else "")


def _beginning(text: str) -> str:
    """Return the start of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _BEGINNING else f"{line[:_BEGINNING]} …"


def step(case: Comparison) -> str | None:
    """Say at which step of the training the chosen checkpoint was saved; None if the steps are unknown."""
    at = case.steps[case.place(case.checkpoint)] if case.steps is not None else None
    if case.steps is None or at is None:
        return None
    return f"Step {at:,} of {case.steps[-1]:,}. The slider is evenly spaced."


def planned(study: Study) -> str:
    """Describe a study whose weights or texts are missing, in plain text."""
    labels = [ref.label for ref in study.checkpoints]
    texts = f"{study.dataset.sample} texts of {source(study.dataset, study.folder)}"
    beside = f" with {len(labels)} fine-tuned checkpoints ({', '.join(labels)})" if labels else ""
    makes = f". Make the checkpoints with: python -m backend finetune {study.name}" if study.training and labels else ""
    return f"“{study.title}” compares {_near(study.base.place, study.folder)}{beside} on {texts}{makes}."


def checkpoints(pinned: PinnedStudy, now: float | None) -> list[dict[str, str]]:
    """Return the place of each checkpoint and the age of its weights (`moment`), unusable checkpoints included."""
    there = {checkpoint.label: checkpoint for checkpoint in pinned.checkpoints}
    rows = []
    for ref in pinned.study.refs:
        one = there.get(ref.label)
        written = _written(ref)
        rows.append(
            {
                "checkpoint": ref.label,
                "place": _near(ref.place, pinned.study.folder),
                "weights written": moment(written, now) if written is not None else "",
                "fingerprint": one.fingerprint[:12] if one else "cannot be used",
            }
        )
    return rows


def training(spec: TrainingSpec, folder: Path) -> str:
    """Describe the data and settings of `finetune`."""
    texts = f"{spec.sample:,} texts" if spec.sample else "texts"
    return (
        f"{spec.epochs} {'epoch' if spec.epochs == 1 else 'epochs'} over {texts} of {source(spec, folder)}, recipe "
        f"{spec.recipe}, batches of {spec.batch_size}, learning rate {spec.learning_rate:g}"
    )


def source(spec: DatasetSpec | TrainingSpec, folder: Path) -> str:
    """Name the source of texts; a [training] without one gets them from the command line."""
    if spec.path is not None:
        return _near(spec.path, folder)
    if spec.repo is None:
        return "the file named with --data"
    return f"{spec.repo} ({', '.join(filter(None, (spec.config, spec.split)))})"


def moment(then: float, now: float | None) -> str:
    """Format a moment as `5 minutes ago`, or as a date when it is long past or `now` is None."""
    if now is None:
        now = float("inf")
    seconds = max(0.0, now - then)
    if seconds >= _DAYS * _UNITS[0][0]:
        return f"{datetime.fromtimestamp(then):%Y-%m-%d}"
    for length, unit in _UNITS:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _near(place: str, folder: Path) -> str:
    """Return a path relative to the study's folder, if it is inside."""
    path = Path(place)
    return str(path.relative_to(folder)) if path.is_absolute() and path.is_relative_to(folder) else place


def _written(ref: CheckpointRef) -> float | None:
    """Return when the newest weights of a local checkpoint were written; None without local weights."""
    if ref.path is None:
        return None
    try:
        return max((file.stat().st_mtime for file in Path(ref.path).glob("*.safetensors")), default=None)
    except OSError:  # removed meanwhile
        return None


def _millions(count: int) -> str:
    return f"{count / 1e9:.1f} billion" if count >= 1e9 else f"{count / 1e6:.3g} million"
