"""What several browser tests do with a page and read of its address."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page

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
