"""The pictures of the documentation, taken of the demo in headless Chromium by `make screenshots`."""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from backend import wiring
from tests.browser.conftest import FLAGS, PATIENCE, calm, serving

FOLDER = Path(__file__).parent / "images"
MOST_BYTES = 110_000
COLOURS = (None, 256, 128, 64, 32)
TYPED = "The plot drags and half of the jokes are old, and still I loved every minute of it."


HIDE = """([own, shown]) => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(own, shown);
}"""
"""Takes out where Layershift lies on the machine that the pictures are taken on."""


@dataclass(frozen=True)
class Shot:
    """One picture: a page of the demo with what its address says, from the heading `at` on (none: from the top).

    Where a button that begins with `press` is there, it is pressed first.
    """

    name: str
    page: str
    said: tuple[tuple[str, str], ...] = ()
    at: str = ""
    height: int = 900
    theme: str = "light"
    press: str = ""


SHOTS = (
    Shot("overview", ""),
    Shot("weights", "", at="Which weights changed, and by how much?", height=760),
    Shot("layers", "layers", height=1000),
    Shot("layers-dark", "layers", (("basis", "base"), ("epoch", "epoch 1")), height=820, theme="dark"),
    Shot("direction", "layers", (("show", "direction"),), at="How far apart are the classes", height=760),
    Shot("sample-card", "layers", (("show", "sample"),), at="What else could explain the numbers?", height=860),
    Shot("similarity", "layers", (("show", "similarity"),), at="How similar is each layer to base?", height=1000),
    Shot("tokens", "tokens", height=900),
    Shot("probes", "probes", height=1000),
    Shot("swaps", "swaps", height=760),
    Shot("patching", "swaps", (("mode", "patching"),), height=1000, press="Patch"),
    Shot("steering", "swaps", (("mode", "steering"),), height=860),
    Shot(
        "features",
        "features",
        height=1000,
        press="Train",
    ),
    Shot("difference", "difference", height=900),
    Shot("review", "review", (("text", TYPED),), height=1000),
    Shot("words", "review", (("text", TYPED), ("show", "words")), at="What does each word add?", height=760),
    Shot(
        "steered", "review", (("text", TYPED), ("show", "steered")), at="What does adding the direction do?", height=900
    ),
    Shot("add", "add", height=900),
)


def main() -> int:
    """Take every picture, or those that are named."""
    parser = argparse.ArgumentParser(description="Take the pictures of the documentation.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(one.name for one in SHOTS)}")
    parser.add_argument("--address", help="of a server that runs already, such as http://127.0.0.1:8501")
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("Chromium is not installed; install it, then try again.", file=sys.stderr)
        return 2
    FOLDER.mkdir(exist_ok=True)
    server = (
        nullcontext(options.address) if options.address else serving(wiring.studies_folder(), wiring.cache_folder())
    )
    with server as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        for shot in SHOTS:
            if not options.names or shot.name in options.names:
                print(keep(shot, take(page, address, shot)))
        browser.close()
    return 0


def take(page: Page, address: str, shot: Shot) -> bytes:
    """The picture as PNG."""
    page.set_viewport_size({"width": 1280, "height": shot.height})
    page.emulate_media(color_scheme="dark" if shot.theme == "dark" else "light")
    page.goto(f"{address}/{shot.page}?{urlencode({'study': 'demo', **dict(shot.said)})}")
    calm(page)
    button = page.get_by_role("button", name=shot.press)
    if shot.press and button.count():
        button.first.click()
        page.get_by_test_id("stProgress").first.wait_for()
        page.get_by_test_id("stProgress").first.wait_for(state="detached")
        calm(page)
    if shot.at:
        page.get_by_text(shot.at).first.evaluate("one => one.scrollIntoView({block: 'start'})")
        page.get_by_test_id("stMain").evaluate("one => one.scrollBy(0, -40)")
        calm(page)
    page.evaluate(HIDE, [str(wiring.ROOT), "layershift"])
    page.mouse.move(640, 5)
    return page.screenshot()


def keep(shot: Shot, png: bytes) -> str:
    """Write the picture with as many colours as fit into MOST_BYTES, and say how large it is."""
    file = FOLDER / f"{shot.name}.png"
    with Image.open(io.BytesIO(png)) as picture:
        plain = picture.convert("RGB")
    colours, small = COLOURS[0], b""
    for colours in COLOURS:
        stream = io.BytesIO()
        drawn = plain if colours is None else plain.quantize(colours, kmeans=2, dither=Image.Dither.NONE)
        drawn.save(stream, "PNG", optimize=True)
        small = stream.getvalue()
        if len(small) <= MOST_BYTES:
            break
    file.write_bytes(small)
    return f"{file} {len(small) // 1000} kB, {colours or 'all'} colours"


if __name__ == "__main__":
    raise SystemExit(main())
