"""How fast the dashboard feels in a real browser, as ratios to plain Streamlit pages within one run, warm cache.

Slider: from the key press until the epoch's picture is painted, against the same panels as one SVG subplot per layer.
Open: from the request until the first pictures are painted, against an empty page with one plot of three points.
Review: from Ctrl+Enter behind a fresh text of 60 words until its curve is painted, against a slider move on that page.
Rounds alternate between the two sides, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import itertools
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import which
from urllib.parse import quote

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
MOST_SLIDER, MOST_OPEN, MOST_REVIEW, MOST_MEGABYTES = 0.5, 1.6, 2.0, 500

PAINTED = """([selector, title]) => new Promise(done => {
    const look = () => {
        const plot = document.querySelector(selector);
        const words = plot && plot.querySelector('.gtitle');
        const drawn = words && words.textContent.includes(title) && plot.querySelector('.point');
        if (!drawn) return requestAnimationFrame(look);
        requestAnimationFrame(() => requestAnimationFrame(() => done()));
    };
    look();
})"""
"""Resolves two animation frames after the plot has that title and its points: then the browser has painted them."""

REPAINTED = """([selector, before]) => new Promise(done => {
    const look = () => {
        const plot = document.querySelector(selector);
        const now = plot && plot._fullLayout && plot._fullLayout.datarevision;
        if (!now || now === before) return requestAnimationFrame(look);
        requestAnimationFrame(() => requestAnimationFrame(() => done()));
    };
    look();
})"""
"""Resolves two animation frames after the plot shows other data than before."""
Seen = Callable[[Page], None]
CURVE = ".st-key-review-layers .js-plotly-plot"

EMPTY = """
import plotly.graph_objects as go
import streamlit as st

st.set_page_config(layout="wide")
points = go.Scatter(x=[1, 2, 3], y=[1, 3, 2], mode="markers")
st.plotly_chart(go.Figure(points, layout={"title": "three points"}), key="empty")
"""

OBVIOUS = """
import numpy as np
import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

st.set_page_config(layout="wide")
data = np.load({path!r}, allow_pickle=False)
names, labels, texts, words = data["names"].tolist(), data["labels"], data["texts"], data["words"].tolist()
epoch = st.sidebar.select_slider("Epoch", names, value=names[-1], key="epoch")
layers = data["xy"].shape[1]
figure = make_subplots(layers, 2, subplot_titles=[f"layer {{l}}" for l in range(layers) for _ in range(2)])
for column, k in enumerate((0, names.index(epoch)), start=1):
    for layer in range(layers):
        for c, (colour, symbol) in enumerate((("#dd7a1b", "diamond"), ("#2f7fd3", "circle"))):
            mine = labels == c
            xy = data["xy"][k, layer, mine]
            marker = dict(color=colour, symbol=symbol, size=4.5, opacity=0.75)
            trace = go.Scatter(x=xy[:, 0], y=xy[:, 1], mode="markers", text=texts[mine], marker=marker, name=words[c])
            figure.add_trace(trace, row=layer + 1, col=column)
        figure.update_yaxes(scaleanchor=figure.data[-1].xaxis, row=layer + 1, col=column)
figure.update_layout(height=190 * layers, title=f"base and {{epoch}}", showlegend=False)
st.plotly_chart(figure, key="obvious")
"""


@contextmanager
def serving(script: Path, **environment: str) -> Iterator[tuple[str, int]]:
    """A Streamlit server for the script; gives its address and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(400):
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.25)
        yield address, server.pid
    finally:
        server.terminate()
        server.wait(20)


def warm(cache: Path) -> tuple[Path, list[str]]:
    """Fill the cache with what the Layers page shows, and keep the same points for the obvious way."""
    os.environ["LAYERSHIFT_CACHE"] = str(cache)
    from backend import wiring
    from backend.analyses import accuracy, direction, projection
    from backend.figures.style import theme
    from backend.lab.pinning import pin

    lab = wiring.open_lab()
    study = pin(wiring.find_study("demo"), lab)
    found = []
    for one, query in zip(study.checkpoints, projection.of_all(study, study.base, "shared"), strict=True):
        found.append(projection.recipe(query, lab))
        accuracy.recipe(accuracy.Query(one, study.prompts), lab)
        direction.recipe(direction.Query(one, study.base, study.prompts), lab)
    names = [one.label for one in study.checkpoints]
    place = cache / "points.npz"
    np.savez(
        place,
        xy=np.stack([one.xy for one in found]),
        labels=study.prompts.labels,
        texts=np.array([theme.shorten(text) for text in study.sample.text]),
        words=np.array(study.study.prompt.label_words),
        names=np.array(names),
    )
    return place, names


def plotted(selector: str, title: str) -> Seen:
    """Wait until the plot with that title is painted."""
    return lambda page: page.evaluate(PAINTED, [selector, title])


def scrubbed(epoch: str) -> Seen:
    """Wait until the scrubber has painted all layers at that epoch."""

    def seen(page: Page) -> None:
        page.wait_for_selector(f'.scrubber[data-painted][data-epoch="{epoch}"]')
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    return seen


