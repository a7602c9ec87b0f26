"""Nearest tokens against scikit-learn and a plain loop; rows of zeros, chunks, the recipe on fakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from backend.analyses import token_neighbours as neighbours
from backend.analyses.token_neighbours import nearest, overlap
from backend.errors import Cancelled
from tests.fakes import VOCABULARY, FakeModels, fake_lab, fake_study


def everything(rows: np.ndarray) -> np.ndarray:
    return np.arange(len(rows))


def test_by_hand() -> None:
    """Directions, not lengths, count; the second is opposite to the first."""
    rows = np.array([[1, 0], [-5, 0], [9, 1], [0, 3]], dtype=np.float32)
    assert nearest(rows, everything(rows), 2).tolist() == [[2, 3], [3, 2], [0, 3], [2, 0]]
    assert nearest(rows, np.array([2, 0]), 1).tolist() == [[0], [2]]


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 12))
def test_agrees_with_scikit_learn(seed: int, n: int, k: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)
    k = min(k, n - 1)
    theirs = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(rows.astype(np.float64))
    np.testing.assert_array_equal(nearest(rows, everything(rows), k), theirs.kneighbors(return_distance=False))


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    whole = nearest(rows, everything(rows), 7)
    monkeypatch.setattr(neighbours, "CHUNK_VALUES", 350)
    np.testing.assert_array_equal(nearest(rows, everything(rows), 7), whole)


def test_a_row_of_zeros_has_no_neighbours_and_is_no_neighbour() -> None:
    rows = np.array([[1, 0], [0, 0], [1, 1], [0, 1]], dtype=np.float32)
    result = nearest(rows, everything(rows), 3)
    assert result.tolist() == [[2, 3], [-1, -1], [0, 3], [2, 0]]
    assert nearest(np.zeros((3, 2), dtype=np.float32), np.arange(3), 2).tolist() == [[-1], [-1], [-1]]
    moved = overlap(result, np.array([[3, 2], [0, 2], [0, 1], [-1, -1]]))
    np.testing.assert_array_equal(moved, [1.0, np.nan, 0.5, np.nan])


def test_equal_rows_give_the_lower_ids() -> None:
    rows = np.ones((6, 2), dtype=np.float32)
    assert nearest(rows, np.array([3]), 2).tolist() == [[0, 1]]


def test_the_recipe_on_fakes(tmp_path: Path) -> None:
    study, models = fake_study(), FakeModels()
    query = neighbours.queries(study)[2]
    result = neighbours.recipe(query, fake_lab(tmp_path, models))
    assert len(result.ids) == VOCABULARY
    for token in (3, 700):
        kept = []
        for one in (query.reference, query.checkpoint):
            rows = models.embedding(one, "input").rows.astype(np.float64)
            cosines = rows @ rows[token] / np.linalg.norm(rows, axis=1)
            kept.append(set(np.argsort(-cosines)[1:11].tolist()))
        assert set(result.before[token].tolist()) == kept[0]
        assert set(result.after[token].tolist()) == kept[1]
        assert result.overlap[token] == pytest.approx(len(kept[0] & kept[1]) / 10)
    some = neighbours.recipe(replace(query, ids=(700, 3)), fake_lab(tmp_path, models))
    np.testing.assert_array_equal(some.before, result.before[[700, 3]])
    rows = list(some.rows(query))
    assert [row["token_id"] for row in rows] == [700, 3]
    whole = next(row for row in result.rows(query) if row["token_id"] == 700)
    assert rows[0] == whole
    assert len(rows[0]["nearest_before"].split(" ")) >= 10


def test_large_vocabularies_are_exported_in_part() -> None:
    study = fake_study()
    assert [q.ids for q in neighbours.queries(study)] == [None] * 3
    large = replace(study.base.facts, vocabulary=150_000)
    study = replace(study, checkpoints=tuple(replace(checkpoint, facts=large) for checkpoint in study.checkpoints))
    ids = neighbours.queries(study)[0].ids
    assert ids is not None
    assert len(ids) * 150_000 <= neighbours.EXPORTED_COSINES
    assert len(ids) >= 1_000


def test_it_can_be_left(tmp_path: Path) -> None:
    def cancel(_fraction: float, sentence: str) -> None:
        if sentence.startswith("Comparing"):
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        neighbours.recipe(neighbours.queries(fake_study())[0], fake_lab(tmp_path).watched(cancel))
