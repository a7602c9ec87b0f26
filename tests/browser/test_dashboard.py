"""What a newcomer does: open the demo, move the slider, change the basis, read a review, send a link, go back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, WebSocket, WebSocketRoute, expect

from tests.browser.conftest import MOVING, PATIENCE, Visitor, calm, serving
from tests.browser.gestures import click_a_point, said

Visit = Callable[[], Visitor]
pytestmark = pytest.mark.timeout(900)


def slide(page: Page, arrow: str) -> None:
    """One step of the epoch slider."""
    page.locator(".st-key-epoch input[type=range]").focus()
    page.keyboard.press(arrow)


def test_the_demo_from_the_first_page_to_a_review_and_back(visit: Visit, address: str):
    visitor = visit()
    page = visitor.goto(address)
    page.get_by_role("link", name="Layers", exact=True).click()
    page.wait_for_selector(".scrubber[data-painted]")
    last = page.locator(".st-key-epoch input[type=range]").get_attribute("aria-valuetext")
    assert last is not None
    visitor.points(last)
    visitor.settled()

    slide(page, "ArrowLeft")
    before = str(int(last[-1]) - 1)
    visitor.points(f"epoch {before}")
    page.wait_for_function(f"() => new URLSearchParams(location.search).get('epoch') === 'epoch {before}'")

    page.locator(".st-key-basis").get_by_text("the reference's").click()
    page.wait_for_url("**basis=base**")
    visitor.settled()
    visitor.points(f"epoch {before}")

    click_a_point(page)
    page.wait_for_url("**review=**")
    expect(page.get_by_text(re.compile(r"^Text \d+")).first).to_be_visible(timeout=PATIENCE)
    page.wait_for_selector(".st-key-review-curve .js-plotly-plot .main-svg")
    visitor.settled()

    link, review = page.url, said(page, "review")
    page.go_back()
    page.wait_for_function("() => !location.search.includes('review=')")
    page.wait_for_selector(".st-key-review-curve", state="detached")
    page.go_back()
    page.wait_for_function("() => !location.search.includes('basis=base')")
    expect(page.locator(".st-key-basis [aria-checked=true]")).to_have_text("shared by all", timeout=PATIENCE)
    page.go_back()
    visitor.points(last)
    expect(page.locator(".st-key-epoch input[type=range]")).to_have_attribute("aria-valuetext", last)

    other = visit()
    second = other.goto(link)
    other.points(f"epoch {before}")
    expect(second.locator(".st-key-basis [aria-checked=true]")).to_have_text("the reference's")
    expect(second.get_by_text(f"Text {review}")).to_be_visible(timeout=PATIENCE)
    other.settled()


def test_a_permalink_is_the_first_request_of_a_fresh_server(visit: Visit, studies: Path, tmp_path: Path):
    with serving(studies, tmp_path / "cache") as fresh:
        visitor = visit()
        page = visitor.page
        page.goto(f"{fresh}/layers?epoch=epoch+1&basis=base")
        page.wait_for_selector("[data-testid=stProgress], .scrubber[data-painted]")
        visitor.settled()
        visitor.points("epoch 1")
        assert page.evaluate("document.querySelector('.stMain [data-painted]') !== null"), "what waits for it sees it"
        links = [one.strip() for one in page.locator("[data-testid=stSidebar] a").all_inner_texts()]
        assert links[:8] == ["Overview", "Layers", "Tokens", "Probes", "Swaps", "Features", "Difference", "Review"]
        assert links[8:] == ["Add a study", "Documentation", "Status"]
        assert said(page, "basis") == "base"
        visitor.leave()


def test_the_frame_is_no_page_even_when_it_is_the_first_request(visit: Visit, studies: Path, tmp_path: Path):
    with serving(studies, tmp_path / "cache") as fresh:
        visitor = visit()
        visitor.page.goto(f"{fresh}/frame")
        visitor.page.locator("[data-testid=stSidebar] a", has_text="Layers").wait_for()  # beside “Page not found”
        visitor.settled()
        visitor.problems = [one for one in visitor.problems if "does not seem to exist" not in one]  # as it should say
        assert "frame" not in " ".join(visitor.page.locator("[data-testid=stSidebar] a").all_inner_texts()).lower()
        visitor.leave()


def test_an_unknown_epoch_in_a_link_gets_a_sentence(visit: Visit, address: str):
    visitor = visit()
    page = visitor.goto(f"{address}/layers?epoch=epoch+99")
    expect(page.get_by_text("The address asks for epoch “epoch 99”")).to_be_visible(timeout=PATIENCE)
    assert said(page, "epoch") is None


@MOVING
def test_play_ends_at_the_last_epoch(visit: Visit, address: str):
    visitor = visit()
    page = visitor.goto(f"{address}/layers")
    page.wait_for_selector(".scrubber[data-painted]")
    page.wait_for_selector(".st-key-show")  # what stands below comes with a run of its own
    visitor.settled()
    last = page.locator(".st-key-epoch input[type=range]").get_attribute("aria-valuetext")
    page.get_by_role("button", name="Play the epochs").click()
    page.get_by_role("button", name="Stop at epoch 1").wait_for()
    visitor.points("epoch 1")
    page.get_by_role("button", name="Play the epochs").wait_for()
    visitor.points(last or "")
    assert said(page, "epoch") is None, "the browser played alone"


def test_every_other_part_of_the_page(visit: Visit, address: str):
    for part, key in (("cosines", "cosine-curves"), ("map", "map-chosen"), ("sample", "quartiles")):
        visitor = visit()
        page = visitor.goto(f"{address}/layers?show={part}")
        page.wait_for_selector(f".st-key-{key} .js-plotly-plot .main-svg")
        visitor.settled()


def test_a_zoom_into_the_whole_vocabulary_survives_the_slider_and_a_search(visit: Visit, address: str):
    visitor = visit()
    page = visitor.page
    page.goto(f"{address}/tokens?show=map&scope=vocabulary&method=pca")
    offer = page.get_by_role("button", name=re.compile("^Place .* tokens"))  # a busy machine asks first
    plot = page.locator(".st-key-token-map .js-plotly-plot")
    expect(offer.or_(plot).first).to_be_visible(timeout=PATIENCE)
    if offer.is_visible():
        offer.click()
    title = "{}: the whole vocabulary, arrows from base"
    visitor.picture("token-map", title.format("epoch 3"))
    calm(page)  # the picture is sent once more, with the other epochs

    def ranges() -> list[float]:
        return plot.evaluate("({_fullLayout: all}) => [...all.xaxis.range, ...all.yaxis.range]")

    def names() -> list[str]:
        return plot.evaluate("({data}) => data.map(trace => trace.name)")

    whole, box = ranges(), plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.45 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"], steps=5)
    page.mouse.up()
    visitor.settled()
    zoomed = ranges()
    assert zoomed[1] - zoomed[0] < 0.5 * (whole[1] - whole[0])
    slide(page, "ArrowLeft")
    visitor.picture("token-map", title.format("epoch 2"))
    visitor.settled()
    assert ranges() == pytest.approx(zoomed)
    page.get_by_label("Search for a token").fill("film")
    page.keyboard.press("Enter")
    expect(page.locator(".st-key-token-map .legendtext", has_text="found")).to_be_visible(timeout=PATIENCE)
    visitor.settled()
    assert "found" in names()
    assert ranges() == pytest.approx(zoomed)


CLICK_AT_THE_PAINT = """(() => {
    const ask = Document.prototype.querySelector;
    Document.prototype.querySelector = function (selector) {
        return selector.includes(".stMain [data-painted], ") && !window.clicked ? null : ask.call(this, selector);
    };
    const link = () => [...document.querySelectorAll(".stSidebar a")].find(link => link.textContent.includes("Swaps"));
    const timer = setInterval(() => {
        const idle = document.querySelector(".stApp")?.dataset.testScriptState === "notRunning";
        if (!link() || !idle || !document.querySelector(".st-key-chosen-painted")) return;
        clearInterval(timer);
        window.aboutToClick().then(() => { link().focus(); link().click(); window.clicked = true; });
    }, 20);
})()"""
"""Keeps a page from telling that its first picture is painted until a link is clicked, and clicks it."""


def test_a_link_clicked_as_the_first_picture_is_painted_is_followed(visit: Visit, address: str):
    visitor = visit()
    visitor.page.add_init_script(CLICK_AT_THE_PAINT)
    clicked: list[bool] = []
    visitor.page.expose_function("aboutToClick", lambda: clicked.append(True))

    def slow_answer(route: WebSocketRoute) -> None:
        def pass_on(message: str | bytes) -> None:
            if clicked:
                clicked.clear()
                time.sleep(0.4)
            route.send(message)

        server = route.connect_to_server()
        route.on_message(server.send)
        server.on_message(pass_on)

    visitor.page.route_web_socket("**/_stcore/stream", slow_answer)
    page = visitor.goto(f"{address}/?study=demo")
    page.wait_for_function("() => window.clicked")
    page.wait_for_timeout(1000)  # the new page begins, and where the click is lost the old one begins again
    calm(page)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Swaps")


def test_the_server_hears_once_that_the_first_picture_is_painted(visit: Visit, address: str):
    visit().goto(f"{address}/tokens?study=tiny")  # computes what the second visitor finds
    visitor, sent = visit(), list[bytes]()

    def listen(stream: WebSocket) -> None:
        stream.on("framesent", lambda frame: sent.append(frame if isinstance(frame, bytes) else b""))

    visitor.page.on("websocket", listen)
    calm(visitor.goto(f"{address}/tokens?study=tiny"))
    assert sum(b"painted" in frame for frame in sent) == 1


def test_typing_makes_one_entry_of_the_history(visit: Visit, address: str):
    page = visit().goto(f"{address}/review?study=tiny&text=A+film")
    calm(page)
    before = page.evaluate("history.length")
    box = page.get_by_role("textbox", name="Your text")
    box.click()
    for word in ("one", "two", "three"):
        page.keyboard.press("End")
        page.keyboard.type(f" {word}")
        page.wait_for_url(f"**{word}", timeout=PATIENCE)
        calm(page)
    assert page.evaluate("history.length") == before + 1


def test_a_narrow_screen_keeps_the_epoch_in_reach(visit: Visit, address: str):
    visitor = visit()
    visitor.page.set_viewport_size({"width": 768, "height": 1000})
    page = visitor.goto(f"{address}/probes?study=tiny")
    calm(page)
    slider = page.locator(".st-key-epoch-near input[type=range]")
    expect(page.locator(".st-key-near")).to_be_in_viewport()
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**epoch=epoch+1**", timeout=PATIENCE)
    page.set_viewport_size({"width": 1280, "height": 1000})
    expect(page.locator(".st-key-near")).to_be_hidden()
