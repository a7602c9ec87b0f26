"""The pictures of features: what is where, what hovering says, and the sentences."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import numpy as np
import pytest

from backend.analyses import features
from backend.figures import features as figures
from backend.stats.feature_rates import STATES
from tests.fakes import FakeModels, fake_lab, fake_study

NAMES = ["base", "epoch <3>"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> features.Result:
    """Reference and last epoch of a fake study."""
    models = FakeModels(layers=4, width=16)
    (query,) = features.queries(fake_study(models=models))
    return features.recipe(query, fake_lab(tmp_path_factory.mktemp("cache"), models))


def test_every_feature_that_fires_is_a_point_at_its_rates(result: features.Result):
    drawn = figures.scatter(result, NAMES, 0, "positive")
    drawn_points = [one for one in drawn.data if one.text]
    points = {int(i): (x, y) for one in drawn_points for i, x, y in zip(one.customdata, one.x, one.y, strict=True)}
    assert set(points) == set(np.flatnonzero(result.rate.max(axis=0) > 0).tolist())
    for feature, (x, y) in points.items():
        assert x == pytest.approx(max(result.rate[0, feature], 0.4 / result.tokens), rel=1e-5)
        assert y == pytest.approx(max(result.rate[1, feature], 0.4 / result.tokens), rel=1e-5)
    assert {one.name for one in drawn.data} <= set(STATES)
    assert drawn.layout.xaxis.ticktext[0] == "never"
    said = " ".join(text for one in drawn.data if one.text for text in one.text)
    assert "epoch &lt;3&gt;" in said and "<3>" not in said and "promotes" in said


def test_the_chosen_feature_is_ringed_and_one_model_is_drawn_by_auc(result: features.Result):
    feature = int(np.argmax(result.rate[0]))
    assert figures.scatter(result, NAMES, 0, "positive", feature).data[-1].name == f"feature {feature}"
    alone = figures.scatter(result, NAMES[:1], 0, "positive")
    assert "AUC" in alone.layout.yaxis.title.text
    assert max(one.y.max() for one in alone.data) <= 1


def test_features_are_ranked_and_found_by_number_and_token(result: features.Result):
    order = figures.ranked(result, "auc", 0, "", 2)
    far = np.abs(np.nan_to_num(result.auc[1, 0, order], nan=0.5) - 0.5)
    assert (np.diff(far) <= 1e-12).all()
    assert figures.ranked(result, "rate", 0, str(order[3]), 2) == [order[3]]
    word = result.promotes(1, order[0])[0]
    assert order[0] in figures.ranked(result, "change", 0, word, 2)
    assert figures.ranked(result, "cosine", 0, "no token is like this", 2) == []


def test_tables(result: features.Result):
    (row,) = figures.table(result, [int(np.argmax(result.rate[0]))], NAMES, 0)
    assert row["promotes"] and row["state"] in STATES and isinstance(row["AUC in base"], float)
    alone = figures.table(result, [0], NAMES[:1], 0)[0]
    assert "state" not in alone


def test_sentences(result: features.Result):
    first, *others = figures.in_words(result, ["base", "epoch 3"], 0, "positive")
    assert "10 are shared" in first and "1 appeared, 1 vanished" in first
    assert len(others) == 2 and "beyond chance" in others[1]
    nothing = figures.in_words(_without_signal(result), ["base"], 0, "positive")
    assert nothing == ["In **base** none of 12 features tells positive apart beyond chance (false-discovery rate 5 %)."]


def _without_signal(result: features.Result) -> features.Result:
    from dataclasses import replace

    return replace(result, q=np.ones_like(result.q))
