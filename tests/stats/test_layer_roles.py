"""Kinds of layers: the rule at its edges, the counts, the order, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from backend.stats import layer_roles, paired
from backend.stats.estimate import Estimate
from tests.stats.roles import LABELS, predictions, read

NAN = float("nan")


def test_the_rule_at_its_edges():
    result = read(
        [0.9, 0.95, 0.5, 0.5, 0.85, 0.1, NAN],
        [0.95, 0.99, 0.8, 0.8, 0.95, 0.2, NAN],
        [0.6, 0.95, 0.95, 0.6, 0.6, 0.55, 0.5],
        [0.6, 0.5, 0.5, 0.6, 0.6, 0.1, 0.5],
    )
    named = [layer_roles.KINDS[kind] if kind >= 0 else None for kind in result.kind]
    assert named == [
        "general",
        "transitional",  # unchanged, but with a gain
        "task-specific",
        "transitional",  # changed without a gain
        "transitional",  # too close to call
        "transitional",  # a gain up to chance
        None,
    ]
    assert result.counts == (1, 4, 1)


def test_the_numbers_are_those_of_the_paired_comparison():
    own, other = predictions(0.9), predictions(0.7)
    result = layer_roles.read(Estimate(np.ones(1), np.ones(1), np.ones(1)), own, other, LABELS, 2, 0.9)
    expected = paired.accuracy_lost(own[0], other[0], LABELS, 2)
    assert result.gain[0].ends == pytest.approx(expected.ends)
    assert (result.accuracy.value[0], result.reference_accuracy[0]) == pytest.approx((0.9, 0.7))
    assert result.accuracy.low[0] < 0.9 < result.accuracy.high[0]


@pytest.mark.parametrize(
    ("own", "low", "disorder"),
    [([0.6, 0.95, 0.95], [0.95, 0.95, 0.2], None), ([0.95, 0.6, 0.95], [0.2, 0.95, 0.2], (0, 1))],
)
def test_layers_that_stand_the_wrong_way_round_are_named(own: list[float], low: list[float], disorder):
    high = [value + 0.04 for value in low]
    assert read(low, high, own, [0.6] * 3).disorder == disorder


def test_rows():
    result = read([0.95, NAN], [0.99, NAN], [0.6, 0.5], [0.6, 0.5])
    rows = list(result.rows("epoch 1", "base"))
    assert [row["kind"] for row in rows] == ["general", None]
    assert rows[1]["cka"] is None and rows[1]["accuracy"] is None
    assert rows[0]["level"] == 0.9
