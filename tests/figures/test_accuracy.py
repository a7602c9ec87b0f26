"""Accuracy against chance, and one review's answers."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from backend.analyses import accuracy
from backend.figures import accuracy as figures
from backend.figures.style.step_axis import step_axis
from tests.figures.conftest import Shown


@pytest.fixture
def results(shown: Shown) -> list[accuracy.Result]:
    return [
        accuracy.recipe(accuracy.Query(one, shown.study.prompts, draws=50), shown.lab)
        for one in shown.study.checkpoints
    ]


def test_balanced_accuracy_and_every_recall_with_their_intervals(shown: Shown, results: list[accuracy.Result]):
    picture = figures.draw(results, step_axis(shown.names), shown.words)
    assert len(picture.data) == 2 + len(shown.words)
    balanced = picture.data[0]
    np.testing.assert_allclose(balanced.y, [100 * one.balanced_accuracy.value for one in results], rtol=1e-6)
    np.testing.assert_allclose(
        balanced.y + balanced.error_y.array, [100 * one.balanced_accuracy.high for one in results], rtol=1e-6
    )
    assert picture.data[-1].name == f"chance {100 / len(shown.words):.0f} %"


def test_the_table_has_a_row_per_checkpoint(shown: Shown, results: list[accuracy.Result]):
    rows = figures.table(results, shown.names, shown.words)
    assert [row["checkpoint"] for row in rows] == [*shown.names, "always the same word"]
    assert rows[-1]["balanced accuracy"] == f"{100 / len(shown.words):.1f} %"
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    assert rows[0]["balanced accuracy"].startswith(f"{100 * results[0].balanced_accuracy.value:.1f} %")


def test_a_reviews_probability_is_the_softmax_over_the_label_words(shown: Shown, results: list[accuracy.Result]):
    logits = shown.lab.readout(shown.study.base, shown.study.prompts).logits.astype(np.float64)
    for review in (0, 7):
        row = figures.review(results[:1], ["base"], shown.words, review)[0]
        assert row["answer"] == shown.words[int(logits[review].argmax())]
        assert row["probability"] == f"{100 * softmax(logits[review]).max():.1f} %"
