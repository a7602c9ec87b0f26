"""What several browser tests do with a page and read of its address."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page

from tests.browser.conftest import calm


def said(page: Page, key: str) -> str | None:
    """What the address says about a key."""
    return parse_qs(urlsplit(page.url).query).get(key, [None])[0]


def click_a_point(page: Page) -> None:
    """Click a point of the last panel where the scrubber itself says that it lies, once no work is under way."""
    calm(page)
    panel = page.locator(".scrubber .panel canvas").last
    panel.evaluate("one => one.scrollIntoView({block: 'center'})")  # not below the bar of the slider
    box = panel.bounding_box()
    assert box is not None
    x, y = page.locator(".scrubber").evaluate(
        """({picture}) => {
            const {xy, reach, data} = picture, [one, other, share] = picture.ends(true);
            const at = stored => picture.from(stored, data.layers - 1);
            return picture.spot(at(one), at(other), share, reach / 32767, picture.size / 2);
        }"""
    )
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.wait_for_timeout(300)
    page.mouse.click(box["x"] + x, box["y"] + y)


def slider(page: Page) -> Locator:
    """The slider under the panels."""
    return page.get_by_role("slider", name="Epoch of the panels")


def held(page: Page, share: float) -> None:
    """Press the mouse on the slider's thumb and move it, by steps, to that share of the track."""
    box = slider(page).bounding_box()
    assert box is not None
    y, left, wide = box["y"] + box["height"] / 2, box["x"] + 9, box["width"] - 18
    at = float(slider(page).input_value()) / float(slider(page).get_attribute("max") or 1)
    page.mouse.move(left + at * wide, y)
    page.mouse.down()
    for step in range(1, 9):
        page.mouse.move(left + (at + (share - at) * step / 8) * wide, y)
    page.wait_for_timeout(100)
