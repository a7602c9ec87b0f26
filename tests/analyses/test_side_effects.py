"""Gain and price on fakes: paired gains against a plain loop, blocks, and the smallest set that keeps the gain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backend.analyses import side_effects
from backend.analyses.side_effects import Query, query
from backend.errors import UndefinedError
from backend.lab.lab import Lab
from backend.stats import metrics
from backend.study.pinned import PinnedStudy


@pytest.fixture
def asked(study: PinnedStudy) -> Query:
    return replace(query(study, study.checkpoints[2], study.base, True), draws=50)


def test_gains_are_paired_and_prices_are_those_of_the_runs(asked: Query, lab: Lab):
    result = side_effects.recipe(asked, lab)
    pair, prompts = (asked.checkpoint, asked.reference), asked.prompts
    logits = lab.models.scaled(*pair, asked.plan, prompts, lab.progress)
    gaps = [metrics.gap(metrics.logit_diff(one), prompts.labels) for one in logits]
    np.testing.assert_allclose(result.gain.value, np.array(gaps) - gaps[0], rtol=1e-4, atol=1e-6)
    found = lab.models.scaled_predictions(*pair, asked.plan, asked.texts.read(lab), lab.progress)
    np.testing.assert_allclose(result.kl.value, found.kl.sum(axis=1) / found.predicted.sum(), rtol=1e-4, atol=1e-9)
    assert len(result.gain.value) == 2 + 4 and result.gain.value[0] == 0
    assert (result.gain.low <= result.gain.value).all() and (result.gain.value <= result.gain.high).all()


def test_the_set_grows_by_what_helps_most(asked: Query, lab: Lab):
    result = side_effects.recipe(asked, lab)
    assert result.order[:2] == (3, 2)  # later blocks of the fakes matter more
    assert (np.diff(result.kept.value) > 0).all()
    assert result.smallest(0.0) == (3,) and result.smallest(2.0) is None


def test_a_checkpoint_as_a_whole_takes_two_runs(study: PinnedStudy, lab: Lab):
    asked = replace(query(study, study.checkpoints[1], study.base), draws=20)
    result = side_effects.recipe(asked, lab)
    assert len(result.gain.value) == 2 and result.order == ()
    assert [one.by_block for one in side_effects.queries(study)] == [False, True]


def test_without_a_gain_nothing_is_searched(asked: Query, study: PinnedStudy, lab: Lab):
    backwards = replace(asked, checkpoint=study.base, reference=study.checkpoints[2])
    result = side_effects.recipe(backwards, lab)
    assert result.gain.value[1] < 0 and result.order == () and result.smallest(0.9) is None


def test_rows_have_a_key_and_undefined_values_are_empty(asked: Query, lab: Lab):
    rows: list[dict[str, Any]] = [*side_effects.recipe(asked, lab).rows(asked)]
    assert len({tuple(row[key] for key in side_effects.KEY) for row in rows}) == len(rows)
    assert [row["part"] for row in rows][:5] == ["all", *["block"] * 4]
    assert rows[-1]["gain"] is None and rows[0]["kept"] is None
    assert lab.seconds(asked) > 0


def test_models_that_do_neither_are_refused(study: PinnedStudy, lab: Lab):
    headless = tuple(replace(one, facts=replace(one.facts, has_head=False)) for one in study.checkpoints)
    bare = replace(study, checkpoints=headless)
    assert side_effects.queries(bare) == []
    with pytest.raises(UndefinedError, match="no gain and no price"):
        side_effects.recipe(query(bare, headless[1], headless[0]), lab)
