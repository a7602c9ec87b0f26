"""Every page for people who see little, use the keyboard, or have a narrow screen: axe-core, contrast, reach, width."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Literal
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize

import app
from tests.browser.conftest import Visitor, calm
from tests.fakes import fake_study

Theme = Literal["light", "dark"]
pytestmark = pytest.mark.timeout(900)
WIDE, NARROW, HEIGHT = 1280, 768, 1000
LOOKS: tuple[tuple[Theme, int], ...] = (("light", WIDE), ("dark", NARROW))
PARTS = ("show", "mode")
"""Keys of an address that choose what stands on a page; every one of their values is a view of its own."""
TYPED = "The plot drags, the jokes are old, and still I loved every minute of it."
PALE = """least => {
    const part = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = rgb => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => sum + w * part(rgb[i] / 255), 0);
    const read = text => text.match(/[\\d.]+/g).map(Number);
    const page = light(read(getComputedStyle(document.querySelector('.stApp')).backgroundColor));
    const found = new Set();
    for (const text of document.querySelectorAll('.js-plotly-plot text')) {
        const style = getComputedStyle(text);
        if (text.closest('.barlayer') || !text.textContent.trim() || !text.getBoundingClientRect().width) continue;
        const cells = text.closest('.js-plotly-plot').querySelector('.heatmaplayer .hm');
        const inked = ['rgb(16, 19, 26)', 'rgb(255, 255, 255)'].includes(style.fill);
        if (cells && inked && text.closest('.scatterlayer')) continue;
        const own = light(read(style.fill));
        const ratio = (Math.max(own, page) + 0.05) / (Math.min(own, page) + 0.05);
        if (ratio < least) found.add(`${text.textContent} in ${style.fill}: ${ratio.toFixed(2)}`);
    }
    return [...found];
}"""
"""Words in pictures that stand out too little from the page; axe-core leaves them out. Those on bars are on colour,
and so are numbers in cells of a heat map, whose ink follows the cell's colour (tests/figures/style)."""
UNREACHED = """() => {
    const controls = [...document.querySelectorAll('[data-testid=stSidebarContent] :is(a[href], button, input)')];
    const seen = controls.filter(one => one.checkVisibility({visibilityProperty: true}));
    const there = seen.filter(one => !one.disabled && one.tabIndex >= 0);
    return there.filter(one => !one.dataset.reached).map(one => one.outerHTML.slice(0, 120));
}"""


@cache
def views() -> dict[str, bool]:
    """Every page with everything that it can show, as addresses, and whether the page shows it first.

    First views are those of the demo; the others, which would compute for minutes there, are those of a tiny study.
    """
    addresses: dict[str, bool] = {}
    study = fake_study(epochs=1)
    for path, served in app.PAGES.items():
        module = served.load()
        choices = module.choices(study) if module.choices else {}
        text = {"text": TYPED} if "text" in choices else {}
        parts = [{key: option} for key in PARTS if key in choices for option in choices[key].options] or [{}]
        for place, part in enumerate(parts):
            tiny = {"study": "tiny"} if place else {}
            addresses[f"{path}?{urlencode(text | part | tiny)}"] = not place
    return addresses


def unreached(page: Page) -> list[str]:
    """Controls of the sidebar that the tabulator key does not reach."""
    page.evaluate("() => document.activeElement.blur()")
    for _ in range(40):
        page.keyboard.press("Tab")
        page.evaluate("() => { document.activeElement.dataset.reached = 'yes' }")
        if page.evaluate("() => !!document.activeElement.closest('[data-testid=stMain]')"):
            break
    return page.evaluate(UNREACHED)


@pytest.fixture(scope="module")
def visitor(browser: Browser) -> Iterator[Visitor]:
    """One visitor for all pages, who has Streamlit's own files already."""
    size: ViewportSize = {"width": WIDE, "height": HEIGHT}
    one = Visitor(browser.new_context(viewport=size, color_scheme="light", reduced_motion="reduce"))
    yield one
    one.leave()


def arrive(visitor: Visitor, address: str) -> Page:
    """The page, once it has drawn everything."""
    page = visitor.page
    page.set_viewport_size({"width": WIDE, "height": HEIGHT})
    page.emulate_media(color_scheme="light")
    page.goto(address)
    calm(page)
    return page


def violations(page: Page) -> list[str]:
    """What axe-core holds for serious or critical."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node['html'][:150]} {node['failureSummary'][-150:]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def spills(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return page.evaluate(
        "() => Math.max(...[document.documentElement, document.querySelector('[data-testid=stMain]')]"
        ".map(one => one.scrollWidth - one.clientWidth))"
    )


def amiss(page: Page) -> list[str]:
    """What cannot be read well: by axe-core, too pale in a picture, or beyond the edge."""
    wide = spills(page)
    return [*violations(page), *page.evaluate(PALE, 4.5), *([f"{wide} pixels too wide"] if wide > 0 else [])]


@pytest.mark.parametrize("view", list(views()))
def test_a_page_reads_in_both_themes_at_both_widths(visitor: Visitor, address: str, view: str):
    page = arrive(visitor, f"{address}/{view}")
    found: dict[str, list[str]] = {}
    for theme, width in LOOKS:
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": HEIGHT})
        calm(page)
        said = amiss(page)
        if said:  # what is half faded while a busy machine draws it anew is not there any more when one looks again
            page.wait_for_timeout(3000)
            calm(page)
            said = amiss(page)
        found |= {f"{theme}, {width} pixels": said} if said else {}
    assert found == {}
    pictures = page.locator("[data-testid=stPlotlyChart]")
    names = pictures.evaluate_all("all => all.map(one => one.getAttribute('aria-label') || '')")
    assert [name for name in names if len(name) < 20] == [], "every picture has a description"
    if views()[view]:
        page.set_viewport_size({"width": WIDE, "height": HEIGHT})
        assert unreached(page) == []


def said(page: Page, key: str) -> str | None:
    """What the address says about a key."""
    return parse_qs(urlsplit(page.url).query).get(key, [None])[0]


def test_every_control_of_the_sidebar_is_named_and_moved_by_keyboard(visitor: Visitor, address: str):
    page = arrive(visitor, f"{address}/")
    sidebar = page.get_by_test_id("stSidebarContent")

    epoch = sidebar.get_by_role("slider", name="Epoch")
    before = epoch.get_attribute("aria-valuetext")
    epoch.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**epoch=**")
    calm(page)
    assert said(page, "epoch") != before
    assert epoch.get_attribute("aria-valuetext") == said(page, "epoch")

    sidebar.get_by_role("combobox", name="Compared with").focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url("**reference=**")
    calm(page)
    assert said(page, "reference") not in (None, "base")

    sidebar.get_by_role("switch", name="Without the three largest dimensions").focus()
    page.keyboard.press("Space")
    page.wait_for_url("**massive=without**")
    calm(page)

    sidebar.get_by_role("combobox", name="Study").focus()
    page.keyboard.press("ArrowDown")
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("Escape")

    sidebar.get_by_role("button", name="Play the epochs").focus()
    page.keyboard.press("Enter")
    stop = sidebar.get_by_role("button", name="Stop")
    stop.wait_for()
    stop.focus()
    page.keyboard.press("Enter")
    sidebar.get_by_role("button", name="Play the epochs").wait_for()

    sidebar.get_by_role("link", name="Layers", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/layers**")
    calm(page)
