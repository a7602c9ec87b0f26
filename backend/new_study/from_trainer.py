"""Complete a new study from the output folder of a trainer: base, checkpoints, family, template, label words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path
from typing import Any

from backend.errors import CheckpointError, StudyError
from backend.lab.lab import Lab
from backend.new_study.fields import NewStudy, base_ref, values
from backend.new_study.inputs import usual_template
from backend.new_study.longest_prompt import shorten
from backend.study.config import CheckpointRef, Family
from backend.study.facts import Facts
from backend.study.paths import folder_named, new_folder
from backend.study.trainers.base_model import find_base
from backend.study.trainers.folders import find
from backend.study.trainers.order import FoundCheckpoint, Training, named


@dataclass(frozen=True)
class Inside:
    """What a trainer's folder says: `base_file` names the base, `notes` say which checkpoints were left out.

    `family` and `template` are None where the base is on the hub and was not looked at, `template` also where next
    tokens answer. `words` are the names of a head's rows, if it has names.
    """

    base: str
    base_file: Path | None
    checkpoints: tuple[FoundCheckpoint, ...]
    notes: tuple[str, ...]
    family: Family | None = None
    template: str | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Completed:
    """A completed study; `found` says what was filled in, a line each, and `notes` list what was left out."""

    study: NewStudy
    found: tuple[str, ...]
    notes: tuple[str, ...]


def complete(new: NewStudy, root: Path, lab: Lab, defaults: Collection[str] = ("family", "template")) -> Completed:
    """Fill the open fields from the files that a trainer wrote; fields in `defaults` may be replaced.

    Writes nothing and opens no model. Raises StudyError or CheckpointError if base or checkpoints cannot be found.
    """
    new_folder(new.name, root)
    inside = look(new, root, lab)
    new = replace(new, base=inside.base, found_checkpoints=inside.checkpoints)
    if "family" in defaults and inside.family is not None:
        new = replace(new, family=inside.family)
    if "template" in defaults:
        plain = inside.template is not None or new.kind != "answers"
        new = replace(new, template=usual_template(new.text, plain))
    if new.kind == "answers" and new.label_words is None and inside.words and are_rows(values(new), inside.words):
        new = replace(new, label_words=inside.words)
    new, short = shorten(new, root, lab)
    found = [] if inside.base_file is None else [f"base         {inside.base}, named by {inside.base_file}"]
    return Completed(new, (*found, *([f"max_tokens   {short}"] if short else [])), inside.notes)


def look(new: NewStudy, root: Path, lab: Lab, fetch: bool = True) -> Inside:
    """Search the trainer's folder, or the folders of the named checkpoints; without `fetch`, nothing on the hub.

    Opens no model. Raises StudyError or CheckpointError, one sentence, where base or checkpoints cannot be found.
    """
    folder, training = _training(new)
    if not training.checkpoints:
        raise _none(folder, training, lab)
    file: Path | None = None
    if not new.base.strip():
        named_base = find_base(folder, [one.path for one in training.checkpoints])
        new, file = replace(new, base=named_base.base), named_base.file
    base = base_ref(new, root)
    if base.repo is not None and not fetch:
        return Inside(new.base, file, training.checkpoints, training.notes)
    facts = _base_facts(base, file, lab)
    if new.checkpoints:
        usable, notes = training.checkpoints, training.notes
    else:
        usable, notes = _usable(training, base, lab)
    heads = [head for one in usable if (head := _facts(one, base, lab)) is not None]
    classifies = facts.kind == "encoder" or any(head.answers is not None for head in heads)
    return Inside(
        base=new.base,
        base_file=file,
        checkpoints=usable,
        notes=notes,
        family="encoder" if facts.kind == "encoder" else "causal",
        template=usual_template("text", plain=True) if classifies else None,
        words=next((one.head_names for one in heads if one.head_names), ()),
    )


def are_rows(labels: Sequence[Any], names: Sequence[str]) -> bool:
    """Whether the label values are the numbers of the rows of a head with these names."""
    return list(map(str, labels)) == list(map(str, range(len(names))))


def _training(new: NewStudy) -> tuple[Path, Training]:
    """Return the folder to search, and the checkpoints: the named ones, else those inside the folder."""
    if not new.folder.strip() and not new.checkpoints:
        raise StudyError("No checkpoints are named; give the output folder of a trainer, or --base and --checkpoints.")
    if not new.checkpoints:
        folder = folder_named(new.folder)
        return folder, find(folder)
    training = named(new.checkpoints)
    if new.folder.strip():
        return folder_named(new.folder), training
    return Path(commonpath([checkpoint.path.parent for checkpoint in training.checkpoints])), training


def _none(folder: Path, training: Training, lab: Lab) -> StudyError:
    """Return the error of a folder without readable checkpoints: the reason of the first candidate."""
    candidate = training.unusable[0] if training.unusable else folder
    if not next(candidate.iterdir(), None):
        return StudyError(f"{candidate} is empty; name the output folder of a training.")
    reason = _reason(FoundCheckpoint(candidate.name, candidate), CheckpointRef(path=str(candidate)), lab)
    return StudyError(reason or f"{candidate} holds no checkpoint; name the output folder of a training.")


def _base_facts(base: CheckpointRef, file: Path | None, lab: Lab) -> Facts:
    """Return the facts of the base. Raises StudyError if the base found in `file` cannot be used."""
    try:
        return lab.models.facts(base, base)
    except CheckpointError as error:
        if file is None:
            raise
        raise StudyError(f"{file} names a base that cannot be used; name another with --base: {error}") from None


def _usable(training: Training, base: CheckpointRef, lab: Lab) -> tuple[tuple[FoundCheckpoint, ...], tuple[str, ...]]:
    """Return the checkpoints of the study: all readable ones, and damaged ones of a known step.

    `check` reports the damaged ones. Raises StudyError if none can be read.
    """
    reasons = {checkpoint: _reason(checkpoint, base, lab) for checkpoint in training.checkpoints}
    if all(reasons.values()):
        raise StudyError(str(next(iter(reasons.values()))))
    kept = [checkpoint for checkpoint, reason in reasons.items() if reason is None or checkpoint.step is not None]
    left_out = [(checkpoint.label, reason) for checkpoint, reason in reasons.items() if checkpoint not in kept]
    left_out += [(place.name, _reason(FoundCheckpoint(place.name, place), base, lab)) for place in training.unusable]
    notes = [f"left out {name}: {reason or 'it holds no weights.'}" for name, reason in left_out]
    return tuple(kept), (*training.notes, *notes)


def _ref(checkpoint: FoundCheckpoint) -> CheckpointRef:
    return CheckpointRef(label=checkpoint.label, path=str(checkpoint.path))


def _facts(checkpoint: FoundCheckpoint, base: CheckpointRef, lab: Lab) -> Facts | None:
    """Return the facts of a checkpoint from its config and headers; None if it cannot be read."""
    try:
        return lab.models.facts(_ref(checkpoint), base)
    except CheckpointError:
        return None


def _reason(checkpoint: FoundCheckpoint, base: CheckpointRef, lab: Lab) -> str | None:
    """Return why a checkpoint cannot be read; None if it can."""
    try:
        lab.models.facts(_ref(checkpoint), base)
    except CheckpointError as error:
        return str(error)
    return None
