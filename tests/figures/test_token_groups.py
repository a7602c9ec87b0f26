"""Groups against their bands, and the sentence of each."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import numpy as np
import pytest

from backend.analyses.token_groups import Result
from backend.figures import token_groups as figures
from backend.stats.estimate import Estimate

MEASURES = ("l2", "cosine_distance", "l2_centred")


def result(*extra: str) -> Result:
    def grid(*values: float) -> np.ndarray:
        return np.tile(np.array(values)[:, None], (1, 3 + len(extra)))

    measures = (*MEASURES, *extra)
    return Result(
        groups=("positive", "negative", "<own>"),
        measures=measures,
        listed=np.array([10, 12, 3]),
        n=np.array([5, 4, 0]),
        mean=Estimate(
            grid(0.9, 0.5, np.nan) + np.arange(len(measures)),
            grid(0.8, 0.4, np.nan) + np.arange(len(measures)),
            grid(1.1, 0.6, np.nan) + np.arange(len(measures)),
        ),
        random=Estimate(
            grid(0.4, 0.6, np.nan) + np.arange(len(measures)),
            grid(0.3, 0.52, np.nan) + np.arange(len(measures)),
            grid(0.5, 0.7, np.nan) + np.arange(len(measures)),
        ),
        random_p=grid(0.002, 0.02, np.nan),
        matched=Estimate(
            grid(0.8, 0.5, np.nan) + np.arange(len(measures)),
            grid(0.6, 0.4, np.nan) + np.arange(len(measures)),
            grid(1.0, 0.6, np.nan) + np.arange(len(measures)),
        ),
        matched_p=grid(0.4, 0.97, np.nan),
        count_note="Counted.",
    )


def test_groups_stand_above_their_bands() -> None:
    picture = figures.draw(result(), "input", "l2", "epoch 1")
    random, matched, positive, negative = picture.data
    assert list(random.x) == pytest.approx([0.4, 0.6])
    assert random.error_x.array[0] == pytest.approx(0.1)
    assert random.error_x.arrayminus[1] == pytest.approx(0.08)
    assert list(matched.x) == pytest.approx([0.8, 0.5])
    assert (positive.x[0], positive.error_x.array[0]) == (0.9, pytest.approx(0.2))
    assert positive.y[0] > negative.y[0]
    assert random.y[0] > positive.y[0] > matched.y[0]
    assert list(picture.layout.yaxis.ticktext) == ["positive (5)", "negative (4)"], "a group without tokens is left out"


def test_the_matrix_chooses_the_column_where_there_are_two() -> None:
    both = result("output_l2", "output_cosine_distance", "output_l2_centred")
    assert figures.draw(both, "output", "l2", "").data[2].x[0] == pytest.approx(3.9)
    assert figures.draw(both, "input", "l2_centred", "").data[2].x[0] == pytest.approx(2.9)
    assert figures.draw(result(), "output", "l2", "").data[2].x[0] == pytest.approx(0.9)


def test_the_sentence_tells_more_from_less_from_chance() -> None:
    said = [figures.in_words(result(), result().groups[g], "input", "l2", g) for g in range(3)]
    assert "5 of 10 words" in said[0]
    assert "moved further than random groups of equal size (p = 0.002)" in said[0]
    assert "within the band of groups matched in frequency (p = 0.4)" in said[0]
    assert "moved less far than random groups" in said[1]
    assert "none of its 3 words" in said[2]
