"""Word groups: means and bands against a plain loop, matching that takes frequency out, chance that is chance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import hypergeom

from backend.analyses import token_groups
from backend.analyses.token_groups import compare, draw_alike, strata
from backend.derived.embedding_shift import ShiftQuery, shifts
from tests.fake_texts import fake_tokenizer
from tests.fakes import fake_lab, fake_study


def test_strata_double() -> None:
    counts = np.array([0, 1, 2, 3, 6, 7, 14, 15, 1000])
    assert strata(counts).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 9]


def test_drawn_groups_are_alike_and_repeat_no_token() -> None:
    stratum = np.repeat([0, 1, 2], [50, 10, 3])
    ids = np.array([1, 2, 51, 60, 61, 62])
    drawn = draw_alike(ids, stratum, 200, 0)
    assert drawn.shape == (200, 6)
    for one in drawn:
        assert len(set(one.tolist())) == 6
        assert sorted(stratum[one].tolist()) == sorted(stratum[ids].tolist())
    np.testing.assert_array_equal(drawn, draw_alike(ids, stratum, 200, 0))
    assert not np.array_equal(drawn, draw_alike(ids, stratum, 200, 1))
    share = np.mean([51 in one for one in drawn.tolist()])
    assert share == pytest.approx(0.1, abs=0.07), "every token of a stratum is as likely as the others"


def test_chance_is_that_of_drawing_without_replacement() -> None:
    """Values of 0 and 1: a random group's sum is hypergeometric."""
    values = np.zeros((1, 400))
    values[0, :100] = 1
    ids = np.arange(90, 130)
    result = compare(values, np.zeros(400, dtype=np.int64), [ids], draws=4000)
    assert result["mean"].value[0, 0] == 0.25
    theory = hypergeom(400, 100, 40)
    assert result["random"].value[0, 0] == pytest.approx(theory.mean() / 40, abs=0.005)
    low, high = theory.ppf([0.025, 0.975]) / 40
    assert result["random"].low[0, 0] == pytest.approx(low, abs=0.026)
    assert result["random"].high[0, 0] == pytest.approx(high, abs=0.026)
    assert result["random_p"][0, 0] > 0.9
    far = compare(values, np.zeros(400, dtype=np.int64), [np.arange(80, 120)], draws=4000)
    tail = 2 * theory.sf(19)
    assert far["random_p"][0, 0] == pytest.approx(tail, abs=0.02)
    assert far["random_p"][0, 0] < 0.05


def test_words_that_moved_because_they_are_frequent_are_recognised() -> None:
    """Shift grows with frequency; `plain` words are frequent, `moved` ones went further than their frequency says."""
    rng = np.random.default_rng(0)
    count = rng.integers(0, 2000, 3000)
    shift = np.log1p(count) + 0.3 * rng.normal(size=3000)
    frequent = np.flatnonzero(count > 1500)
    plain, moved = frequent[:60], frequent[60:120]
    shift[moved] += 1
    result = compare(shift[None], count, [plain, moved])
    assert result["random_p"][0, 0] < 0.01, "against all tokens even plain words seem to have moved"
    assert result["matched_p"][0, 0] > 0.05
    assert result["matched_p"][1, 0] < 0.01
    assert (
        result["matched"].low[1, 0]
        < result["matched"].value[1, 0]
        < result["matched"].high[1, 0]
        < result["mean"].value[1, 0]
    )
    half = 1.96 * shift[plain].std() / np.sqrt(60)
    assert result["mean"].high[0, 0] - result["mean"].value[0, 0] == pytest.approx(half, rel=0.2)


def test_small_groups_and_rows_of_zeros() -> None:
    values = np.array([[1.0, 2.0, np.nan, 4.0, 5.0, 6.0]])
    empty, one, two = np.array([], dtype=np.int64), np.array([4]), np.array([1, 3])
    result = compare(values, np.zeros(6, dtype=np.int64), [empty, one, two], draws=100)
    assert all(np.isnan(result[name][0].ends).all() for name in ("mean", "random", "matched"))
    assert np.isnan([result["random_p"][0], result["matched_p"][0]]).all()
    assert result["mean"].value[1, 0] == 5
    assert np.isnan(result["mean"].low[1, 0])
    assert result["mean"].value[2, 0] == 3
    assert np.isfinite(result["random_p"][2, 0])


def test_the_recipe_on_fakes(tmp_path: Path) -> None:
    study = fake_study()
    own = (("film", ("script", "camera", "zyzzyva")), ("nothing", ()))
    query = replace(token_groups.queries(study)[1], own=own, draws=200)
    lab = fake_lab(tmp_path)
    result = token_groups.recipe(query, lab)
    assert result.groups == ("positive", "negative", "film", "nothing")
    assert result.measures[:3] == ("l2", "cosine_distance", "l2_centred")
    assert result.measures[3:] == ("output_l2", "output_cosine_distance", "output_l2_centred")
    assert result.listed[2:].tolist() == [3, 0]
    assert result.n[2:].tolist() == [2, 0]
    results = shifts(ShiftQuery(query.checkpoint, query.reference), lab)
    assert results.output is not None
    moved = vars(results.input) | {f"output_{name}": value for name, value in vars(results.output).items()}
    ids = [fake_tokenizer().token_to_id(f" {word}") for word in ("script", "camera")]
    for m, measure in enumerate(result.measures):
        assert result.mean.value[2, m] == pytest.approx(moved[measure][ids].mean())
    rows = list(result.rows(query))
    assert len(rows) == 4 * 6
    assert list(rows[0]) == [
        *("checkpoint", "group", "measure", "words", "tokens", "mean", "mean_low", "mean_high"),
        *("random", "random_low", "random_high", "random_p", "matched", "matched_low", "matched_high", "matched_p"),
    ]
    assert rows[-1]["mean"] is None
    assert [q.checkpoint.label for q in token_groups.queries(study, "epoch 1")] == ["base", "epoch 2", "epoch 3"]
