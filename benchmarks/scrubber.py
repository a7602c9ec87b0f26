"""How long a frame takes while an epoch is dragged: 26 layers of 1,000 points in headless Chromium, against plotly.

Frame: the work of one animation frame, all 26 panels drawn at a place between two checkpoints. Dragged: the time
between two frames that the browser shows while the mouse drags the slider. Plotly: the same points as one SVG trace per
class, moved by `Plotly.restyle`. Followed: the frame that reaches a checkpoint, at which six plotly pictures of curves
change what they highlight too. All are opened in the same browser, from files.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from playwright.sync_api import Browser, Page, sync_playwright

from backend.analyses.projection import Result
from backend.figures import projection
from backend.figures.style import drawing, following, html, scrubber, theme
from backend.figures.style.guide import Guide
from backend.reports import page as report
from benchmarks.interactive import installed_chromium

LAYERS, REVIEWS, CHECKPOINTS = 26, 1000, 4
MOST_FRAME = 16.0
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
NAMES = ["base", *(f"epoch {i}" for i in range(1, CHECKPOINTS))]
WORDS = ("negative", "positive")

PICTURES = 6
FRAMES = """({picture}, count) => {
    const spent = [];
    for (let i = 0; i < count; i++) {
        const start = performance.now();
        picture.seek((picture.last * (i + 0.5)) / count);
        picture.paint();
        spent.push(performance.now() - start);
    }
    return spent;
}"""
"""Milliseconds of work of so many frames, each at another place between the checkpoints."""
WATCH = """() => {
    window.shown = [];
    const look = now => { window.shown.push(now); window.watching = requestAnimationFrame(look); };
    requestAnimationFrame(look);
}"""
SEEN = (
    "() => { cancelAnimationFrame(window.watching); return window.shown.slice(1).map((t, i) => t - window.shown[i]); }"
)
FOLLOWED = """({picture}, count) => {
    const spent = [];
    for (let i = 0; i < count; i++) {
        const start = performance.now();
        picture.seek(i % (picture.last + 1));
        picture.paint();
        spent.push(performance.now() - start);
    }
    return spent;
}"""
RESTYLE = """async count => {
    const {steps, plot} = window, spent = [];
    for (let i = 0; i < count; i++) {
        const start = performance.now();
        await Plotly.restyle(plot, {x: steps[i % steps.length].x, y: steps[i % steps.length].y});
        spent.push(performance.now() - start);
    }
    return spent;
}"""
PLOTLY = """<!doctype html><meta charset="utf-8"><script>{plotly}</script><div id="plot"></div><script>
const plot = document.getElementById("plot"), steps = {steps}, colours = {colours};
Plotly.newPlot(plot, colours.map((color, c) => ({{type: "scatter", mode: "markers", x: steps[0].x[c], y: steps[0].y[c],
    marker: {{color, size: 4.5}}}})), {{width: 1100, height: 800}}).then(() => {{ window.ready = true; }});
