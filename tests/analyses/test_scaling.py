"""Scaled changes on fakes: measures against a plain loop, the ends of the road, and what is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backend.analyses import scaling
from backend.analyses.scaling import ALPHAS, Query, WrittenQuery, query
from backend.derived.scaled_change import plan_of
from backend.errors import UndefinedError
from backend.lab.differences import Scaling
from backend.lab.lab import Lab
from backend.stats import metrics
from backend.study.pinned import PinnedStudy


@pytest.fixture(params=["all", "block", "head"])
def asked(request: pytest.FixtureRequest, study: PinnedStudy) -> Query:
    return replace(query(study, study.checkpoints[2], study.base, request.param), draws=50)


def test_measures_are_those_of_the_scaled_models(asked: Query, lab: Lab):
    result = scaling.recipe(asked, lab)
    pair, prompts = (asked.checkpoint, asked.reference), asked.prompts
    logits = lab.models.scaled(*pair, asked.plan, prompts, lab.progress)
    found = lab.models.scaled_predictions(*pair, asked.plan, asked.texts.read(lab), lab.progress)
    for i, one in enumerate(logits):
        at = divmod(i, len(ALPHAS))
        assert result.gap.value[at] == pytest.approx(metrics.gap(metrics.logit_diff(one), prompts.labels), rel=1e-5)
        recall = metrics.recalls(metrics.predictions(one), prompts.labels, prompts.classes)
        assert result.balanced_accuracy.value[at] == pytest.approx(recall.mean())
        tokens = found.predicted.sum()
        assert result.perplexity.value[at] == pytest.approx(np.exp(found.loss[i].sum() / tokens), rel=1e-5)
        assert result.kl.value[at] == pytest.approx(found.kl[i].sum() / tokens, rel=1e-4, abs=1e-9)
    for name in scaling.MEASURES:
        value, low, high = getattr(result, name).ends
        assert (low <= value + 1e-9).all() and (value <= high + 1e-9).all(), name


def test_the_ends_of_the_road_are_both_models(study: PinnedStudy, lab: Lab):
    asked = replace(query(study, study.checkpoints[2], study.base, "all"), draws=20)
    result = scaling.recipe(asked, lab)
    for alpha, one in ((0.0, study.base), (1.0, study.checkpoints[2])):
        logits = lab.readout(one, study.prompts).logits
        expected = metrics.gap(metrics.logit_diff(logits), study.prompts.labels)
        assert result.gap.value[0, ALPHAS.index(alpha)] == pytest.approx(expected, rel=1e-5)
    assert result.kl.value[0, ALPHAS.index(0.0)] == 0


def test_the_plan_scales_one_block_at_a_time():
    assert plan_of("mlp", (0.5, 1.0), 2) == (
        Scaling("mlp", 0.5, (0,)),
        Scaling("mlp", 1.0, (0,)),
        Scaling("mlp", 0.5, (1,)),
        Scaling("mlp", 1.0, (1,)),
    )
    assert plan_of("head", (2.0,), 5) == (Scaling("head", 2.0),)


def test_rows_and_queries(study: PinnedStudy, asked: Query, lab: Lab):
    asked_of = scaling.queries(study)
    assert [one.part for one in asked_of] == list(scaling.PARTS) and lab.seconds(asked_of[0]) > 0
    rows: list[dict[str, Any]] = [*scaling.recipe(asked, lab).rows(asked)]
    assert len({tuple(row[key] for key in scaling.KEY) for row in rows}) == len(rows)
    assert (rows[0]["block"] is None) == (asked.part != "block")


def test_models_that_predict_nothing_have_answers_only(study: PinnedStudy, lab: Lab):
    checkpoints = tuple(replace(one, facts=replace(one.facts, answers=2)) for one in study.checkpoints)
    silent = replace(study, checkpoints=checkpoints)
    result = scaling.recipe(replace(query(silent, checkpoints[1], checkpoints[0], "all"), draws=20), lab)
    assert np.isfinite(result.gap.value).all() and np.isnan(result.kl.value).all()
    headless = tuple(replace(one, facts=replace(one.facts, has_head=False)) for one in study.checkpoints)
    with pytest.raises(UndefinedError, match="neither answer"):
        scaling.recipe(query(replace(study, checkpoints=headless), headless[1], headless[0], "all"), lab)


def test_what_is_written_follows_part_alpha_and_seed(study: PinnedStudy, lab: Lab):
    one = WrittenQuery(study.checkpoints[1], study.base, study.prompts.first(), "all", (), 1.5)
    texts = {
        scaling.written(asked, lab).text
        for asked in (one, replace(one, alpha=2.0), replace(one, part="logits"), replace(one, temperature=0.7))
    }
    assert len(texts) == 4
    (row,) = scaling.written(one, lab).rows(one)
    assert row["alpha"] == 1.5 and row["seed"] is None and row["block"] is None
