"""Curves and heat maps follow an epoch while it is dragged, before the server hears of it; in a file too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from backend.analyses import direction
from backend.figures import direction as figures
from backend.reports import page as report
from tests.browser.conftest import PATIENCE, Visitor, calm
from tests.browser.gestures import held, said, slider
from tests.browser.points import points_of
from tests.fakes import fake_lab, fake_study

Visit = Callable[[], Visitor]
pytestmark = pytest.mark.timeout(900)
SHOWN = """() => [...document.querySelectorAll(".js-plotly-plot")].filter(plot => plot._fullLayout?.meta?.epochs).map(
    plot => ({
        title: plot.querySelector(".gtitle").textContent,
        curves: [...plot.querySelectorAll(".scatterlayer > .trace, .legend .layers")].map(one => one.style.opacity),
        heats: [...plot.querySelectorAll(".hm image")].map(one => one.style.opacity),
        frames: [...plot.querySelectorAll(".shapelayer path")].map(one => one.style.opacity),
    }))"""
"""Of every picture that follows: its title and the opacity of its parts."""
HIGHLIGHTED = """() => [...document.querySelectorAll(".js-plotly-plot .scatterlayer > .trace")]
    .filter(one => one.style.opacity === "1" && one.__data__[0].trace.mode === "lines+markers")
    .map(one => one.__data__[0].trace.name)"""
"""Names of the curves that are not faint."""


def arrive(visitor: Visitor, address: str, more: str) -> Page:
    page = visitor.page
    page.goto(f"{address}/layers?study=tiny{more}")
    page.wait_for_selector(".scrubber[data-painted]")
    calm(page)
    page.locator(".scrubber").evaluate("one => one.scrollIntoView()")
    return page


@pytest.mark.parametrize(("show", "pictures"), [("direction", 2), ("cosines", 2), ("similarity", 2)])
def test_a_drag_shows_what_the_server_draws_after_the_release(visit: Visit, address: str, show: str, pictures: int):
    visitor = visit()
    page = arrive(visitor, address, f"&show={show}")
    before = page.evaluate(SHOWN)
    assert len(before) == pictures
    held(page, 0.5)
    page.wait_for_timeout(200)
    dragged = page.evaluate(SHOWN)
    assert [one != other for one, other in zip(before, dragged, strict=True)] == [True] * pictures
    assert said(page, "epoch") is None, "the server heard nothing"
    page.mouse.up()
    page.wait_for_url("**epoch=epoch+1**")
    expect(page.locator(".stMain h1")).to_have_text("Layers: base and epoch 1", timeout=PATIENCE)
    calm(page)
    assert page.evaluate(SHOWN) == dragged


def test_the_curve_of_the_new_epoch_is_highlighted_before_the_release(visit: Visit, address: str):
    page = arrive(visit(), address, "&show=direction")
    assert page.evaluate(HIGHLIGHTED) == ["base", "epoch 2"]
    held(page, 0.5)
    page.wait_for_function(f"() => ({HIGHLIGHTED})().join() === 'base,epoch 1'")
    assert said(page, "epoch") is None
    page.mouse.up()


def test_the_slider_of_the_sidebar_moves_points_and_curves_of_every_page(visit: Visit, address: str):
    page = arrive(visit(), address, "&show=direction")
    box = page.locator(".st-key-epoch [role=group] > [data-rac]").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, y, steps=6)
    page.wait_for_function(f"() => ({HIGHLIGHTED})().join() === 'base,epoch 1'")
    page.wait_for_selector('.scrubber[data-epoch="epoch 1"]')
    assert said(page, "epoch") is None
    page.mouse.up()
    page.wait_for_url("**epoch=epoch+1**")


def test_curves_of_a_file_follow_its_slider(browser: Browser, tmp_path: Path) -> None:
    study, lab = fake_study(), fake_lab(tmp_path)
    measured: list[Any] = [
        direction.recipe(direction.Query(one, study.base, study.prompts, draws=50, permutations=50, splits=5), lab)
        for one in study.checkpoints[:3]
    ]
    names = ["base", "epoch 1", "epoch 2"]
    drawn = figures.curves(measured, names, [0, 1, 2], 3, "separation", 0, ("epoch 2", "base"))
    sections = [
        report.Section("pca", "Points", [report.moving(points_of(2), "epoch 2", "base", figures.LEAD_GUIDE)], True),
        report.Section("direction", "Curves", [report.picture([drawn], figures.CURVES_GUIDE)], True),
    ]
    file = tmp_path / "report.html"
    file.write_text(report.page("Report", "", sections))
    visitor = Visitor(browser.new_context(viewport={"width": 1200, "height": 1600}, offline=True))
    page = visitor.page
    page.goto(file.as_uri())
    visitor.points("epoch 2")
    page.wait_for_function(f"() => ({HIGHLIGHTED})().join() === 'base,epoch 2'")
    slider(page).focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"() => ({HIGHLIGHTED})().join() === 'base,epoch 1'")
    visitor.leave()
