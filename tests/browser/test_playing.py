"""Pictures of one epoch follow a slider that is dragged, and Play, without the server, from what is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MOVING, PATIENCE, Visitor, calm
from tests.browser.gestures import said

Visit = Callable[[], Visitor]
pytestmark = pytest.mark.timeout(900)
PICTURE = ".st-key-side-weight-changes .js-plotly-plot"
DRAWN = f"""() => {{
    const plot = document.querySelector("{PICTURE}");
    return plot && {{title: plot.querySelector(".gtitle").textContent, behind: plot.hasAttribute("data-behind"),
             numbers: [...plot.querySelectorAll(".textpoint")].map(one => one.textContent)}};
}}"""
"""What a reader sees of the picture."""


def drag(page: Page, share: float) -> None:
    """Hold the thumb of the sidebar's slider, which is at its end, and move it."""
    box = page.locator(".st-key-epoch [role=group] > [data-rac]").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + share * box["width"], y, steps=6)


def at_weights(visit: Visit, address: str) -> Visitor:
    """A visitor who sees the changed weights of the last epoch."""
    visitor = visit()
    visitor.page.goto(f"{address}/?study=tiny&more=weights")
    visitor.page.wait_for_selector(f"{PICTURE} .main-svg")
    calm(visitor.page)
    return visitor


def test_changed_weights_follow_as_the_server_draws_them(visit: Visit, address: str):
    visitor = at_weights(visit, address)
    page = visitor.page
    before = page.evaluate(DRAWN)
    drag(page, 0.5)
    page.wait_for_function(f"() => ({DRAWN})().title.endsWith('epoch 1')")
    dragged = page.evaluate(DRAWN)
    assert said(page, "epoch") is None, "the server heard nothing"
    assert dragged["numbers"] != before["numbers"] and not dragged["behind"]
    page.mouse.up()
    page.wait_for_url("**epoch=epoch+1**")
    calm(page)
    assert page.evaluate(DRAWN) == dragged
    visitor.settled()


@MOVING
def test_a_picture_that_lacks_an_epoch_is_dimmed_and_play_asks_the_server_for_it(visit: Visit, address: str):
    visitor = at_weights(visit, address)
    page = visitor.page
    drag(page, 0)
    page.wait_for_function(f"() => ({DRAWN})().behind")  # the reference, with which nothing is compared
    page.mouse.up()
    expect(page.get_by_text("base is the reference. Choose another epoch.")).to_be_visible(timeout=PATIENCE)
    calm(page)
    page.get_by_role("button", name="Play the epochs").click()
    page.get_by_role("button", name="Stop at epoch 2").wait_for()
    page.wait_for_url("**epoch=epoch+2**")
    page.wait_for_function(f"() => ({DRAWN})()?.title.endsWith('epoch 2')")
    visitor.settled()
