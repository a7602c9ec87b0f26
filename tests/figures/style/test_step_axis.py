"""The axis of checkpoints: scales that are offered, true places, ticks that fit, cells of heat maps."""

from __future__ import annotations

import numpy as np
import pytest

from backend.figures.style.step_axis import MOST_TICKS, scales, step_axis


def named(steps: list[int | None]) -> list[str]:
    return ["base" if step is None else f"step {step}" for step in steps]


def test_a_logarithm_is_offered_where_steps_span_a_factor_of_more_than_20():
    assert scales(None) == ["even"] and scales([0]) == ["even"] and scales([None, None]) == ["even"]
    assert scales([0, 10, 200]) == ["linear", "even"]
    assert scales([0, 10, 201]) == scales([None, 1, 143_000]) == ["log", "linear", "even"]


def test_places_are_those_of_the_steps():
    steps = [0, 10, 20, 40]
    axis = step_axis(named([*steps]), steps)
    assert axis.scale == "linear" and axis.x.tolist() == [0, 10, 20, 40]
    assert axis.layout["ticktext"] == ["0", "10", "20", "40"] and axis.layout["title"]["text"] == "step"
    assert axis.edges.tolist() == [-5, 5, 15, 30, 50]
    even = step_axis(named([*steps]), steps, "even")
    assert even.x.tolist() == [0, 1, 2, 3] and even.layout["ticktext"] == named([*steps])
    assert step_axis(["<b>", "b"]).names[0] == "&lt;b&gt;"


@pytest.mark.parametrize("first", [0, None])
def test_on_a_logarithmic_axis_what_has_no_logarithm_is_set_apart(first: int | None):
    steps = [first, 1, 10, 1000]
    axis = step_axis(named(steps), steps)
    assert axis.scale == "log"
    np.testing.assert_allclose(axis.x, [-0.3, 0, 1, 3])
    assert axis.layout["ticktext"] == ["0" if first == 0 else "base", "1", "10", "1,000"]
    assert ("0 set apart" in axis.layout["title"]["text"]) == (first == 0)


def test_an_unknown_step_is_left_of_the_steps_and_unsuited_scales_fall_back():
    axis = step_axis(["base", "a", "b"], [None, 100, 200], "log")
    assert axis.scale == "linear" and axis.x.tolist() == [90, 100, 200]
    assert step_axis(["base", "a"], None, "log").scale == "even"
    alone = step_axis(["base"])
    assert alone.edges.tolist() == [-0.5, 0.5] and alone.layout["range"] == [-0.4, 0.4]


@pytest.mark.parametrize("scale", ["log", "linear", "even"])
def test_names_of_many_checkpoints_do_not_cover_each_other(scale: str):
    steps: list[int | None] = [0, *(2**i for i in range(10)), *range(1000, 143_001, 1000)]
    axis = step_axis(named(steps), steps, scale)
    ticks = np.asarray(axis.layout["tickvals"])
    assert len(ticks) <= MOST_TICKS + 1 and ticks[0] == axis.x[0] and ticks[-1] == axis.x[-1]
    assert (np.diff(ticks)[1:] >= np.ptp(axis.x) / MOST_TICKS - 1e-9).all() and (np.diff(axis.x) > 0).all()
