"""The unembedding against the reference's: scipy on the rows of the fakes, shared rows, encoders, the row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.spatial

from backend.analyses import unembedding
from backend.caching.progress import silent
from backend.errors import UndefinedError
from backend.lab.outputs import Embedding
from backend.study.checkpoint import PinnedCheckpoint
from tests.fakes import FakeModels, fake_lab, fake_study


def test_agrees_with_scipy_on_the_rows(tmp_path):
    models = FakeModels(layers=2, width=8)
    study = fake_study(models=models)
    reports: list[float] = []
    lab = fake_lab(tmp_path, models, lambda fraction, _: reports.append(fraction))
    query = unembedding.queries(study)[2]
    result = unembedding.recipe(query, lab)
    after, before = (models.embedding(checkpoint, "output").rows for checkpoint in (query.checkpoint, study.base))
    assert result.procrustes == pytest.approx(scipy.spatial.procrustes(before, after)[2], rel=1e-6)
    assert result.rows_shared == len(before) and not result.tied
    assert 0 < result.procrustes < result.procrustes_chance <= 1
    assert abs(result.cosine_chance) < result.cosine < 1
    assert reports == sorted(reports) and reports[-1] == 1.0
    (row,) = result.rows(query)
    assert list(row) == [
        *("checkpoint", "reference", "rows_shared", "tied"),
        *("cosine", "cosine_chance", "procrustes", "procrustes_chance"),
    ]


def test_an_extended_vocabulary_is_compared_on_shared_rows(tmp_path):
    class Extended(FakeModels):
        def embedding(self, checkpoint: PinnedCheckpoint, which, progress=silent) -> Embedding:
            result = super().embedding(checkpoint, which, progress)
            rows = result.rows if checkpoint.label == "base" else np.concatenate([result.rows, np.ones((3, 8), "f4")])
            return Embedding(rows, result.tied)

    plain, extended = FakeModels(layers=2, width=8), Extended(layers=2, width=8)
    query = unembedding.queries(fake_study(models=plain))[0]
    results = [
        unembedding.recipe(query, fake_lab(tmp_path / str(i), models)) for i, models in enumerate((plain, extended))
    ]
    assert results[0] == results[1]


def test_encoders_have_no_queries_and_an_error_with_the_reason(tmp_path):
    class Encoders(FakeModels):
        def embedding(self, checkpoint: PinnedCheckpoint, which, progress=silent) -> Embedding:
            raise UndefinedError("it predicts no tokens")

    study = fake_study()
    query = unembedding.queries(study, "epoch 1")[0]
    assert query.checkpoint.label == "base"
    with pytest.raises(UndefinedError):
        unembedding.recipe(query, fake_lab(tmp_path, Encoders()))
    bodies = tuple(replace(checkpoint, facts=checkpoint.facts.body) for checkpoint in study.checkpoints)
    assert unembedding.queries(replace(study, checkpoints=bodies)) == []
    mixed = replace(study, checkpoints=(*bodies[:2], *study.checkpoints[2:]))
    assert unembedding.queries(mixed) == []
    assert [query.checkpoint.label for query in unembedding.queries(mixed, "epoch 2")] == ["epoch 3"]
