"""Place checkpoints on the axis of a training: the optimizer step at which each was saved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from backend.study.checkpoint import PinnedCheckpoint
from backend.study.config import CheckpointRef
from backend.study.pinned import PinnedStudy
from backend.study.trainers.state import numbers, step_of


def step_of_ref(ref: CheckpointRef) -> int | None:
    """Return the step of a checkpoint: the key `step`, else the one that its trainer_state.json or its name states.

    On the hub the name is the subfolder, else the revision.
    """
    if ref.step is not None:
        return ref.step
    if ref.path is not None:
        return step_of(Path(ref.path))
    named = numbers(re.split(r"[\\/]", ref.subfolder or ref.revision or "")[-1])
    return named[0][1] if [unit for unit, _ in named] == ["step"] else None


def steps_of(base: CheckpointRef, checkpoints: Sequence[CheckpointRef]) -> tuple[int | None, ...] | None:
    """Return the step of the base, then of each checkpoint; None if these are unknown or do not rise.

    The base is at step 0, unless it is saved beside the checkpoints and states a step itself. Its step is None where
    it cannot be known: in the repository of the checkpoints, or if a checkpoint is at or before it.
    """
    steps = [step for ref in checkpoints if (step := step_of_ref(ref)) is not None]
    if len(steps) < len(checkpoints) or not steps or any(left >= right for left, right in pairwise(steps)):
        return None
    first = _base_step(base, checkpoints)
    return (first if first is not None and first < steps[0] else None, *steps)


def _base_step(base: CheckpointRef, checkpoints: Sequence[CheckpointRef]) -> int | None:
    if base.step is not None:
        return base.step
    if base.path is not None:
        beside = {Path(ref.path).parent for ref in checkpoints if ref.path is not None}
        step = step_of(Path(base.path)) if Path(base.path).parent in beside else None
        return 0 if step is None else step
    return step_of_ref(base) if base.repo in {ref.repo for ref in checkpoints} else 0


def steps_along(study: PinnedStudy, checkpoints: Sequence[PinnedCheckpoint]) -> tuple[int | None, ...] | None:
    """Return the step of each of these checkpoints of a study; None if they are unknown, or of another seed."""
    labels = [one.label for one in study.epochs]
    steps = steps_of(study.base.ref, [one.ref for one in study.epochs[1:]])
    if steps is None or not all(one.label in labels for one in checkpoints):
        return None
    return tuple(steps[labels.index(one.label)] for one in checkpoints)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The usable checkpoints of a training in order, and their steps; None if these are unknown."""

    checkpoints: tuple[PinnedCheckpoint, ...]
    steps: tuple[int, ...] | None


def trajectory_of(study: PinnedStudy) -> Trajectory:
    """Return the checkpoints of the training without repeats with another seed; the base first, where it belongs."""
    base, *others = study.epochs
    steps = steps_of(base.ref, [one.ref for one in others])
    if steps is None:
        return Trajectory((base, *others), None)
    first, *rest = steps
    known = [step for step in rest if step is not None]
    return Trajectory(tuple(others), tuple(known)) if first is None else Trajectory((base, *others), (first, *known))
