"""What findings say of the class direction: where it leaves chance, since when, and whether it turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import direction
from backend.reports import changes, findings
from backend.stats import intervals
from backend.stats.estimate import Estimate
from backend.study.comparison import Comparison
from tests.reports.conftest import case_of, said

NAN = float("nan")


def directions(
    case: Comparison, strengths: Sequence[float], from_layer: int = 2, seed: int = 0
) -> list[direction.Result]:
    """Directions of residuals in which the classes are that far apart from that layer on."""
    rng = np.random.default_rng(seed)
    labels, classes = case.study.prompts.labels, case.study.prompts.classes
    axis = rng.normal(size=(classes, 5, 8))
    streams = []
    for strength in strengths:
        x = rng.normal(size=(len(labels), 5, 8))
        x[:, from_layer:] += strength * axis[labels][:, from_layer:]
        streams.append(x.astype(np.float32))
    chances = [intervals.chance(x, labels, classes, 100) for x in streams]
    at = case.against
    return [
        direction.direction(x, streams[at], case.study.prompts, (chance, chances[at]), draws=50, splits=10)
        for x, chance in zip(streams, chances, strict=True)
    ]


def test_where_the_direction_leaves_chance_and_since_when() -> None:
    case = case_of()
    found = directions(case, [0, 0, 1, 1.5])
    finding = said(findings.leaves_chance, case, found)
    assert finding is not None
    assert (
        "In epoch 3 the classes are further apart than chance from layer 2 on (first in epoch 2, from layer 2);"
        in finding.sentence
    )
    assert finding.value == pytest.approx(found[3].separation.value[0, -1])
    assert f"{finding.value:.2f} times" in finding.sentence
    assert finding.keys == {"epoch": "epoch 3", "show": "direction", "scale": "separation"}
    first = said(findings.leaves_chance, case, directions(case, [0, 0, 0, 1.5]))
    assert first is not None
    assert "(in no earlier checkpoint);" in first.sentence


def test_a_direction_within_chance_is_not_mentioned() -> None:
    case = case_of(reviews=60, epochs=1)
    named = sum(
        said(findings.leaves_chance, case, directions(case, [0] * 2, seed=seed)) is not None for seed in range(40)
    )
    assert named <= 4


def test_of_several_classes_one_is_named() -> None:
    case = case_of(classes=3, reviews=150)
    finding = said(findings.leaves_chance, case, directions(case, [0, 1, 1, 2]))
    assert finding is not None
    assert finding.keys["class"] in case.words
    assert f"In epoch 3 {finding.keys['class']} and the other classes are" in finding.sentence


def test_a_study_without_other_checkpoints() -> None:
    case = case_of(epochs=0)
    finding = said(findings.leaves_chance, case, directions(case, [1]))
    assert finding is not None
    assert finding.sentence.startswith("In base ")
    assert "do so" not in finding.sentence
    assert said(changes.changed_weights, case, []) is None
    assert said(changes.turned, case, []) is None


def test_a_direction_that_turned_and_one_that_did_not() -> None:
    case = case_of()
    same = directions(case, [1, 1, 1, 1])
    assert said(changes.turned, case, [same[3]]) is None
    split = Estimate(*(np.full((1, 5), end) for end in (0.4, 0.3, 0.5)))
    other = replace(same[3], cosine_to_base_split=split)
    finding = said(changes.turned, case, [other])
    assert finding is not None
    assert "cosine is 0.40 (0.30 to 0.50)" in finding.sentence
    assert "another direction than base" in finding.sentence
    assert finding.keys["show"] == "cosines"
    unclear = replace(other, cosine_to_base_split=replace(split, high=np.full((1, 5), NAN)))
    assert said(changes.turned, case, [unclear]) is None, "within chance there is no cosine"
