"""Own or inherited: a plain loop, the sum of shares, blocks that changed alone and blocks that only inherit."""

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import inherited
from tests.fakes import FakeModels, fake_lab, fake_study

COLUMNS = [
    *("checkpoint", "layer", "scope", "total", "own", "inherited", "interaction"),
    *(f"{name}_share{end}" for name in inherited.PARTS for end in ("", "_low", "_high")),
]
LABELS = np.arange(24) % 2


def crossed(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(24, 3, 2, 2, 5)).astype(np.float32)


def test_agrees_with_a_plain_loop() -> None:
    updates = crossed()
    result = inherited.inherited(updates, LABELS, draws=50)
    for block in range(3):
        for scope, name in enumerate(inherited.SCOPES):
            f = {(w, x): updates[:, block, w, x].astype(float) for w in (0, 1) for x in (0, 1)}
            parts = {"own": f[1, 0] - f[0, 0], "inherited": f[0, 1] - f[0, 0]}
            total = f[1, 1] - f[0, 0]
            parts["interaction"] = f[1, 1] - f[1, 0] - f[0, 1] + f[0, 0]
            if name == "differences":
                total = total - total.mean(axis=0)
                parts = {key: v - v.mean(axis=0) for key, v in parts.items()}
            squares = sum(row @ row for row in total)
            assert result.total[scope, block] == pytest.approx(np.sqrt(squares / 24))
            for key, v in parts.items():
                share = sum(a @ b for a, b in zip(v, total, strict=True)) / squares
                assert getattr(result, f"{key}_share").value[scope, block] == pytest.approx(share)
                assert getattr(result, key)[scope, block] == pytest.approx(np.sqrt(np.square(v).sum() / 24))


def test_shares_sum_to_one_and_lie_in_their_intervals() -> None:
    result = inherited.inherited(crossed(1), LABELS, draws=300)
    np.testing.assert_allclose(
        result.own_share.value + result.inherited_share.value + result.interaction_share.value, 1
    )
    for name in inherited.PARTS:
        value, low, high = getattr(result, f"{name}_share").ends
        assert (low < value).all() and (value < high).all()


def test_a_block_that_alone_changed_is_its_own_and_one_that_did_not_inherits() -> None:
    updates = crossed(2)
    updates[:, 0, :, 1] = updates[:, 0, :, 0]  # the same stream
    updates[:, 1, 1] = updates[:, 1, 0]  # the same weights
    updates[:, 2] = updates[:, 2, :1, :1]  # the same both
    result = inherited.inherited(updates, LABELS, draws=50)
    np.testing.assert_allclose(result.own_share.value[:, 0], 1)
    np.testing.assert_allclose(result.inherited_share.value[:, 1], 1)
    np.testing.assert_allclose(result.interaction[:, :2], 0, atol=1e-6)
    assert (result.total[:, 2] == 0).all() and np.isnan(result.own_share.value[:, 2]).all()


def test_a_common_shift_is_in_the_change_and_not_in_the_differences() -> None:
    updates = np.zeros((24, 1, 2, 2, 5), np.float32)
    updates[:, :, 1] += 3.0  # the checkpoint's weights add the same to every review
    result = inherited.inherited(updates, LABELS, draws=20)
    assert result.total[0, 0] == pytest.approx(3 * np.sqrt(5))
    assert result.own_share.value[0, 0] == pytest.approx(1)
    assert result.total[1, 0] == 0 and np.isnan(result.own_share.value[1, 0])


def test_recipe_rows_and_queries(tmp_path) -> None:
    models = FakeModels(layers=3, width=8)
    study = fake_study(models=models, reviews=24)
    reports: list[float] = []
    lab = fake_lab(tmp_path, models, lambda fraction, _: reports.append(fraction))
    queries = inherited.queries(study)
    assert [query.checkpoint.label for query in queries] == ["epoch 1", "epoch 2", "epoch 3"]
    result = inherited.recipe(queries[2], lab)
    rows = list(result.rows(queries[2]))
    assert {tuple(row) for row in rows} == {tuple(COLUMNS)}
    assert [(row["layer"], row["scope"]) for row in rows[:3]] == [(0, "change"), (0, "differences"), (1, "change")]
    assert len(rows) == 6
    assert reports == sorted(reports) and reports[-1] == 1.0
    kinds = tuple(
        replace(checkpoint, facts=replace(checkpoint.facts, kind="encoder")) for checkpoint in study.checkpoints
    )
    encoders = replace(study, checkpoints=kinds)
    assert len(inherited.queries(encoders)) == 3
    assert [query.checkpoint.label for query in inherited.queries(study, "epoch 2")] == ["base", "epoch 1", "epoch 3"]
