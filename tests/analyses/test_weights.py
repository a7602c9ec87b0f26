"""Weights: rows as the contract has them, what a block changed on average, the recipe on fakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.analyses import weights
from backend.lab.outputs import WeightChange
from tests.fakes import FakeModels, fake_lab, fake_study, run_seconds

NAN = float("nan")
CHANGES = (
    WeightChange("wte.weight", None, "wte.weight", 0.5, 20.0),
    WeightChange("h.0.a.weight", 0, "a.weight", 0.1, 2.0),
    WeightChange("h.0.b.weight", 0, "b.weight", 0.3, 4.0),
    WeightChange("h.1.a.weight", 1, "a.weight", 0.0, NAN),
    WeightChange("h.1.b.weight", 1, "b.weight", NAN, 3.0),
    WeightChange("h.2.a.weight", 2, "a.weight", NAN, 3.0),
)


def test_rows_are_those_of_the_contract() -> None:
    study = fake_study()
    query = weights.queries(study)[0]
    rows = list(weights.tabulate(CHANGES).rows(query))
    assert [list(row) for row in rows] == [["checkpoint", "layer", "matrix", "relative_change", "stable_rank"]] * 6
    assert [row["layer"] for row in rows] == [None, 0, 0, 1, 1, 2]
    assert [row["matrix"] for row in rows[:3]] == ["wte.weight", "a.weight", "b.weight"]
    assert rows[3] == {
        "checkpoint": "epoch 1",
        "layer": 1,
        "matrix": "a.weight",
        "relative_change": 0.0,
        "stable_rank": None,
    }
    assert rows[4]["relative_change"] is None


def test_a_block_changed_by_the_mean_of_its_matrices() -> None:
    np.testing.assert_allclose(weights.tabulate(CHANGES).by_block(), [0.2, 0.0, NAN])
    assert weights.tabulate(CHANGES[:1]).by_block().size == 0


@given(st.lists(st.floats(0, 10), min_size=1, max_size=12), st.randoms())
def test_the_order_of_matrices_makes_no_difference_to_blocks(values: list[float], random: object) -> None:
    changes = [WeightChange(str(i), i % 3, str(i), value, 1.0) for i, value in enumerate(values)]
    shuffled = list(changes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (weights.tabulate(tuple(some)).by_block() for some in (changes, shuffled))
    np.testing.assert_allclose(one, other)
    assert np.nanmin(one) >= min(values) - 1e-9
    assert np.nanmax(one) <= max(values) + 1e-9


def test_the_recipe_keeps_everything_through_the_cache(tmp_path: Path) -> None:
    study, models = fake_study(), FakeModels(layers=3)
    lab = fake_lab(tmp_path, models)
    reports: list[float] = []
    query = weights.Query(study.checkpoint("epoch 3"), study.checkpoint("epoch 1"))
    result = weights.recipe(query, lab.watched(lambda fraction, _: reports.append(fraction)))
    expected = models.weight_changes(query.checkpoint, query.reference)
    assert result.matrix == tuple(one.matrix for one in expected)
    assert result.layer.tolist() == [-1, -1, 0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(result.relative_change, [one.relative_change for one in expected])
    assert (reports[0], reports[-1]) == (0.0, 1.0)
    again = weights.recipe.peek(query, fake_lab(tmp_path, models))
    assert again is not None
    assert again.matrix == result.matrix
    np.testing.assert_array_equal(again.stable_rank, result.stable_rank)


def test_time_to_open_both_is_what_it_costs(tmp_path: Path) -> None:
    lab = fake_lab(tmp_path)
    study = fake_study()
    assert lab.seconds(weights.queries(study)[0]) == pytest.approx(2 * run_seconds(lab, study.base, 0), rel=0.5)


def test_no_checkpoint_is_compared_with_itself() -> None:
    study = fake_study()
    assert [query.checkpoint.label for query in weights.queries(study)] == ["epoch 1", "epoch 2", "epoch 3"]
    against = weights.queries(study, "epoch 2")
    assert [query.checkpoint.label for query in against] == ["base", "epoch 1", "epoch 3"]
    assert {query.reference.label for query in against} == {"epoch 2"}
    assert weights.queries(fake_study(epochs=0)) == []
    with pytest.raises(KeyError):
        weights.queries(study, "epoch 9")
