"""The checkpoints of a training and their steps: where the base belongs, repeats with another seed, unknown steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backend.study.comparison import Comparison
from backend.study.pinned import PinnedStudy
from backend.study.steps import steps_along, trajectory_of
from tests.fakes import fake_study


def at(*steps: int | None, base: int | None = None, **last: str) -> PinnedStudy:
    """The fake study whose checkpoints are at these steps; `last` changes the last one."""
    study = fake_study(epochs=len(steps))
    changed = [
        replace(one, ref=one.ref.model_copy(update={"step": step}))
        for one, step in zip(study.checkpoints, (base, *steps), strict=True)
    ]
    changed[-1] = replace(changed[-1], ref=changed[-1].ref.model_copy(update=last))
    return replace(study, checkpoints=tuple(changed))


@pytest.mark.parametrize(
    ("study", "labels", "steps"),
    [
        (at(10, 20), ["base", "epoch 1", "epoch 2"], (0, 10, 20)),
        (at(10, 20, base=5), ["base", "epoch 1", "epoch 2"], (5, 10, 20)),
        (at(10, 20, base=15), ["epoch 1", "epoch 2"], (10, 20)),
        (at(0, 20), ["epoch 1", "epoch 2"], (0, 20)),
        (at(20, 10), ["base", "epoch 1", "epoch 2"], None),
        (at(10, 10), ["base", "epoch 1", "epoch 2"], None),
        (at(10, None), ["base", "epoch 1", "epoch 2"], None),
        (at(10, 20, 20, seed_of="epoch 2"), ["base", "epoch 1", "epoch 2"], (0, 10, 20)),
        (at(10), ["base", "epoch 1"], (0, 10)),
    ],
)
def test_the_checkpoints_of_a_training(study: PinnedStudy, labels: list[str], steps: tuple[int, ...] | None):
    training = trajectory_of(study)
    assert [one.label for one in training.checkpoints] == labels
    assert training.steps == steps
    assert steps_along(study, training.checkpoints) == steps


def test_steps_of_some_checkpoints():
    study = at(10, 20, 20, seed_of="epoch 2")
    assert steps_along(study, study.checkpoints) is None, "a repeat with another seed is not on the axis"
    assert steps_along(study, study.checkpoints[1:3]) == (10, 20)
    apart = at(0, 20)
    assert Comparison(apart, apart.base, apart.base).steps == (None, 0, 20)
    alone = replace(study, checkpoints=study.checkpoints[:1])
    assert trajectory_of(alone).steps is None and steps_along(alone, alone.checkpoints) is None
