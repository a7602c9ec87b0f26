"""The ranking, every token against its frequency, the search, and the table."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses.token_shift import Result
from backend.derived.embedding_shift import MEASURES, Moved
from backend.figures import token_shift as figures
from tests.figures.neighbours import NAMES, near


def result(tied: bool = True) -> Result:
    l2 = np.array([3.0, 5.0, 1.0, 2.0, 4.0, 0.5])
    output = None if tied else Moved(l2[::-1].copy(), l2, l2, np.nan)
    distance = np.array([0.3, 0.1, 0.2, np.nan, 0.4, 0.0])
    group = np.array([0, 1, -1, -1, 2, -1])
    count = np.array([100, 1, 0, 3, 12, 0])
    return Result(
        NAMES, ("positive", "negative", "own"), group, count, "sample", "Counted.",
        Moved(l2, distance, l2 / 2, 0.1), output,
    )  # fmt: skip


def test_the_most_moved_come_first() -> None:
    assert figures.chosen(result(), "input", "l2", "", 3) == [1, 4, 0]
    assert figures.chosen(result(tied=False), "output", "l2", "", 2) == [4, 1]
    assert figures.chosen(result(), "input", "cosine_distance", "", 9)[-1] == 3, "undefined ones come last"


@pytest.mark.parametrize(
    ("search", "ids"),
    [
        ("good", [0, 3]),
        (" good", [0, 3]),
        ("o", [0, 3, 5]),
        ("g", [4, 0, 3]),
        ("2", [2]),
        ("nowhere", []),
        ("<b>", [2]),
    ],
)
def test_a_search_finds_parts_of_names_and_ids_whole_names_first(search: str, ids: list[int]) -> None:
    assert figures.chosen(result(), "input", "l2", search, 10) == ids


@pytest.mark.parametrize("measure", MEASURES)
def test_bars_are_ranked_and_coloured_by_group(measure: str) -> None:
    picture = figures.ranked(result(), "input", measure, [0, 1, 2, 4], "epoch 1")
    values = {i: result().measure(measure, "input")[i] for i in (0, 1, 2, 4)}
    drawn = {int(y): float(x) for trace in picture.data for x, y in zip(trace.x, trace.y, strict=True)}
    assert [drawn[place] for place in range(4)] == sorted(values.values(), reverse=True)
    assert [trace.name for trace in picture.data] == ["positive", "negative", "own", "other tokens"]
    assert len({trace.marker.color for trace in picture.data}) == 4
    assert "&lt;b&gt;" in picture.layout.yaxis.ticktext
    assert picture.layout.shapes[0].x0 == pytest.approx(np.nanmean(result().measure(measure, "input")))


def test_the_name_of_a_word_list_is_text_in_the_legend() -> None:
    named = replace(result(), groups=("positive", "negative", "<i>own</i>"))
    for figure in (
        figures.ranked(named, "input", "l2", [1, 4, 0], ""),
        figures.by_frequency(named, "input", "l2", [], ""),
    ):
        assert "&lt;i&gt;own&lt;/i&gt;" in [trace.name for trace in figure.data]


def test_every_token_stands_at_its_count() -> None:
    picture = figures.by_frequency(result(), "input", "l2", [2], "epoch 1")
    others, positive, negative, own, ring = picture.data
    assert all(trace.type == "scattergl" for trace in (others, positive, negative, own))
    assert float(others.x[0]) == pytest.approx(0.4)
    assert int(others.customdata[0]) == 0, "never seen is drawn at the left and told as 0"
    assert float(positive.x[0]) == 100
    assert float(negative.y[0]) == 5
    assert list(ring.text) == ["&lt;b&gt;"]
    assert picture.layout.xaxis.ticktext[0] == "never"
    assert len(picture.layout.xaxis.tickvals) == len(picture.layout.xaxis.ticktext)
    undefined = figures.by_frequency(result(), "input", "cosine_distance", [], "epoch 1")
    assert sum(len(trace.x) for trace in undefined.data) == 5


def test_another_epoch_asks_for_the_same_zoom_but_not_another_measure() -> None:
    def revision(measure: str) -> str:
        return figures.by_frequency(result(), "input", measure, [], "epoch 1").layout.uirevision

    assert revision("l2") == figures.by_frequency(result(), "input", "l2", [], "epoch 2").layout.uirevision
    assert revision("l2") != revision("cosine_distance")


def test_the_table_tells_the_neighbours_where_they_are_known() -> None:
    rows = figures.table(result(), "input", [1, 0, 2], near())
    assert [row["token"] for row in rows] == ["␣bad", "␣good", "<b>"]
    assert rows[0]["neighbours kept"] == "100 %"
    assert rows[1]["neighbours kept"] == "50 %"
    assert rows[1]["nearest after"] == "␣bad <b>"
    assert "nearest after" not in rows[2]
    assert rows[0]["group"] == "negative"
    assert rows[2]["group"] == ""
    assert figures.table(result(), "input", [3], None)[0]["cosine distance"] is None
