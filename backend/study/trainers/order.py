"""Order checkpoints by training: place the best and the last model, and drop duplicates."""

from __future__ import annotations

import filecmp
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backend.study.paths import directories
from backend.study.trainers.state import state_of, step_of

BEST = re.compile(r"(?<![a-z])best(?![a-z])", re.IGNORECASE)
LAST = re.compile(r"(?<![a-z])(final|last|latest)(?![a-z])", re.IGNORECASE)
BY_HAND = "name the checkpoints with --checkpoints"
Label = Callable[[Path, int | None], str]
"""The label of a checkpoint from its folder and the step at which it was saved (None: unknown)."""


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint: its label, its folder, and the optimizer step at which it was saved (None: unknown)."""

    label: str
    path: Path
    step: int | None = None


@dataclass(frozen=True)
class Training:
    """The checkpoints of a training in order, and `unusable` folders: named like checkpoints but without weights.

    `notes` state in one sentence each what was left out and why.
    """

    checkpoints: tuple[FoundCheckpoint, ...]
    unusable: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def with_notes(self, *notes: str) -> Training:
        """Return a copy with more notes."""
        return replace(self, notes=(*self.notes, *notes))


def named(patterns: tuple[str, ...]) -> Training:
    """Return the directories that match the patterns, in order, labelled by name. StudyError if none match."""
    places = directories(patterns)
    labels = dict(zip(places, _short(places), strict=True))
    best = [place for place in places if BEST.search(place.name)]
    last = [place for place in places if LAST.search(place.name) and place not in best]
    plain = [place for place in places if place not in best and place not in last]
    training = Training(tuple(FoundCheckpoint(labels[place], place, step_of(place)) for place in plain))
    training = with_best(training, best, lambda place, _: labels[place])
    return with_last(training, last, labels.__getitem__)


def with_best(training: Training, places: Sequence[Path], label: Label) -> Training:
    """Insert the best checkpoint by its step; leave it out if it is a duplicate or its step is unknown."""
    placed = training.checkpoints
    states = [state_of(checkpoint.path) for checkpoint in placed]
    best_steps = [state.best for state in states if state is not None]
    for place in places:
        step = step_of(place)
        step = best_steps[-1] if step is None and best_steps else step
        new = FoundCheckpoint(label(place, step), place, step)
        if (note := repeats(training, place, place.name)) is not None:
            training = training.with_notes(note)
        elif placed and (step is None or any(checkpoint.step is None for checkpoint in placed)):
            training = training.with_notes(f"left out {place.name}: the step of its save is unknown; {BY_HAND}.")
        else:
            checkpoints = [*training.checkpoints, new]
            if placed:
                checkpoints.sort(key=lambda checkpoint: checkpoint.step or 0)
            training = replace(training, checkpoints=tuple(checkpoints))
    return training


def with_last(training: Training, places: Sequence[Path], label: Callable[[Path], str]) -> Training:
    """Append models from the end of training, except those whose weights are already in the list."""
    for place in places:
        if (note := repeats(training, place, label(place))) is not None:
            training = training.with_notes(note)
        else:
            training = replace(training, checkpoints=(*training.checkpoints, FoundCheckpoint(label(place), place)))
    return training


def repeats(training: Training, place: Path, name: str) -> str | None:
    """Return a note if a folder has the same weights as a checkpoint in the list, else None."""
    twin = next((item for item in training.checkpoints if same_weights(item.path, place)), None)
    return twin and f"left out {name}: it has the weights of {twin.label}."


def same_weights(first: Path, second: Path) -> bool:
    """Return whether two folders hold the same weight files, byte for byte."""
    first_files, second_files = ({file.name: file for file in place.glob("*.safetensors")} for place in (first, second))
    if not first_files or first_files.keys() != second_files.keys():
        return False
    try:
        return all(filecmp.cmp(first_files[name], second_files[name], shallow=False) for name in first_files)
    except OSError:  # `check` reports the unreadable file
        return False


def _short(places: Sequence[Path]) -> list[str]:
    """Return distinct names of the folders: their own, or the parts of their paths that differ."""
    own = [place.name for place in places]
    if len(set(own)) == len(own):
        return own
    parts = [place.parts for place in places]
    shared = next(i for i in range(max(map(len, parts))) if len({path[i : i + 1] for path in parts}) > 1)
    rests = [path[shared:] for path in parts]
    while all(len(rest) > 1 for rest in rests) and len({rest[-1] for rest in rests}) == 1:
        rests = [rest[:-1] for rest in rests]
    return ["/".join(rest) or place.name for rest, place in zip(rests, places, strict=True)]
