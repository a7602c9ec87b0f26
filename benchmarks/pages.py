"""Every page as first seen, in headless Chromium at 1440 x 1000: words, where the first picture begins, seconds to it.

Words: of the main area, warm, without folded parts and without the words inside plots; also those before the first
picture. Seconds: from the request until the first picture is painted, against an empty Streamlit page with one plot in
turns with it; cold with a fresh server and an empty cache (the demo brings its results along), warm the next time.
Medians of some rounds, each with servers of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.interactive import EMPTY, FLAGS, ROOT, installed_chromium, loaded, serving

PAGES = ("", "layers", "tokens", "probes", "swaps", "features", "difference", "review")
MOST_WORDS, MOST_BEFORE, MOST_TOP, MOST_COLD = 350, 60, 300, 1.6
PICTURE = ".stMain .js-plotly-plot, .stMain [data-painted]"
WORDS = """selector => {
    const main = document.querySelector(".stMain"), picture = main.querySelector(selector);
    const walker = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
    const count = { words: 0, before: 0, top: picture.getBoundingClientRect().top + main.scrollTop, parts: [] };
    for (let node; (node = walker.nextNode());) {
        const inside = node.parentElement;
        if (inside.closest("svg, style, script, .scrubber, [data-testid=stIconMaterial], [aria-hidden=true]")) continue;
        if (!inside.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: false })) continue;
        const words = node.textContent.split(/\\s+/).filter(word => /[\\p{L}\\p{N}]/u.test(word));
        count.words += words.length;
        if (picture.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_PRECEDING) count.before += words.length;
        if (words.length) count.parts.push(words.join(" "));
    }
    return count;
}"""
"""Words by the browser's own notion of what it shows."""
PAINTED = """selector => new Promise(done => {
    const look = () => {
        const picture = document.querySelector(selector);
        const marks = ".point, .hm image, .bars path";
        const drawn = picture && (picture.matches("[data-painted]") || picture.querySelector(marks));
        if (!drawn) return requestAnimationFrame(look);
        requestAnimationFrame(() => requestAnimationFrame(() => done()));
    };
    look();
})"""
CALM = """() => {
    const busy = document.querySelector('[data-testid=stProgress], [data-testid=stSpinner], [data-testid=stSkeleton]')
        || document.querySelector('.stApp')?.dataset.testScriptState !== 'notRunning';
    const size = document.querySelectorAll('*').length, seen = (window.seen ??= { size: 0, since: 0 });
    if (busy || size !== seen.size) { seen.size = size; seen.since = performance.now(); }
    return performance.now() - seen.since > 3000;
}"""


@dataclass
class Seen:
    """What was measured of a page; seconds are pairs of (this page, the empty page)."""

    words: int
    before: int
    top: float
    parts: list[str]
    cold: list[tuple[float, float]]
    warm: list[tuple[float, float]]


def painted(page: Page) -> None:
    """Wait until the first picture is painted."""
    page.evaluate(PAINTED, PICTURE)


def read(browser: Browser, address: str) -> dict[str, object]:
    """Count the words of a page that rests."""
    page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    page.set_default_timeout(600_000)
    page.goto(address)
    painted(page)
    page.wait_for_function(CALM)
    found = page.evaluate(WORDS, PICTURE)
    page.context.close()
    return found


def timed(browser: Browser, address: str) -> float:
    """Seconds until the first picture of a page in a fresh browser context."""
    seconds, page = loaded(browser, address, painted)
    page.context.close()
    return seconds


def measure(browser: Browser, name: str, study: str, rounds: int) -> Seen:
    """One page, each round on servers of its own."""
    counted: dict[str, object] = {}
    cold, warm = list[tuple[float, float]](), list[tuple[float, float]]()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
            script = Path(scratch) / "empty.py"
            script.write_text(EMPTY)
            ours, _ = stack.enter_context(serving(ROOT / "app.py", LAYERSHIFT_CACHE=scratch))
            empty, _ = stack.enter_context(serving(script))
            ours = f"{ours}/{name}?study={study}"
            cold.append((timed(browser, ours), timed(browser, empty)))
            counted = counted or read(browser, ours)
            warm.append((timed(browser, ours), timed(browser, empty)))
    return Seen(cold=cold, warm=warm, **counted)  # type: ignore[arg-type]


def _start_up(browser: Browser) -> None:
    """Have the browser itself load and draw a page once, so that no page is measured with its start."""
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "empty.py"
        script.write_text(EMPTY)
        with serving(script) as (address, _):
            timed(browser, address)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a limit is missed, 2 if there is no Chromium."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", nargs="*", default=PAGES, help='addresses, "" is the overview')
    parser.add_argument("--study", default="demo")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", action="store_true", help="print the words that were counted")
    options = parser.parse_args(arguments)
    chromium = installed_chromium()
    if chromium is None:
        return 2
    missed = False
    print(f"load of the machine at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':12} {'words':>6} {'before':>7} {'top':>5} {'cold s':>7} {'ratio':>6} {'warm s':>7} {'ratio':>6}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        _start_up(browser)
        for name in options.pages:
            seen = measure(browser, name, options.study, options.rounds)
            cold, plain = (statistics.median(side) for side in zip(*seen.cold, strict=True))
            warm, plain_warm = (statistics.median(side) for side in zip(*seen.warm, strict=True))
            ratio = cold / plain
            counts = f"{seen.words:6} {seen.before:7} {seen.top:5.0f}"
            print(
                f"{name or 'overview':12} {counts} {cold:7.2f} {ratio:6.2f} {warm:7.2f} {warm / plain_warm:6.2f}",
                flush=True,
            )
            if options.texts:
                print(*seen.parts, sep="\n")
            missed |= seen.words > MOST_WORDS or seen.before > MOST_BEFORE or seen.top >= MOST_TOP or ratio > MOST_COLD
        browser.close()
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
