"""What an ablation costs: sums by hand, a plain loop, a model that loses nothing, rows and queries."""

from __future__ import annotations

import numpy as np
import pytest

from backend.analyses import ablation
from backend.lab.outputs import SideEffects
from tests.fakes import FakeModels, fake_lab, fake_study

COLUMNS = [
    *("checkpoint", "direction_from", "direction_layer", "draw", "plain_perplexity"),
    *(f"{name}{end}" for name in ablation.MEASURES for end in ("", "_low", "_high")),
]


def disturbance(runs: int = 4, texts: int = 30, seed: int = 0) -> SideEffects:
    rng = np.random.default_rng(seed)
    predicted = rng.integers(0, 12, texts)
    plain = (predicted * rng.uniform(1, 3, texts)).astype(np.float32)
    extra = predicted * rng.uniform(0, 0.5, (runs, texts))
    return SideEffects(plain, (plain + extra).astype(np.float32), extra.astype(np.float32), predicted)


def test_two_sentences_by_hand():
    found = SideEffects(
        plain_loss=np.array([2.0, 4.0], np.float32),
        loss=np.array([[3.0, 6.0]], np.float32),
        kl=np.array([[1.0, 0.5]], np.float32),
        predicted=np.array([1, 2]),
    )
    result = ablation.ablated(found, draws=20)
    assert result.plain == pytest.approx(np.exp(2))
    np.testing.assert_allclose(result.measures.value, [np.exp(3), 1.0, 0.5], rtol=1e-6)
    assert result.null.shape == (3, 0)


def test_agrees_with_a_plain_loop_and_lies_in_its_interval():
    found = disturbance()
    result = ablation.ablated(found, draws=300)
    tokens = sum(int(n) for n in found.predicted)
    for run in range(4):
        loss = sum(float(one) for one in found.loss[run]) / tokens
        change = loss - sum(float(one) for one in found.plain_loss) / tokens
        expected = [np.exp(loss), change, sum(float(one) for one in found.kl[run]) / tokens]
        np.testing.assert_allclose(result.measures.value if run == 0 else result.null[:, run - 1], expected, rtol=1e-5)
    assert (result.measures.low < result.measures.value).all() and (result.measures.value < result.measures.high).all()


def test_nothing_disturbed_costs_nothing():
    found = disturbance(runs=1)
    same = SideEffects(found.plain_loss, found.plain_loss[None], 0 * found.kl, found.predicted)
    result = ablation.ablated(same, draws=50)
    assert result.measures.value[0] == pytest.approx(result.plain)
    np.testing.assert_allclose(
        [result.measures.value[1], result.measures.low[1], result.measures.high[1], result.measures.value[2]],
        0,
        atol=1e-12,
    )


@pytest.mark.parametrize("classes", [2, 3])
def test_recipe_rows_and_queries(tmp_path, classes: int):
    models = FakeModels(layers=3, width=8)
    study = fake_study(models=models, reviews=24, classes=classes)
    heard: list[float] = []
    lab = fake_lab(tmp_path, models, lambda fraction, _: heard.append(fraction))
    asked = ablation.queries(study)
    assert [(one.checkpoint.label, one.direction) for one in asked] == [
        (label, c) for c in range(1 if classes == 2 else 3) for label in ("base", "epoch 1", "epoch 2", "epoch 3")
    ]
    assert all(one.direction_from == one.checkpoint and one.direction_layer == 2 for one in asked)
    assert [one.null for one in asked[:4]] == [20, 0, 0, 20]
    assert len(list(ablation.recipe(asked[1], lab).rows(asked[1]))) == 1
    heard.clear()
    rows = list(ablation.recipe(asked[3], lab).rows(asked[3]))
    columns = COLUMNS if classes == 2 else [*COLUMNS[:3], "class", *COLUMNS[3:]]
    assert {tuple(row) for row in rows} == {tuple(columns)}
    assert [row["draw"] for row in rows] == [None, *range(20)]
    assert rows[0]["perplexity_low"] < rows[0]["perplexity"] < rows[0]["perplexity_high"]
    assert rows[1]["perplexity_low"] is None
    assert heard == sorted(heard) and heard[-1] == 1.0
    with pytest.raises(KeyError):
        ablation.queries(study, "epoch 9")


def test_without_a_direction_every_value_is_empty(tmp_path):
    models = FakeModels(layers=3, width=8)
    study = fake_study(models=models, reviews=24)
    query = ablation.query(study, study.base, study.base, 0)  # layer 0 of the fake holds no text
    (row, *_) = ablation.recipe(query, fake_lab(tmp_path, models)).rows(query)
    assert {row[name] for name in ("plain_perplexity", *ablation.MEASURES)} == {None}
