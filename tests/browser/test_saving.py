"""A plot that is saved as PNG names its study."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import Visitor

Visit = Callable[[], Visitor]
pytestmark = pytest.mark.timeout(900)
CAMERA = '.modebar-btn[data-title="Download plot as a PNG"]'
TITLE = """() => {
    const { downloadImage } = window.Plotly;
    window.Plotly.downloadImage = (figure, options) => {
        window.saved = figure.layout.title.text;
        return downloadImage(figure, options);
    };
}"""
"""Notes the title of what is saved."""


def test_the_camera_saves_study_and_title(visit: Visit, address: str):
    visitor = visit()
    page = visitor.goto(f"{address}/?study=tiny")
    plot = page.locator(".st-key-side-separation .js-plotly-plot")
    plot.locator(".hm image").wait_for(state="attached")
    visitor.settled()
    page.evaluate(TITLE)
    plot.hover()
    with page.expect_download() as download:
        plot.locator(CAMERA).click()
    assert download.value.suggested_filename == "tiny-separation-epoch-2-base.png"
    study, title = page.evaluate("() => window.saved.split('<br>')")
    assert study == page.locator(".stMain h1").inner_text()
    assert "separation (within-class spreads)" in title