</script>"""


def made() -> list[Result]:
    """Checkpoints of random points whose classes part step by step."""
    rng = np.random.default_rng(0)
    base, labels = rng.normal(size=(LAYERS, REVIEWS, 2)), np.arange(REVIEWS) % 2
    results = []
    for step in range(CHECKPOINTS):
        xy = base + 0.2 * rng.normal(size=base.shape)
        xy[:, :, 0] += step * (labels - 0.5)
        arrow = np.zeros((LAYERS, 1, 2))
        arrow[:, :, 0] = step
        results.append(Result(xy.astype(np.float32), np.full((LAYERS, 2), 0.4), arrow))
    return results


def ours(results: list[Result]) -> str:
    """The scrubber as a page."""
    labels, texts = np.arange(REVIEWS) % 2, [f"Review {i}" for i in range(REVIEWS)]
    data = projection.pack(results, NAMES, NAMES, labels, texts, list(range(REVIEWS)), WORDS)
    return scrubber.standalone(data, {"epoch": NAMES[-1], "reference": NAMES[0]}, "Points", "")


def curves() -> go.Figure:
    """A line, a band and a chance level per checkpoint, of which the last is highlighted."""
    x, value = np.arange(LAYERS), np.linspace(0, 1, LAYERS)
    traces = []
    for i, name in enumerate(NAMES):
        colour = theme.checkpoint_colour(i, CHECKPOINTS)
        detail = [*theme.band(x, value, value + 0.2, colour), drawing.dotted(x, value / 2, colour)]
        line = drawing.line(x, value * (1 + i), name, drawing.stroke(colour))
        traces += following.curve([line], detail, name, (NAMES[-1], NAMES[0]))
    return theme.figure(traces, "Curves", 300, **following.layout(NAMES))


def followed(results: list[Result]) -> str:
    """The scrubber and pictures of curves, as a report."""
    labels, texts = np.arange(REVIEWS) % 2, [f"Review {i}" for i in range(REVIEWS)]
    data = projection.pack(results, NAMES, NAMES, labels, texts, list(range(REVIEWS)), WORDS)
    guide = Guide("", "")
    parts = [report.moving(data, NAMES[-1], NAMES[0], guide), report.picture([curves()] * PICTURES, guide)]
    return report.page("Points", "", [report.Section("all", "All", parts)])


def theirs(results: list[Result]) -> str:
    """Plotly with all panels tiled into one pair of axes."""
    corner = np.stack([np.arange(LAYERS) % 7, -(np.arange(LAYERS) // 7)], axis=1)[:, None] * 8.0
    steps = []
    for result in results:
        tiled = (result.xy + corner).round(3)
        parts = [tiled[:, c::2].reshape(-1, 2) for c in range(2)]
        steps.append({"x": [part[:, 0].tolist() for part in parts], "y": [part[:, 1].tolist() for part in parts]})
    colours = [theme.class_colour(c, 2) for c in range(2)]
    return PLOTLY.format(plotly=html.plotly_js(), steps=json.dumps(steps), colours=json.dumps(colours))


def opened(browser: Browser, file: Path, text: str, ratio: float) -> Page:
    """A page from a file."""
    file.write_text(text, encoding="utf-8")
    page = browser.new_context(viewport={"width": 1440, "height": 1000}, device_scale_factor=ratio).new_page()
    page.set_default_timeout(120_000)
    page.goto(file.as_uri())
    return page


def dragged(page: Page) -> list[float]:
    """Milliseconds between the frames that the browser shows while the mouse drags the slider to and fro."""
    box = page.locator(".track input").bounding_box()
    if box is None:
        raise RuntimeError("The slider is not there.")
    y, right = box["y"] + box["height"] / 2, box["x"] + box["width"] - 9
    page.mouse.move(right, y)
    page.mouse.down()
    page.evaluate(WATCH)
    for step in range(120):
        page.mouse.move(right - 300 + 300 * np.cos(step / 10), y)
    times = page.evaluate(SEEN)
    page.mouse.up()
    return times


def measure(frames: int, chromium: str) -> list[tuple[str, list[float]]]:
    """Milliseconds of every frame, by what was measured."""
    results = made()
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        found: list[tuple[str, list[float]]] = []
        for ratio in (1, 2):
            page = opened(browser, Path(scratch) / "ours.html", ours(results), ratio)
            page.wait_for_selector(".scrubber[data-painted]")
            page.locator(".scrubber").evaluate(FRAMES, 20)  # until the browser has compiled it
            found.append((f"frame, {ratio}x screen", page.locator(".scrubber").evaluate(FRAMES, frames)))
            found.append((f"dragged, {ratio}x screen", dragged(page)))
            page.context.close()
        page = opened(browser, Path(scratch) / "followed.html", followed(results), 1)
        page.wait_for_function(f"() => document.querySelectorAll('.js-plotly-plot .trace').length >= {PICTURES}")
        page.locator(".scrubber").evaluate(FOLLOWED, 20)
        found.append(("followed, 1x screen", page.locator(".scrubber").evaluate(FOLLOWED, frames)))
        page = opened(browser, Path(scratch) / "theirs.html", theirs(results), 1)
        page.wait_for_function("() => window.ready")
        page.evaluate("() => { Object.assign(window, {plot, steps}) }")
        found.append(("plotly restyle", page.evaluate(RESTYLE, 6)))
        browser.close()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a frame takes too long, 2 if there is no Chromium."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200)
    options = parser.parse_args(arguments)
    chromium = installed_chromium()
    if chromium is None:
        return 2
    print(f"{LAYERS} x {REVIEWS:,} points; milliseconds\n{'':24} {'median':>8} {'95 %':>8} {'most':>8} {'n':>5}")
    missed = False
    for what, times in measure(options.frames, chromium):
        median = statistics.median(times)
        missed |= what in ("frame, 1x screen", "followed, 1x screen") and median > MOST_FRAME
        print(f"{what:24} {median:8.1f} {np.quantile(times, 0.95):8.1f} {max(times):8.1f} {len(times):5}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
