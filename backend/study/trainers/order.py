"""Checkpoints in the order of training: where the best and the last belong, and which of them repeats another."""

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
"""How a checkpoint is called, by its folder and the step at which it was saved, if that is known."""


@dataclass(frozen=True)
class Found:
    """A checkpoint: its label, its folder, and the optimizer step at which it was saved, if that is known."""

    label: str
    path: Path
    step: int | None = None


@dataclass(frozen=True)
class Training:
    """What was found: checkpoints in order, folders named like checkpoints that hold no weights, and notes.

    `notes` say in one sentence each what was left out and why.
    """

    checkpoints: tuple[Found, ...]
    unusable: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def noting(self, *notes: str) -> Training:
        """The same with more notes."""
        return replace(self, notes=(*self.notes, *notes))


def named(patterns: tuple[str, ...]) -> Training:
    """The directories that patterns name, in order, labelled by their names. StudyError if there is none."""
    places = directories(patterns)
    labels = dict(zip(places, _short(places), strict=True))
    best = [place for place in places if BEST.search(place.name)]
    last = [place for place in places if LAST.search(place.name) and place not in best]
    plain = [place for place in places if place not in best and place not in last]
    training = Training(tuple(Found(labels[place], place, step_of(place)) for place in plain))
    training = with_best(training, best, lambda place, _: labels[place])
    return with_last(training, last, labels.__getitem__)


def with_best(training: Training, places: Sequence[Path], label: Label) -> Training:
    """The best checkpoint where its step puts it; left out where it repeats another, or nothing says its step."""
    placed = training.checkpoints
    states = [state_of(one.path) for one in placed]
    told = [state.best for state in states if state is not None]
    for place in places:
        step = step_of(place)
        step = told[-1] if step is None and told else step
        new = Found(label(place, step), place, step)
        if (note := repeats(training, place, place.name)) is not None:
            training = training.noting(note)
        elif placed and (step is None or any(one.step is None for one in placed)):
            training = training.noting(f"left out {place.name}: nothing says at which step it was saved; {BY_HAND}.")
        else:
            every = [*training.checkpoints, new]
            order = sorted(every, key=lambda one: one.step or 0) if placed else every
            training = replace(training, checkpoints=tuple(order))
    return training


def with_last(training: Training, places: Sequence[Path], label: Callable[[Path], str]) -> Training:
    """Models of the end of training behind the others, without those whose weights are there already."""
    for place in places:
        if (note := repeats(training, place, label(place))) is not None:
            training = training.noting(note)
        else:
            training = replace(training, checkpoints=(*training.checkpoints, Found(label(place), place)))
    return training


def repeats(training: Training, place: Path, name: str) -> str | None:
    """The note that a folder has the weights of a checkpoint that is there, None if it has not."""
    twin = next((one for one in training.checkpoints if same_weights(one.path, place)), None)
    return twin and f"left out {name}: it has the weights of {twin.label}."


def same_weights(one: Path, other: Path) -> bool:
    """Whether two folders hold the same weight files, byte for byte."""
    ours, theirs = ({file.name: file for file in place.glob("*.safetensors")} for place in (one, other))
    if not ours or ours.keys() != theirs.keys():
        return False
    try:
        return all(filecmp.cmp(ours[name], theirs[name], shallow=False) for name in ours)
    except OSError:  # `check` says which file cannot be read
        return False


def _short(places: Sequence[Path]) -> list[str]:
    """Names that tell folders apart: their own, or the parts of the path in which they differ."""
    own = [place.name for place in places]
    if len(set(own)) == len(own):
        return own
    parts = [place.parts for place in places]
    shared = next(i for i in range(max(map(len, parts))) if len({one[i : i + 1] for one in parts}) > 1)
    rests = [one[shared:] for one in parts]
    while all(len(one) > 1 for one in rests) and len({one[-1] for one in rests}) == 1:
        rests = [one[:-1] for one in rests]
    return ["/".join(rest) or place.name for rest, place in zip(rests, places, strict=True)]
