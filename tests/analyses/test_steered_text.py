"""A typed text under a steered model: answers at every coefficient, what is written, and nothing of it on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.analyses import steered_text
from backend.analyses.steered_text import Query, WrittenQuery
from backend.derived.steering_vectors import ALPHAS
from backend.lab.lab import Lab
from backend.lab.outputs import Sampling, SteeringVectors
from backend.stats import metrics
from backend.study.pinned import PinnedStudy
from backend.study.typed_texts import read_typed
from tests.fake_texts import fake_tokenizer
from tests.fakes import FakeModels

TEXT = "The script is funny and humane."


def query(study: PinnedStudy, **more: object) -> Query:
    one, text = study.checkpoints[1], read_typed(study.readers, TEXT).prompts
    request = Query(one, study.checkpoints[2], text, study.prompts, 3)
    return replace(request, direction=0 if study.prompts.classes == 2 else 1, **more)


def test_every_coefficient_is_the_steered_model(study: PinnedStudy, lab: Lab):
    request = query(study)
    result = steered_text.recipe(request, lab)
    source = lab.readout(study.checkpoints[2], study.prompts).residuals
    d = metrics.directions(source, study.prompts.labels, study.prompts.classes)[request.direction, 3]
    for a, alpha in enumerate(ALPHAS):
        plan = (SteeringVectors((3,), (alpha * d)[None].astype(np.float32), "all"),)
        logits = lab.models.steered(request.checkpoint, plan, request.text, lab.progress)[0]
        assert result.logit_diff[a] == pytest.approx(metrics.logit_diff(logits)[0, request.direction], abs=1e-4)
        chances = np.exp(logits[0] - logits[0].max())
        np.testing.assert_allclose(result.probability[a], chances / chances.sum(), atol=1e-5)
    np.testing.assert_allclose(result.probability.sum(axis=1), 1)


def test_without_a_direction_all_is_empty(study: PinnedStudy, lab: Lab):
    request = query(study, layer=0)
    result = steered_text.recipe(request, lab)
    assert np.isnan(result.logit_diff).all()
    assert {row["probability"] for row in result.rows(request)} == {None}


def test_what_is_written_comes_from_the_model_under_the_push(study: PinnedStudy, lab: Lab, models: FakeModels):
    given = query(study)
    request = WrittenQuery(
        given.checkpoint, given.direction_from, given.text, given.prompts, 3, "all", given.direction, 2.0, 0.7, 5
    )
    source = lab.readout(study.checkpoints[2], study.prompts).residuals
    d = metrics.directions(source, study.prompts.labels, study.prompts.classes)[request.direction, 3]
    pushed = SteeringVectors((3,), (2 * d)[None].astype(np.float32), "all")
    ids = models.continuation(request.checkpoint, request.text, pushed, 40, Sampling(0.7, 5))
    assert steered_text.written(request, lab).text == fake_tokenizer().decode(list(ids))
    (row,) = steered_text.written(request, lab).rows(request)
    assert (row["alpha"], row["temperature"], row["seed"], row["layer"]) == (2.0, 0.7, 5, 3)
    plain = replace(request, alpha=0.0, temperature=None)
    ids = models.continuation(request.checkpoint, request.text, None, 40, None)
    assert steered_text.written(plain, lab).text == fake_tokenizer().decode(list(ids))
    assert next(steered_text.written(plain, lab).rows(plain))["seed"] is None


def test_nothing_typed_is_kept(study: PinnedStudy, lab: Lab, tmp_path: Path):
    request = query(study)
    steered_text.recipe(request, lab)
    given = (request.checkpoint, request.direction_from, request.text, request.prompts, 3, "all", request.direction)
    steered_text.written(WrittenQuery(*given, 2.0, None), lab)
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    for key in (steered_text.recipe.key(request), steered_text.written.key(WrittenQuery(*given, 2.0, None))):
        assert lab.cache.get(key) is None
        assert key.encode() not in kept, "the names of recipes are kept with their speed, and nothing else"


def test_rows(study: PinnedStudy, lab: Lab):
    request = query(study)
    rows = list(steered_text.recipe(request, lab).rows(request))
    of_class = [] if study.prompts.classes == 2 else ["class"]
    columns = [
        "checkpoint",
        "direction_from",
        "layer",
        "positions",
        *of_class,
        "alpha",
        "logit_diff",
        "word",
        "probability",
    ]
    assert {tuple(row) for row in rows} == {tuple(columns)}
    assert len(rows) == len(ALPHAS) * study.prompts.classes
