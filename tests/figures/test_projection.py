"""Small multiples: one panel per layer, equal axes inside each, the arrow between the class means."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from backend.analyses import projection
from backend.figures import projection as figures
from tests.figures.conftest import Shown


@pytest.fixture
def result(shown: Shown) -> projection.Result:
    last = shown.study.checkpoints[-1]
    query = projection.Query("own", last, shown.study.base, (), shown.study.prompts)
    return projection.recipe(query, shown.lab)


def drawn(shown: Shown, result: projection.Result, selected: int | None = None) -> go.Figure:
    return figures.draw(result, shown.study.prompts.labels, shown.study.sample.text, shown.words, "epoch 2", selected)


def points(trace: go.Scatter, review: int) -> np.ndarray:
    mine = np.asarray(trace.customdata) == review
    return np.stack([np.asarray(trace.x)[mine], np.asarray(trace.y)[mine]], axis=1)


def test_every_review_stands_in_every_panel_that_has_text(shown: Shown, result: projection.Result):
    traces = drawn(shown, result).data[: len(shown.words)]
    layers = int(np.isfinite(result.xy).all(axis=(1, 2)).sum())
    assert layers == 12
    for c, trace in enumerate(traces):
        members = np.flatnonzero(shown.study.prompts.labels == c)
        assert sorted(set(trace.customdata)) == members.tolist()
        assert len(trace.x) == len(members) * layers == len(trace.text)


def test_the_classes_draw_their_points_by_turns(shown: Shown, result: projection.Result):
    picture = drawn(shown, result)
    shapes = picture.layout.shapes[1:]
    colours = [trace.marker.color for trace in picture.data[: len(shown.words)]]
    assert [shape.fillcolor for shape in shapes] == colours * figures.TURNS
    for trace, colour in zip(picture.data, colours, strict=False):
        centres = [
            np.array([corner.split(",") for corner in polygon[1:].split("L")], dtype=float).mean(axis=0)
            for shape in shapes
            if shape.fillcolor == colour
            for polygon in shape.path.split("Z")[:-1]
        ]
        expected = np.stack([trace.x, trace.y], axis=1).astype(float)
        assert len(centres) == len(expected)
        near = [np.abs(expected - centre).max(axis=1).min() for centre in centres]
        np.testing.assert_allclose(near, 0, atol=1e-3)


def test_panels_do_not_overlap(shown: Shown, result: projection.Result):
    picture = drawn(shown, result)
    numbers = [
        [float(v) for v in re.split("[MHVZ,]", box) if v] for box in picture.layout.shapes[0].path.split("Z")[:-1]
    ]
    boxes = [(x0, x1, y0, y1) for x0, y0, x1, y1, _ in numbers]
    assert len(boxes) == len(result.xy)
    for trace in picture.data[: len(shown.words)]:
        for x, y in zip(trace.x, trace.y, strict=True):
            assert sum(a <= x <= b and c <= y <= d for a, b, c, d in boxes) == 1
    assert len({(box[0], box[2]) for box in boxes}) == len(boxes)


def test_a_panel_keeps_distances_up_to_one_factor(shown: Shown, result: projection.Result):
    trace = drawn(shown, result).data[0]
    first, second = (points(trace, i) for i in np.flatnonzero(shown.study.prompts.labels == 0)[:2])
    there = np.flatnonzero(np.isfinite(result.xy).all(axis=(1, 2)))
    a, b = np.flatnonzero(shown.study.prompts.labels == 0)[:2]
    true = result.xy[there, a] - result.xy[there, b]
    shown_as = first - second
    ratio = np.linalg.norm(shown_as, axis=1) / np.linalg.norm(true, axis=1)
    np.testing.assert_allclose(shown_as, true * ratio[:, None], atol=2e-5)
    assert drawn(shown, result).layout.yaxis.scaleanchor == "x"


def test_arrows_lead_from_one_class_mean_to_the_other(shown: Shown, result: projection.Result):
    if len(shown.words) > 2:
        pytest.skip("more classes have arrows from the others' mean")
    picture = drawn(shown, result)
    means = [
        np.stack([np.asarray(t.x).reshape(12, -1).mean(1), np.asarray(t.y).reshape(12, -1).mean(1)], axis=1)
        for t in picture.data[:2]
    ]
    arrow = np.stack([picture.data[2].x, picture.data[2].y], axis=1).reshape(12, 3, 2)
    np.testing.assert_allclose(arrow[:, 0], means[0], atol=1e-4)
    np.testing.assert_allclose(arrow[:, 1], means[1], atol=1e-4)


def test_titles_say_the_explained_variance_or_that_there_is_no_text(shown: Shown, result: projection.Result):
    names = drawn(shown, result).data[-1].text
    assert names[0] == "<b>0</b>  no text"
    first, second = 100 * result.explained[12]
    assert names[12] == f"<b>12</b>  {first:.0f} + {second:.0f} %"


def test_the_chosen_review_is_ringed_where_it_stands(shown: Shown, result: projection.Result):
    chosen = int(np.flatnonzero(shown.study.prompts.labels == 1)[3])
    picture = drawn(shown, result, chosen)
    ring = picture.data[-2]
    assert ring.name == "chosen review"
    np.testing.assert_array_equal(np.stack([ring.x, ring.y], axis=1), points(picture.data[1], chosen))


@pytest.mark.parametrize(("layers", "columns"), [(3, 3), (7, 4), (13, 4), (31, 6)])
def test_the_panels_fill_half_a_page_and_leave_nothing_below(
    shown: Shown, result: projection.Result, layers: int, columns: int
):
    places = np.arange(layers) % len(result.xy)
    arrays = {name: np.asarray(getattr(result, name))[places] for name in ("xy", "explained", "arrow")}
    layout = drawn(shown, replace(result, **arrays)).layout
    assert layout.xaxis.range[1] == pytest.approx(columns - 0.48)
    drawn_rows = layout.yaxis.range[1] - layout.yaxis.range[0]
    panel = min(figures.PANEL, 450 / columns)
    assert layout.height - 80 <= drawn_rows * panel + 25