def loaded(browser: Browser, address: str, seen: Seen) -> tuple[float, Page]:
    """Seconds until the picture is painted in a fresh browser context, and the page."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(240_000)
    start = time.perf_counter()
    page.goto(address)
    seen(page)
    return time.perf_counter() - start, page


def slid(page: Page, key: str, seen: Seen) -> float:
    """Seconds from a key press on the slider until the picture is painted."""
    page.locator(".st-key-epoch input[type=range]").focus()
    page.wait_for_timeout(1500)
    start = time.perf_counter()
    page.keyboard.press(key)
    seen(page)
    return time.perf_counter() - start


def repainted(page: Page, act: Callable[[], None]) -> float:
    """Seconds from an action on the Review page until its curve shows other data; the page is at rest before."""
    page.wait_for_function("() => !document.querySelector('[data-testid=stProgress]')")
    page.wait_for_timeout(2500)
    before = page.evaluate("selector => document.querySelector(selector)._fullLayout.datarevision", CURVE)
    start = time.perf_counter()
    act()
    page.evaluate(REPAINTED, [CURVE, before])
    return time.perf_counter() - start


def reviewed(page: Page, address: str, rounds: int) -> list[tuple[float, float]]:
    """Seconds of (a fresh text of 60 words, a slider move on the same page), models in memory."""
    words = ("the", "script", "is", "funny", "but", "slow", "and", "I", "liked", "every", "scene", "awful", "actors")
    draw = np.random.default_rng(0)
    box = page.locator(".st-key-text textarea")

    def type_text() -> None:
        box.press("Control+Enter")

    def slide() -> None:
        page.keyboard.press(next(arrows))

    arrows = itertools.cycle(["ArrowLeft", "ArrowRight"])
    page.goto(f"{address}/review?study=demo&text=" + quote("A first text, so that all models are open."))
    page.wait_for_selector(f"{CURVE} .main-svg")  # opening torch and the models takes a while
    found = []
    for round_ in range(rounds + 1):
        page.wait_for_timeout(1000)
        box.fill(" ".join(draw.choice(words, 60)))
        mine = repainted(page, type_text)
        page.locator(".st-key-epoch input[type=range]").focus()
        theirs = repainted(page, slide)
        if round_:
            found.append((mine, theirs))
    return found


def footprint(pid: int) -> tuple[float, bool]:
    """Resident megabytes of the server, and whether torch is in it."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(resident.split()[1]) / 1024, "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def measure(rounds: int, chromium: str) -> list[tuple[str, float, float, float]]:
    """Rows of (what, ours, theirs, most): medians in seconds; the last row is memory in MB."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        points, names = warm(folder)
        (folder / "obvious.py").write_text(OBVIOUS.format(path=str(points)))
        (folder / "empty.py").write_text(EMPTY)
        ours, pid = stack.enter_context(serving(ROOT / "app.py", LAYERSHIFT_CACHE=str(folder)))
        obvious, _ = stack.enter_context(serving(folder / "obvious.py"))
        empty, _ = stack.enter_context(serving(folder / "empty.py"))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        stack.callback(browser.close)
        plot = ".js-plotly-plot"
        opens: list[tuple[float, float]] = []
        for round_ in range(rounds + 1):
            mine, page = loaded(browser, f"{ours}/layers?study=demo", scrubbed(names[-1]))
            page.context.close()
            base, page = loaded(browser, empty, plotted(plot, "three points"))
            page.context.close()
            if round_:  # the first visit of each server imports its modules
                opens.append((mine, base))
        _, here = loaded(browser, f"{ours}/layers?study=demo", scrubbed(names[-1]))
        _, there = loaded(browser, obvious, plotted(plot, names[-1]))
        slides: list[tuple[float, float]] = []
        at, step = len(names) - 1, -1
        for _ in range(2 * rounds):
            step = -step if not 0 < at + step < len(names) else step
            at += step
            key = "ArrowLeft" if step < 0 else "ArrowRight"
            slides.append((slid(here, key, scrubbed(names[at])), slid(there, key, plotted(plot, names[at]))))
        megabytes, torch = footprint(pid)  # before the Review page, which opens models
        here.context.close()
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(240_000)
        reviews = reviewed(page, ours, 2 * rounds)
    if torch:
        print("torch was imported although the cache is warm", file=sys.stderr)
    rows = []
    for what, pairs, most in (
        ("slider to picture", slides, MOST_SLIDER),
        ("open to first picture", opens, MOST_OPEN),
        ("60-word review to curve", reviews, MOST_REVIEW),
    ):
        mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        rows.append((what, mine, theirs, most))
    return [*rows, ("server memory (MB)", float("inf") if torch else megabytes, 1.0, MOST_MEGABYTES)]


def installed_chromium() -> str | None:
    """Return the path of Chromium or Chrome; None, with a sentence printed, without one."""
    path = next(filter(None, map(which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        print("Chromium is not installed, so nothing was measured.", file=sys.stderr)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a limit is missed, 2 if there is no Chromium."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args(arguments)
    chromium = installed_chromium()
    if chromium is None:
        return 2
    missed = False
    print(f"{'':24} {'ours':>8} {'plain':>8} {'ratio':>7} {'most':>7}")
    for what, mine, theirs, most in measure(options.rounds, chromium):
        ratio = mine / theirs
        missed |= ratio > most
        print(f"{what:24} {mine:8.2f} {theirs:8.2f} {ratio:7.2f} {most:7.2f}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
