"""Drag an epoch and see all layers move: with the mouse, the keyboard, in both themes, on the page and in a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from backend.figures.style import scrubber
from tests.browser.conftest import MOVING, PATIENCE, Visitor, calm
from tests.browser.gestures import click_a_point, held, said, slider
from tests.browser.points import points_of

Visit = Callable[[], Visitor]
pytestmark = pytest.mark.timeout(900)


def arrive(visitor: Visitor, address: str, more: str = "") -> Page:
    """The tiny study's Layers page, at rest at its last epoch."""
    page = visitor.page
    page.goto(f"{address}/layers?study=tiny{more}")
    page.wait_for_selector(".scrubber[data-painted]")
    calm(page)
    return page


def value(page: Page, script: str):
    """What an expression says of the scrubber `one`."""
    return page.locator(".scrubber").evaluate(f"({{picture: one}}) => {script}")


def pixels(page: Page, panel: int = -1) -> str:
    """The picture of a panel."""
    return page.locator(".scrubber .panel canvas").nth(panel).evaluate("one => one.toDataURL()")


def test_a_drag_moves_the_points_and_only_the_release_reaches_the_page(visit: Visit, address: str):
    visitor = visit()
    page = arrive(visitor, address)
    visitor.points("epoch 2")
    name, still, before = page.locator(".side.right .name"), pixels(page, 0), pixels(page)
    value(page, "(one.data.mark = 'sent once')")
    held(page, 0.72)
    expect(name).to_have_text("epoch 1 → epoch 2")
    assert pixels(page) != before
    assert pixels(page, 0) == still, "the reference does not move"
    assert said(page, "epoch") is None
    assert page.locator(".stMain h1").inner_text() == "Layers: base and epoch 2"
    held_by_hand = value(page, "one.at")
    assert 1.2 < held_by_hand < 1.7
    page.mouse.up()
    page.wait_for_url("**epoch=**")
    released = "epoch 1" if held_by_hand < 1.5 else "epoch 2"
    visitor.points(released)
    held(page, 0.45)
    page.mouse.up()
    page.wait_for_url("**epoch=epoch+1**")
    visitor.points("epoch 1")
    expect(page.locator(".stMain h1")).to_have_text("Layers: base and epoch 1", timeout=PATIENCE)
    expect(page.locator(".st-key-epoch input[type=range]")).to_have_attribute("aria-valuetext", "epoch 1")
    calm(page)
    assert value(page, "one.data.mark") == "sent once", "no point was sent again"
    page.go_back()
    page.wait_for_function("() => !location.search.includes('epoch=epoch+1')")
    visitor.points("epoch 2")


@MOVING
def test_the_sidebar_moves_the_points(visit: Visit, address: str):
    visitor = visit()
    page = arrive(visitor, address)
    page.locator(".st-key-epoch input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    visitor.points("epoch 1")
    expect(slider(page)).to_have_attribute("aria-valuetext", "epoch 1")


def test_the_keyboard_reaches_everything(visit: Visit, address: str):
    visitor = visit()
    page = arrive(visitor, address)
    slider(page).focus()
    page.keyboard.press("ArrowLeft")
    visitor.points("epoch 1")
    expect(slider(page)).to_have_attribute("aria-valuetext", "epoch 1")
    page.keyboard.press("Home")
    visitor.points("base")
    page.keyboard.press("End")
    visitor.points("epoch 2")
    page.wait_for_url("**epoch=epoch+2**")
    calm(page)
    first = page.locator(".scrubber .panel").first
    first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".scrubber .panel").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".scrubber")).to_have_class("scrubber large")
    expect(page.locator(".scrubber .panel:visible")).to_have_count(2)
    page.keyboard.press("ArrowLeft")
    visitor.points("epoch 1")
    page.keyboard.press("Escape")
    expect(page.locator(".scrubber")).to_have_class("scrubber")
    reached = page.locator(".scrubber .panel[tabindex='0']")
    expect(reached).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.locator(".scrubber .play")).to_be_focused()
    page.keyboard.press("Tab")
    expect(slider(page)).to_be_focused()
    calm(page)


def test_pointing_reads_a_review_and_clicking_chooses_it(visit: Visit, address: str):
    visitor = visit()
    page = arrive(visitor, address)
    before = pixels(page, 0)
    click_a_point(page)
    tip = page.locator(".scrubber .tip")
    expect(tip).to_be_visible()
    assert re.match(r"positive · text \d+\n|negative · text \d+\n", tip.inner_text())
    page.wait_for_url("**review=**")
    expect(page.get_by_text(re.compile(r"^Text \d+")).first).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".scrubber .legend .ring")).to_be_visible()
    page.mouse.move(2, 2)
    calm(page)
    assert pixels(page, 0) != before, "it is ringed in every panel"
    chosen = value(page, "one.chosen")
    assert said(page, "review") == str(value(page, f"one.data.index[{chosen}]"))


