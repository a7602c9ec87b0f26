"""What training changed, said where it is sure: weights, similarity, the block that carries most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from backend.analyses import cka_grid, swaps, weights
from backend.lab.outputs import WeightChange
from backend.reports import changes
from backend.stats.estimate import Estimate
from backend.study.comparison import Comparison
from tests.reports.conftest import case_of, said

NAN = float("nan")


# Weights


def blocks(values: Sequence[float]) -> weights.Result:
    outside = [WeightChange("wte", None, "wte", 9.0, 1.0)]
    inside = [WeightChange(f"{i}{m}", i, m, value, 3.0) for i, value in enumerate(values) for m in "ab"]
    return weights.tabulate(tuple(outside + inside))


def test_the_block_that_changed_most() -> None:
    finding = said(changes.changed_weights, case_of(), [blocks([0.01, 0.02, 0.08, 0.02])])
    assert finding is not None
    assert "From base to epoch 3 the weights changed most in block 2: by 8 % of their norm" in finding.sentence
    assert "in about 3 directions" in finding.sentence
    assert (finding.value, finding.low, finding.high) == pytest.approx((0.08, 0.01, 0.08))


@pytest.mark.parametrize("values", [[0.02, 0.02, 0.0201], [0.0, 0.0], [0.5], [NAN, NAN]])
def test_an_even_change_is_not_mentioned(values: list[float]) -> None:
    assert said(changes.changed_weights, case_of(), [blocks(values)]) is None


# Similarity


def test_the_layer_that_was_rearranged_most() -> None:
    value = np.full((3, 3), 0.5)
    np.fill_diagonal(value, [NAN, 0.9, 0.3])
    found = cka_grid.Result(Estimate(value, value - 0.05, value + 0.05))
    finding = said(changes.rearranged, case_of(), [found])
    assert finding is not None
    assert "From base to epoch 3 layer 2 changed most: its CKA is 0.30 (0.25 to 0.35)" in (finding.sentence)
    assert "against 0.90 at layer 1, the highest" in finding.sentence
    assert finding.keys["show"] == "similarity"
    unsure = cka_grid.Result(Estimate(value, value - 0.4, value + 0.4))
    assert said(changes.rearranged, case_of(), [unsure]) is None
    assert said(changes.rearranged, case_of(epochs=0), []) is None
    assert said(changes.rearranged, case_of(reviews=4), []) is None


# Swaps


def swapped(case: Comparison, shares: Sequence[float], noise: float = 0.3, seed: int = 0) -> swaps.Result:
    """Single blocks that go these shares of the way from a host that knows nothing to a donor that knows."""
    rng = np.random.default_rng(seed)
    labels = case.study.prompts.labels
    signal = 2.0 * labels - 1

    def logits(share: float) -> np.ndarray:
        logit_diff = 2 * share * signal + noise * rng.normal(size=len(labels))
        return np.stack([-logit_diff / 2, logit_diff / 2], axis=1)

    host, donor = logits(0), logits(1)
    between = tuple((block, block) for block in range(len(shares)))
    return swaps.swaps(np.stack([logits(share) for share in shares]), host, donor, labels, between, draws=200)


def test_the_block_that_carries_most_is_said_with_its_runner_up() -> None:
    case = case_of()
    even, uneven = swapped(case, [0.3, 0.3, 0.3]), swapped(case, [0.1, 0.8, 0.2])
    finding = said(changes.carrying_block, case, [uneven])
    assert finding is not None
    assert finding.sentence.startswith("Putting only block 1 of epoch 3 back to base undoes 8")
    after = 100 * uneven.balanced_accuracy.value[1]
    assert f"balanced accuracy goes from {100 * uneven.levels[0, 0]:.1f} to {after:.1f} %" in finding.sentence
    assert f"any other block undoes at most {100 * uneven.fraction_recovered.value[2]:.0f} %." in finding.sentence
    assert finding.value == pytest.approx(uneven.fraction_recovered.value[1])
    assert finding.low is not None and finding.low < finding.value < (finding.high or 0)
    assert (finding.page, finding.keys["host"], finding.keys["donor"]) == ("swaps", "epoch 3", "base")
    assert finding.series[finding.at] == finding.value
    assert said(changes.carrying_block, case, [even]) is None


def test_blocks_that_are_alike_are_hardly_ever_told_apart() -> None:
    case = case_of(reviews=60)
    named = 0
    for seed in range(60):
        result = swapped(case, [0.0] * 6, noise=2.0, seed=seed)
        named += said(changes.carrying_block, case, [result]) is not None
    assert named <= 3
