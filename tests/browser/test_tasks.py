"""Five questions of a newcomer, each from a fresh browser, with the clicks that the answer takes; and what links do."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PATIENCE, Visitor
from tests.browser.gestures import said

Visit = Callable[[], Visitor]
pytestmark = pytest.mark.timeout(900)


def in_view(page: Page, inside: Locator) -> bool:
    """Whether all of an element is within the window, without scrolling."""
    box, size = inside.bounding_box(), page.viewport_size
    return box is not None and size is not None and box["y"] >= 0 and box["y"] + box["height"] <= size["height"]


def link(page: Page, name: str) -> None:
    """Click a link of the sidebar."""
    page.locator(".stSidebar").get_by_role("link", name=name, exact=True).click()


def test_without_a_click_the_first_page_shows_where_and_when_the_classes_part(visit: Visit, address: str):
    page = visit().goto(f"{address}/?study=demo")
    heat = page.locator(".st-key-side-separation .js-plotly-plot")
    assert in_view(page, heat)
    sentence = page.get_by_text(re.compile(r"the classes are further apart than chance from layer \d+ on"))
    expect(sentence.first).to_be_visible(timeout=PATIENCE)
    assert in_view(page, sentence.first)


def test_one_click_and_typing_show_a_sentence_layer_by_layer(visit: Visit, address: str):
    visitor = visit()
    page = visitor.goto(f"{address}/?study=demo")
    link(page, "Review")
    visitor.settled()
    box = page.get_by_role("textbox", name="Your text")
    expect(box).not_to_be_empty(timeout=PATIENCE)  # an example is there from the start
    box.fill("")
    box.press_sequentially("A dull, lifeless film. I want my evening back.", delay=15)
    page.wait_for_url(re.compile("text=A(\\+|%20)dull"), timeout=PATIENCE)  # no key was pressed to send it
    visitor.settled()
    assert said(page, "text") == "A dull, lifeless film. I want my evening back."
    heat = page.locator(".st-key-side-review-layers .js-plotly-plot .main-svg").first
    expect(heat).to_be_visible(timeout=PATIENCE)


def test_one_click_shows_which_block_carries_the_change(visit: Visit, address: str):
    visitor = visit()
    page = visitor.goto(f"{address}/?study=demo")
    link(page, "Swaps")
    visitor.settled()
    sentence = page.get_by_text(re.compile(r"Putting block \d+ back to base undoes"))
    expect(sentence.first).to_be_visible(timeout=PATIENCE)
    assert in_view(page, page.locator(".st-key-side-single-fraction_recovered .js-plotly-plot"))


def test_one_click_shows_which_words_moved(visit: Visit, address: str):
    visitor = visit()
    page = visitor.goto(f"{address}/?study=demo")
    link(page, "Tokens")
    visitor.settled()
    first = page.locator(".st-key-side-token-words .js-plotly-plot")
    expect(first).to_be_visible(timeout=PATIENCE)
    assert in_view(page, first)


def test_two_clicks_take_the_first_picture_along(visit: Visit, address: str):
    page = visit().goto(f"{address}/?study=demo")
    page.locator(".st-key-take-separation button").click()
    with page.expect_download() as taken:
        page.locator(".st-key-html-separation button").click()
    text = taken.value.path().read_text("utf-8")
    assert "separation" in text
    assert taken.value.suggested_filename.endswith(".html")


@pytest.mark.parametrize("curve", [1, 2])
def test_a_cell_of_the_first_picture_opens_its_layer_and_checkpoint(visit: Visit, address: str, curve: int):
    page = visit().goto(f"{address}/?study=demo")
    page.wait_for_timeout(1500)
    plot = page.locator(".st-key-side-separation .js-plotly-plot")
    spot = plot.evaluate(
        """(plot, curve) => {
            const {x, y} = plot.calcdata[curve].at(-1), {xaxis, yaxis} = plot._fullLayout;
            const box = plot.getBoundingClientRect();
            return {
                left: box.left + xaxis._offset + xaxis.c2p(x), top: box.top + yaxis._offset + yaxis.c2p(y),
                layer: String(x), epoch: yaxis._categories[y],
            };
        }""",
        curve,
    )
    page.mouse.move(spot["left"] + 2, spot["top"])
    page.wait_for_timeout(300)
    page.mouse.click(spot["left"], spot["top"])
    page.wait_for_url("**/layers**", timeout=PATIENCE)
    assert (said(page, "layer"), said(page, "epoch")) == (spot["layer"], spot["epoch"])


def test_show_it_scrolls_to_the_picture_each_time(visit: Visit, address: str):
    visitor = visit()
    page = visitor.goto(f"{address}/?study=demo")
    here = page.locator(".stMain button", has_text="Show it").first
    for _ in range(2):
        expect(here).to_be_visible(timeout=PATIENCE)
        page.locator(".stMain").evaluate("main => main.scrollTo(0, 0)")
        here.click()
        page.wait_for_function("() => document.querySelector('.stMain').scrollTop > 50", timeout=PATIENCE)
    page.locator(".stMain a", has_text="Show it").first.click()
    page.wait_for_url("**mark=**", timeout=PATIENCE)
    picture = page.locator(f".st-key-side-{said(page, 'mark')}")
    expect(picture).to_be_in_viewport(timeout=PATIENCE)
