"""Words without overlap, the vocabulary on the graphics card, arrows, and the search."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.analyses.token_map import Result
from backend.figures import token_map as figures
from backend.figures.style.labels import GAP, LETTER, LINE, SIDES, place


def result(count: int = 40, seed: int = 0, axes: bool = False) -> Result:
    rng = np.random.default_rng(seed)
    names = (*(f"␣word{i}" for i in range(count - 1)), "␣<b>")
    explained = np.array([0.3, 0.1]) if axes else np.full(2, np.nan)
    return Result(
        ids=np.arange(count) * 3,
        token=names,
        groups=("positive", "negative", "neutral"),
        group=np.arange(count) % 4 - 1,
        xy=rng.normal(size=(count, 2)).astype(np.float32),
        drift=0.5,
        noise_floor=0.0 if axes else 0.1,
        trustworthiness=0.9,
        explained=explained,
    )


def box(point: np.ndarray, name: str, side: str) -> tuple[float, float, float, float]:
    """Left, bottom, right, top, written out."""
    width, (dx, dy) = LETTER * len(name), SIDES[side]
    x, y = point[0] + dx * (width / 2 + GAP), point[1] + dy * (LINE / 2 + GAP)
    return x - width / 2, y - LINE / 2, x + width / 2, y + LINE / 2


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_no_name_lies_on_a_name_or_a_point(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).uniform(0, 400, size=(count, 2))
    names = [f"name{i}" for i in range(count)]
    sides = place(points, names, range(count))
    assert 0 in sides or count > 1
    boxes = [box(points[i], names[i], side) for i, side in sides.items()]
    for k, (left, bottom, right, top) in enumerate(boxes):
        for other in boxes[:k]:
            apart = left >= other[2] or right <= other[0] or bottom >= other[3] or top <= other[1]
            assert apart
        own = list(sides)[k]
        for i, (x, y) in enumerate(points):
            assert i == own or not (left < x < right and bottom < y < top)


def test_names_that_come_first_have_room_first() -> None:
    points = np.zeros((2, 2))
    assert next(iter(place(points + np.array([[0.0, 0.0], [1.0, 0.0]]), ["one", "two"], [1, 0]))) == 1


def test_words_have_names_and_arrows_from_where_they_were() -> None:
    before, after = result(seed=1), result()
    picture = figures.draw(after, before, "epoch 1")
    arrows, *groups, names = picture.data
    np.testing.assert_allclose(arrows.x[:2], [before.xy[0, 0], after.xy[0, 0]])
    assert np.isnan(arrows.x[2])
    assert sum(len(trace.x) for trace in groups) == 40
    assert {trace.type for trace in groups} == {"scatter"}
    assert set(names.text) <= {*(name[1:] for name in after.token), "&lt;b&gt;"}
    assert len(names.text) == len(names.textposition) > 10
    assert picture.layout.yaxis.scaleanchor == "x"


def frame(picture: go.Figure) -> list[tuple[float, float]]:
    """What the axes have to include."""
    axes = (picture.layout.xaxis, picture.layout.yaxis)
    assert all(axis.range is None and axis.autorange for axis in axes), "a zoom would end with another range"
    return [axis.autorangeoptions.include for axis in axes]


def test_epochs_share_a_frame_which_every_point_is_in() -> None:
    before = result()
    frames = set()
    for scale in (0.9, 1.0, 1.02, 3.0):
        after = replace(before, xy=before.xy * np.float32(scale))
        x, y = frame(figures.draw(after, before, ""))
        frames.add((*x, *y))
        for axis, ends in enumerate((x, y)):
            assert ends[0] < after.xy[:, axis].min() < after.xy[:, axis].max() < ends[1]
    assert len(frames) == 2, "epochs stand still on it"


@pytest.mark.parametrize(
    ("stretch", "shape", "height"), [((4, 1), 2.0, 375), ((1.5, 1), 1.5, 500), ((1.1, 1), 1.1, 600), ((1, 5), 1.0, 600)]
)
def test_a_wide_cloud_gets_a_wide_frame(stretch: tuple[float, float], shape: float, height: int) -> None:
    xy = np.array([[0, 0], [1, 1], [0, 1]] * 10) * stretch
    one = replace(result(30), xy=xy.astype(np.float32))
    picture = figures.draw(one, one, "")
    x, y = frame(picture)
    assert np.ptp(x) / np.ptp(y) == pytest.approx(shape)
    assert picture.layout.height == height + figures.AROUND


def test_the_reference_itself_has_no_arrows() -> None:
    assert figures.draw(result(), result(), "base").data[0].mode == "markers"


def test_a_vocabulary_is_drawn_by_the_graphics_card_with_the_furthest_arrows() -> None:
    before, after = result(5000, seed=1), result(5000)
    picture = figures.draw(after, before, "epoch 1", revision="words tsne")
    arrows, *groups = picture.data
    assert {trace.type for trace in groups} == {"scattergl"}
    assert len(arrows.x) == 3 * figures.MOST_ARROWS
    far = np.linalg.norm(after.xy - before.xy, axis=1)
    drawn = np.hypot(arrows.x[1::3] - arrows.x[::3], arrows.y[1::3] - arrows.y[::3])
    assert drawn.min() >= np.sort(far)[-figures.MOST_ARROWS] - 1e-5
    assert picture.layout.uirevision == "words tsne"


def test_tokens_found_in_a_vocabulary_stand_out() -> None:
    before, after = result(5000, seed=1), result(5000)
    hits = list(range(7, 47))
    arrows, *groups, rings, names = figures.draw(after, before, "epoch 1", matched=hits).data
    assert len(arrows.x) == 3 * len(hits)
    assert {one.type for one in (rings, names)} == {"scattergl"}, "plotly draws all others below these"
    assert len(rings.x) == len(hits)
    assert 1 <= len(names.text) <= figures.MOST_NAMED
    assert set(names.text) <= {f"␣word{i}" for i in hits[: figures.MOST_NAMED]}
    faint = [group for group in groups if len(group.x) > 1]
    assert {group.marker.opacity for group in faint} == {0.05}
    assert {group.marker.opacity for group in groups if group.showlegend is not False} == {0.45, 0.9}
    assert 0.05 not in {trace.marker.opacity for trace in figures.draw(after, before, "").data}


def test_only_pca_has_axes_that_mean_something() -> None:
    assert "30 %" in figures.draw(result(axes=True), result(axes=True), "").layout.xaxis.title.text
    assert figures.draw(result(), result(), "").layout.xaxis.visible is False


@pytest.mark.parametrize(
    ("search", "ids"), [("word3", [3, *range(30, 39)]), (" WORD38", [38]), ("<b>", [39]), ("", [])]
)
def test_the_search_finds_whole_names_first(search: str, ids: list[int]) -> None:
    assert figures.matches(result(), search) == ids


def test_tokens_that_the_reference_has_beyond_are_passed_over() -> None:
    longer, shorter = result(40), result(30, seed=2)
    arrows = figures.draw(shorter, longer, "").data[0]
    np.testing.assert_allclose(arrows.x[::3], longer.xy[:30, 0])


def test_the_sentence() -> None:
    assert "noise floor 0.10 — read it" in figures.in_words(result(), "epoch 1", "read it")
    assert "its axes are fixed" in figures.in_words(result(axes=True), "epoch 1", "")
    assert "start from" in figures.in_words(replace(result(), drift=0.0), "base", "")
