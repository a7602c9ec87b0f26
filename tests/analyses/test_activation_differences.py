"""Mean activation differences on fakes: lengths against a plain loop, tokens against random directions, no labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backend.analyses import activation_differences
from backend.analyses.activation_differences import Query, by_chance, lengths, query, random_units
from backend.derived.model_differences import PLACES, differences_of
from backend.errors import UndefinedError
from backend.lab.lab import Lab
from backend.study.pinned import PinnedStudy
from tests.fakes import FakeModels


@pytest.fixture
def asked(study: PinnedStudy) -> Query:
    return replace(query(study, study.checkpoints[2], study.base, "neutral"), random=100, halvings=20)


def test_lengths_are_those_of_the_mean(asked: Query, lab: Lab):
    result, found = activation_differences.recipe(asked, lab), differences_of(asked.differences, lab)
    mean = found.total.sum(axis=0) / found.count.sum(axis=0)[:, None, None]
    np.testing.assert_allclose(result.norm, np.linalg.norm(mean, axis=-1), rtol=1e-5)
    np.testing.assert_allclose(result.residual_norm, 5, rtol=1e-5)
    np.testing.assert_allclose(result.relative.value[-1, 1:], result.norm[-1, 1:] / 5, rtol=0.05)
    assert (result.relative.low <= result.relative.value).all() and (
        result.relative.value <= result.relative.high
    ).all()


def test_a_position_that_no_text_reaches_has_no_length(asked: Query, lab: Lab):
    """As of texts of one token, which have no second position."""
    found = differences_of(asked.differences, lab)
    count, total, size = found.count.copy(), found.total.copy(), found.lengths.copy()
    count[:, 1], total[:, 1], size[:, 1] = 0, 0, 0
    measured = lengths(replace(found, count=count, total=total, lengths=size), 20, 0)
    for values in (measured["norm"], measured["residual_norm"], *measured["relative"].ends):
        assert np.isnan(values[1]).all() and not np.isnan(values[[0, 2, 5]]).any()


def test_the_shift_lies_above_the_floor_and_layer_0_does_not(asked: Query, lab: Lab):
    result = activation_differences.recipe(asked, lab)
    assert result.relative.chance is not None
    assert (result.relative.low[-1, 2:] > result.relative.chance[-1, 2:]).all()
    assert not result.relative.low[-1, 0] > result.relative.chance[-1, 0]  # the fakes shift no layer 0
    assert result.peak(5) == int(np.argmax(result.relative.value[5]))


def test_nothing_differs_from_itself(study: PinnedStudy, lab: Lab):
    result = activation_differences.recipe(query(study, study.base, study.base, "sample"), lab)
    assert not result.relative.value.any() and result.peak(5) is None
    assert result.tokens(0, 2) == ()


def test_tokens_are_those_of_the_lens(asked: Query, lab: Lab):
    result, found = activation_differences.recipe(asked, lab), differences_of(asked.differences, lab)
    mean = found.total[:, 5, 3].sum(axis=0) / found.count[:, 5].sum()
    assert asked.lens is not None
    random = random_units(100, 12, 0).astype(np.float32)
    alone = lab.models.promoted(mean[None].astype(np.float32), random, asked.lens, 20, lab.progress)
    np.testing.assert_allclose(result.promoted[5, 3], alone.score[0], rtol=1e-4)
    assert result.random_level == pytest.approx(np.quantile(alone.random, 0.95))
    assert len(result.tokens(5, 3)) == 20 and result.by_chance.min() > 0 and result.by_chance.max() <= 1


def test_chance_by_hand():
    found = by_chance(np.array([3.0, 1.0, np.nan]), np.array([1.0, 2.0, 4.0]))
    np.testing.assert_allclose(found, [2 / 4, 4 / 4, np.nan])
    assert np.linalg.norm(random_units(3, 5, 0), axis=1) == pytest.approx(1)


def test_models_without_a_vocabulary_have_lengths_only(study: PinnedStudy, lab: Lab, models: FakeModels):
    facts = study.base.facts
    blind = replace(facts, answers=2)
    checkpoints = tuple(replace(one, facts=blind) for one in study.checkpoints)
    result = activation_differences.recipe(
        query(replace(study, checkpoints=checkpoints), checkpoints[2], checkpoints[1], "sample"), lab
    )
    assert result.token == () and np.isnan(result.random_level) and result.relative.value.any()


def test_rows_and_queries(study: PinnedStudy, asked: Query, lab: Lab):
    queries = activation_differences.queries(study)
    assert len(queries) == 2 * (len(study.checkpoints) - 1)
    assert {one.texts.name for one in queries} == {"neutral", "sample"}
    rows: list[dict[str, Any]] = [*activation_differences.recipe(asked, lab).rows(asked)]
    assert len(rows) == len(PLACES) * 5
    assert len({tuple(row[key] for key in activation_differences.KEY) for row in rows}) == len(rows)
    assert len([*activation_differences.recipe(asked, lab).token_rows(asked, 5, 3)]) == 20
    assert lab.seconds(asked) > 0


def test_other_token_ids_are_refused(study: PinnedStudy):
    other = replace(study.prompts, token_ids=tuple(ids[::-1] for ids in study.prompts.token_ids), digest="other")
    mixed = replace(study, prompts=replace(study.prompts, own={study.checkpoints[1].fingerprint: other}))
    with pytest.raises(UndefinedError, match="different token ids"):
        query(mixed, mixed.checkpoints[1], mixed.base, "sample")
