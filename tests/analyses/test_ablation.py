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
    effects = SideEffects(
        plain_loss=np.array([2.0, 4.0], np.float32),
        loss=np.array([[3.0, 6.0]], np.float32),
        kl=np.array([[1.0, 0.5]], np.float32),
        predicted=np.array([1, 2]),
    )
    result = ablation.ablated(effects, draws=20)
    assert result.plain == pytest.approx(np.exp(2))
    np.testing.assert_allclose(result.measures.value, [np.exp(3), 1.0, 0.5], rtol=1e-6)
    assert result.null.shape == (3, 0)


def test_agrees_with_a_plain_loop_and_lies_in_its_interval():
    effects = disturbance()
    result = ablation.ablated(effects, draws=300)
    tokens = sum(int(n) for n in effects.predicted)
    for run in range(4):
        loss = sum(float(one) for one in effects.loss[run]) / tokens
        change = loss - sum(float(one) for one in effects.plain_loss) / tokens
        expected = [np.exp(loss), change, sum(float(one) for one in effects.kl[run]) / tokens]
        np.testing.assert_allclose(result.measures.value if run == 0 else result.null[:, run - 1], expected, rtol=1e-5)
    assert (result.measures.low < result.measures.value).all() and (result.measures.value < result.measures.high).all()


def test_nothing_disturbed_costs_nothing():
    effects = disturbance(runs=1)
    same = SideEffects(effects.plain_loss, effects.plain_loss[None], 0 * effects.kl, effects.predicted)
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
    reports: list[float] = []
    lab = fake_lab(tmp_path, models, lambda fraction, _: reports.append(fraction))
    queries = ablation.queries(study)
    assert [(q.checkpoint.label, q.direction) for q in queries] == [
        (label, c) for c in range(1 if classes == 2 else 3) for label in ("base", "epoch 1", "epoch 2", "epoch 3")
    ]
    assert all(q.direction_from == q.checkpoint and q.direction_layer == 2 for q in queries)
    assert [q.null for q in queries[:4]] == [20, 0, 0, 20]
    assert len(list(ablation.recipe(queries[1], lab).rows(queries[1]))) == 1
    reports.clear()
    rows = list(ablation.recipe(queries[3], lab).rows(queries[3]))
    columns = COLUMNS if classes == 2 else [*COLUMNS[:3], "class", *COLUMNS[3:]]
    assert {tuple(row) for row in rows} == {tuple(columns)}
    assert [row["draw"] for row in rows] == [None, *range(20)]
    assert rows[0]["perplexity_low"] < rows[0]["perplexity"] < rows[0]["perplexity_high"]
    assert rows[1]["perplexity_low"] is None
    assert reports == sorted(reports) and reports[-1] == 1.0
    with pytest.raises(KeyError):
        ablation.queries(study, "epoch 9")


def test_without_a_direction_every_value_is_empty(tmp_path):
    models = FakeModels(layers=3, width=8)
    study = fake_study(models=models, reviews=24)
    query = ablation.query(study, study.base, study.base, 0)  # layer 0 of the fake holds no text
    (row, *_) = ablation.recipe(query, fake_lab(tmp_path, models)).rows(query)
    assert {row[name] for name in ("plain_perplexity", *ablation.MEASURES)} == {None}
