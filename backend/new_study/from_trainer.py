"""A new study of which a trainer's output folder says the rest: base, checkpoints, family, template, label words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path
from typing import Any

from backend.errors import CheckpointError, StudyError
from backend.lab.lab import Lab
from backend.new_study.fields import NewStudy, base_ref, values
from backend.study.config import CheckpointRef, Family
from backend.study.facts import Facts
from backend.study.paths import folder_named, new_folder
from backend.study.trainers.base_model import find_base
from backend.study.trainers.folders import find
from backend.study.trainers.order import Found, Training, named

PLAIN = "{text}"
"""What a model with a classification head reads, unless the user says otherwise."""


@dataclass(frozen=True)
class Inside:
    """What a trainer's folder says: `base_file` names the base, `notes` say which checkpoints were left out.

    `family` and `template` are None where the base is on the hub and was not looked at, `template` also where next
    tokens answer. `words` are the names of a head's rows, if it has names.
    """

    base: str
    base_file: Path | None
    checkpoints: tuple[Found, ...]
    notes: tuple[str, ...]
    family: Family | None = None
    template: str | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Completed:
    """The study with nothing left open; `base_file` names the base, `notes` say what was left out."""

    wanted: NewStudy
    base_file: Path | None
    notes: tuple[str, ...]


def complete(wanted: NewStudy, root: Path, lab: Lab, unsaid: Collection[str] = ("family", "template")) -> Completed:
    """Find what is not said, by what a trainer left; `unsaid` are fields whose value is a mere default.

    Writes nothing and opens no model. Raises StudyError or CheckpointError, one sentence, where base or checkpoints
    cannot be found.
    """
    new_folder(wanted.name, root)
    inside = look(wanted, root, lab)
    wanted = replace(wanted, base=inside.base, found=inside.checkpoints)
    if "family" in unsaid and inside.family is not None:
        wanted = replace(wanted, family=inside.family)
    if "template" in unsaid and inside.template is not None:
        wanted = replace(wanted, template=inside.template)
    if wanted.label_words is None and inside.words and are_rows(values(wanted), inside.words):
        wanted = replace(wanted, label_words=inside.words)
    return Completed(wanted, inside.base_file, inside.notes)


def look(wanted: NewStudy, root: Path, lab: Lab, fetch: bool = True) -> Inside:
    """Search the trainer's folder, or the folders of the named checkpoints; without `fetch`, nothing on the hub.

    Opens no model. Raises StudyError or CheckpointError, one sentence, where base or checkpoints cannot be found.
    """
    folder, training = _training(wanted)
    if not training.checkpoints:
        raise _none(folder, training, lab)
    file: Path | None = None
    if not wanted.base.strip():
        named_base = find_base(folder, [one.path for one in training.checkpoints])
        wanted, file = replace(wanted, base=named_base.base), named_base.file
    base = base_ref(wanted, root)
    if base.repo is not None and not fetch:
        return Inside(wanted.base, file, training.checkpoints, training.notes)
    facts = _base_facts(base, file, lab)
    if wanted.checkpoints:
        usable, notes = training.checkpoints, training.notes
    else:
        usable, notes = _usable(training, base, lab)
    heads = [head for one in usable if (head := _facts(one, base, lab)) is not None]
    classifies = facts.kind == "encoder" or any(head.answers is not None for head in heads)
    return Inside(
        base=wanted.base,
        base_file=file,
        checkpoints=usable,
        notes=notes,
        family="encoder" if facts.kind == "encoder" else "causal",
        template=PLAIN if classifies else None,
        words=next((one.head_names for one in heads if one.head_names), ()),
    )


def are_rows(labels: Sequence[Any], names: Sequence[str]) -> bool:
    """Whether the label values are the numbers of the rows of a head with these names."""
    return list(map(str, labels)) == list(map(str, range(len(names))))


def _training(wanted: NewStudy) -> tuple[Path, Training]:
    """The folder that is searched, and the checkpoints: those that are named, else those below the folder."""
    if not wanted.folder.strip() and not wanted.checkpoints:
        raise StudyError("No checkpoints are named; give a trainer's output folder, or --base and --checkpoints.")
    if not wanted.checkpoints:
        folder = folder_named(wanted.folder)
        return folder, find(folder)
    training = named(wanted.checkpoints)
    if wanted.folder.strip():
        return folder_named(wanted.folder), training
    return Path(commonpath([one.path.parent for one in training.checkpoints])), training


def _none(folder: Path, training: Training, lab: Lab) -> StudyError:
    """Why a folder has no checkpoint that can be read: in the words of the first that looks like one."""
    place = training.unusable[0] if training.unusable else folder
    if not next(place.iterdir(), None):
        return StudyError(f"{place} is empty; name the output folder of a training.")
    reason = _reason(Found(place.name, place), CheckpointRef(path=str(place)), lab)
    return StudyError(reason or f"{place} holds no checkpoint; name the output folder of a training.")


def _base_facts(base: CheckpointRef, file: Path | None, lab: Lab) -> Facts:
    """What the base is; a base that was found and cannot be used is an error that asks for another."""
    try:
        return lab.models.facts(base, base)
    except CheckpointError as error:
        if file is None:
            raise
        raise StudyError(f"{file} names a base that cannot be used, so name one with --base: {error}") from None


def _usable(training: Training, base: CheckpointRef, lab: Lab) -> tuple[tuple[Found, ...], tuple[str, ...]]:
    """The checkpoints of the study: all that can be read, and damaged ones of a known step, which `check` reports.

    Raises StudyError when none can be read.
    """
    reasons = {one: _reason(one, base, lab) for one in training.checkpoints}
    if all(reasons.values()):
        raise StudyError(str(next(iter(reasons.values()))))
    kept = [one for one, reason in reasons.items() if reason is None or one.step is not None]
    left = [(one.label, reason) for one, reason in reasons.items() if one not in kept]
    left += [(place.name, _reason(Found(place.name, place), base, lab)) for place in training.unusable]
    notes = [f"left out {name}: {reason or 'it holds no weights.'}" for name, reason in left]
    return tuple(kept), (*training.notes, *notes)


def _ref(found: Found) -> CheckpointRef:
    return CheckpointRef(label=found.label, path=str(found.path))


def _facts(found: Found, base: CheckpointRef, lab: Lab) -> Facts | None:
    """What a checkpoint is, by its config and headers; None where it cannot be read."""
    try:
        return lab.models.facts(_ref(found), base)
    except CheckpointError:
        return None


def _reason(found: Found, base: CheckpointRef, lab: Lab) -> str | None:
    """Why a checkpoint cannot be read, None if it can."""
    try:
        lab.models.facts(_ref(found), base)
    except CheckpointError as error:
        return str(error)
    return None
