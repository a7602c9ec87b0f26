"""Patched residuals of one text: the share of the way by hand, what has none, what is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.analyses import patching
from backend.analyses.patching import LEAST, Query
from backend.errors import UndefinedError
from backend.lab.lab import Lab
from backend.study.pinned import PinnedStudy
from backend.study.typed_texts import Typed, read_typed
from tests.fakes import run_seconds

TEXT = "The script is funny, humane and the camera work drags."


def typed(study: PinnedStudy, lab: Lab) -> Typed:
    return read_typed(study.readers, TEXT)


def query(study: PinnedStudy, lab: Lab) -> Query:
    return Query(study.base, study.checkpoints[-1], typed(study, lab).prompts)


def test_the_share_of_the_way_by_hand():
    host, donor = np.array([0, -1], np.float32), np.array([0, 3], np.float32)
    logits = np.array([[[0, -1], [0, 1]], [[2, 7], [1, -2]]], np.float32)
    result = patching.patching(logits, host, donor)
    np.testing.assert_allclose(result.logit_diff[:, :, 0], [[-1, 1], [5, -3]])
    np.testing.assert_allclose(result.fraction_recovered[:, :, 0], [[0, 0.5], [1.5, -0.5]])
    assert (result.host[0], result.donor[0]) == (-1, 3)


@given(apart=st.floats(-5, 5), moved=st.floats(-3, 3))
def test_no_share_where_host_and_donor_agree(apart: float, moved: float):
    host, donor = np.zeros(2, np.float32), np.array([0, apart], np.float32)
    result = patching.patching(np.array([[[0, moved]]], np.float32), host, donor)
    if abs(apart) < LEAST - 1e-6:
        assert np.isnan(result.fraction_recovered).all()
    elif abs(apart) > LEAST + 1e-6:
        back = patching.patching(np.array([[[0, apart - moved]]], np.float32), host, donor)
        np.testing.assert_allclose(
            result.fraction_recovered + back.fraction_recovered, 1, atol=1e-3
        )  # as far from the other end


def test_a_donor_without_a_head_has_no_share():
    result = patching.patching(np.ones((2, 3, 2), np.float32), np.zeros(2, np.float32), np.full(2, np.nan, np.float32))
    assert np.isnan(result.fraction_recovered).all() and np.isfinite(result.logit_diff).all()


def test_rows_name_the_token_and_both_ends(study: PinnedStudy, lab: Lab):
    request, pieces = query(study, lab), typed(study, lab).pieces
    result = patching.recipe(request, lab)
    rows = list(result.rows(request, pieces))
    classes = study.prompts.classes
    of_class = [] if classes == 2 else ["class"]
    assert list(rows[0]) == [
        *("host", "donor", "position", "token", "layer"),
        *of_class,
        *("logit_diff", "logit_diff_host", "logit_diff_donor", "fraction_recovered"),
    ]
    per = 1 if classes == 2 else classes
    assert len(rows) == len(pieces) * 5 * per
    one = rows[(2 * 5 + 3) * per]
    assert (one["host"], one["donor"], one["token"], one["layer"]) == ("base", "epoch 2", pieces[2], 3)
    assert one["logit_diff"] == result.logit_diff[3, 2, 0]
    assert one["fraction_recovered"] == result.fraction_recovered[3, 2, 0]
    assert one["fraction_recovered"] == pytest.approx(
        (one["logit_diff"] - one["logit_diff_host"]) / (one["logit_diff_donor"] - one["logit_diff_host"])
    )


def test_at_the_end_only_the_readout_counts(study: PinnedStudy, lab: Lab):
    result = patching.recipe(query(study, lab), lab)
    np.testing.assert_allclose(result.fraction_recovered[-1, :-1], 0, atol=1e-5)
    np.testing.assert_allclose(result.fraction_recovered[-1, -1], 1, rtol=1e-5)


def test_typed_texts_are_not_kept_and_reviews_are(study: PinnedStudy, lab: Lab):
    request = query(study, lab)
    patching.typed(request, lab)
    assert patching.typed.computed(request, lab) is None
    patching.recipe(request, lab)
    assert patching.recipe.computed(request, lab) is not None


def test_a_host_without_a_head_is_one_sentence(study: PinnedStudy, lab: Lab):
    facts = replace(study.base.facts, kind="encoder", has_head=False)
    with pytest.raises(UndefinedError, match="no residual of epoch 2 can change its answer"):
        patching.recipe(replace(query(study, lab), host=replace(study.base, facts=facts)), lab)


def test_it_says_what_it_costs(study: PinnedStudy, lab: Lab):
    request = query(study, lab)
    tokens = int(request.prompts.lengths[0])
    assert request.cost.passes == ((study.base, tokens * tokens * 5 // 4),)
    encoder = replace(request, host=replace(study.base, facts=replace(study.base.facts, kind="encoder")))
    assert encoder.cost.passes == ((encoder.host, tokens * tokens * 5 // 2),)
    assert lab.seconds(request) > run_seconds(lab, *request.cost.passes[0])
