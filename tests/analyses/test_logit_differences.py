"""Changed predictions on fakes: the tokens, floors and intervals against a plain loop, topics with their passages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import logit_differences
from backend.analyses.logit_differences import Query, TextQuery, query
from backend.derived.model_differences import differences_of
from backend.errors import UndefinedError
from backend.lab.lab import Lab
from backend.study.pinned import PinnedStudy


@pytest.fixture
def asked(study: PinnedStudy) -> Query:
    return replace(query(study, study.checkpoints[2], study.base, "sample"), topics=2, halvings=50)


def test_tokens_are_those_whose_mean_probability_moved_most(asked: Query, lab: Lab):
    result, found = logit_differences.recipe(asked, lab), differences_of(asked.differences, lab).predictions
    assert found is not None
    mean = found.change.sum(axis=0) / found.predicted.sum()
    np.testing.assert_allclose(result.change.value, mean[result.token_id], rtol=1e-5)
    assert set(result.token_id[:20]) == set(range(20, 40)) and set(result.token_id[20:]) == set(range(40, 60))
    assert result.change.chance is not None
    assert (np.abs(result.change.value) > result.change.chance).all()
    assert (result.change.low <= result.change.value).all() and (result.change.value <= result.change.high).all()


def test_without_a_change_nothing_exceeds_the_floor(study: PinnedStudy, lab: Lab):
    asked = query(study, study.base, study.base, "sample")
    result = logit_differences.recipe(asked, lab)
    assert result.kl.value == 0 and not len(result.token_id) and result.topics == ()


def test_the_mean_kl_is_that_of_all_positions(asked: Query, lab: Lab):
    result, found = logit_differences.recipe(asked, lab), differences_of(asked.differences, lab).predictions
    assert found is not None and result.kl.value == pytest.approx(found.kl.mean(), rel=1e-5)
    assert result.kl.low < result.kl.value < result.kl.high


def test_planted_topics_are_found_again_with_passages(asked: Query, study: PinnedStudy, lab: Lab):
    topics = logit_differences.recipe(asked, lab).topics
    assert [one.way for one in topics] == ["likelier"] * 2 + ["rarer"] * 2
    assert all(one.stability > 0.9 for one in topics)
    assert len({one.token for one in topics}) == 4
    for one in topics:
        assert len(one.before) == len(one.following) == len(one.instead) == 4
        whole = one.before[0].removeprefix("… ") + one.following[0]
        assert any(whole in text or one.following[0] == "<unk>" for text in study.sample.text)


def test_one_text_token_by_token(asked: Query, study: PinnedStudy, lab: Lab):
    wanted = TextQuery(asked.differences, 3)
    one = logit_differences.text(wanted, lab)
    ids = asked.texts.read(lab).token_ids[3]
    assert len(one.pieces) == len(ids) and len(one.kl) == len(one.likelier) == len(ids) - 1
    found = differences_of(asked.differences, lab).predictions
    assert found is not None
    np.testing.assert_allclose(one.kl, found.kl[found.text == 3])
    assert len([*one.rows(wanted)]) == len(ids) - 1
    with pytest.raises(UndefinedError, match="no predictions of this text"):
        logit_differences.text(TextQuery(asked.differences, 999), lab)


def test_models_that_predict_nothing_are_left_out(study: PinnedStudy, lab: Lab):
    blind = replace(study.base.facts, answers=2)
    checkpoints = tuple(replace(one, facts=blind) for one in study.checkpoints)
    silent = replace(study, checkpoints=checkpoints)
    assert logit_differences.queries(silent) == []
    with pytest.raises(UndefinedError, match="predicts no tokens"):
        logit_differences.recipe(query(silent, checkpoints[1], checkpoints[0], "sample"), lab)


def test_rows_have_a_key(asked: Query, lab: Lab):
    result = logit_differences.recipe(asked, lab)
    rows = [*result.rows(asked)]
    assert len(rows) == 40 == len({tuple(row[key] for key in logit_differences.KEY) for row in rows})
    assert len([*result.topic_rows(asked)]) == 4