def test_a_panel_is_enlarged_and_put_back(visit: Visit, address: str):
    visitor = visit()
    page = arrive(visitor, address)
    small = page.locator(".scrubber .panel canvas").first.bounding_box()
    page.locator(".scrubber .side.right .title").nth(2).click()
    expect(page.locator(".scrubber .panel:visible")).to_have_count(2)
    large = page.locator(".scrubber .panel:visible canvas").last.bounding_box()
    assert small is not None and large is not None
    assert large["width"] > 2 * small["width"]
    assert page.locator(".scrubber .panel:visible .limit").first.inner_text().startswith("x ")
    page.get_by_role("button", name="All layers").click()
    layers = value(page, "one.data.layers")
    expect(page.locator(".scrubber .panel:visible")).to_have_count(2 * layers)
    assert said(page, "review") is None


@MOVING
def test_playing_ends_at_the_last_epoch_and_reports_it_once(visit: Visit, address: str):
    visitor = visit()
    page = arrive(visitor, address, "&epoch=base")
    visitor.points("base")
    page.locator(".scrubber .play").click()
    expect(page.locator(".scrubber .play")).to_have_text("Stop")
    assert said(page, "epoch") == "base"
    visitor.points("epoch 2")
    page.wait_for_url("**epoch=epoch+2**")
    expect(page.locator(".scrubber .play")).to_have_text("Play")
    calm(page)
    page.go_back()
    page.wait_for_url("**epoch=base**")
    visitor.points("base")


def test_the_points_take_the_colours_of_the_theme(visit: Visit, address: str):
    visitor = visit()
    page = visitor.page
    page.emulate_media(color_scheme="light")
    arrive(visitor, address)
    assert value(page, "one.page") == "#ffffff"
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("() => matchMedia('(prefers-color-scheme: dark)').matches")
    calm(page)
    page.wait_for_timeout(1500)  # a busy machine hears of the theme late
    assert value(page, "one.page") == "#12151b"
    assert value(page, "getComputedStyle(one.root).color") == "rgb(231, 234, 240)"


def test_the_picture_is_saved_in_twice_the_pixels(visit: Visit, address: str):
    visitor = visit()
    page = arrive(visitor, address)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the picture as PNG").click()
    assert saved.value.suggested_filename == "tiny-pca-epoch-2-base.png"
    content = Path(saved.value.path()).read_bytes()
    assert content.startswith(b"\x89PNG")
    box = page.locator(".scrubber").bounding_box()
    assert box is not None
    assert int.from_bytes(content[16:20], "big") >= 2 * box["width"]


@pytest.mark.parametrize("classes", [2, 3])
def test_a_file_opens_without_a_server_and_its_epoch_can_be_dragged(
    browser: Browser, tmp_path: Path, classes: int
) -> None:
    file = tmp_path / "points.html"
    file.write_text(page_of(classes))
    context = browser.new_context(
        viewport={"width": 900, "height": 900}, device_scale_factor=2, reduced_motion="reduce", offline=True
    )
    visitor = Visitor(context)
    page = visitor.page
    page.goto(file.as_uri())
    visitor.points("epoch 2")
    assert value(page, "one.dense") == 2
    canvas = page.locator(".scrubber .panel canvas").last
    assert canvas.evaluate("one => [one.width / one.clientWidth, one.height / one.clientHeight]") == [2, 2]
    last = pixels(page)
    slider(page).focus()
    page.keyboard.press("ArrowLeft")
    visitor.points("epoch 1")
    assert pixels(page) != last
    page.locator(".scrubber summary").click()
    expect(page.locator(".scrubber tbody tr")).to_have_count(3)
    expect(page.locator(".scrubber thead th")).to_have_count(1 + 2 * (2 + (1 if classes == 2 else 3)))
    expect(page.locator(".scrubber .panel .empty").first).to_have_text("no text")
    page.set_viewport_size({"width": 480, "height": 900})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= 480
    visitor.leave()


def test_a_checkpoint_alone_has_panels_and_no_slider(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "points.html"
    file.write_text(page_of(2, checkpoints=1))
    visitor = Visitor(browser.new_context())
    page = visitor.page
    page.goto(file.as_uri())
    visitor.points("base")
    expect(page.locator(".scrubber .panel")).to_have_count(3)
    expect(slider(page)).to_be_hidden()
    page.locator(".scrubber .title").last.click()
    expect(page.locator(".scrubber .panel:visible")).to_have_count(1)
    visitor.leave()


def page_of(classes: int, checkpoints: int = 3) -> str:
    """The same as a page."""
    data = points_of(classes, checkpoints)
    return scrubber.standalone(data, {"epoch": data["names"][-1], "reference": "base"}, "Points", "How to read them.")
