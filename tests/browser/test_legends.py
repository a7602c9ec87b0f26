"""A legend below a picture never touches the title of the axis, however many rows it needs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from playwright.sync_api import Browser
from plotly.offline import get_plotlyjs

from backend.figures.style import drawing, theme

DRAWN = """([figure, width]) => {
    document.body.innerHTML = `<div style="width: ${width}px"></div>`;
    const place = document.body.firstChild;
    return Plotly.newPlot(place, figure.data, figure.layout).then(() => {
        const [title, legend, all] = [".xtitle", ".legend", ".svg-container"].map(
            name => place.querySelector(name).getBoundingClientRect());
        return {gap: legend.top - title.bottom, below: all.bottom - legend.bottom, rows: legend.height};
    });
}"""


@pytest.mark.parametrize("width", [420, 620, 1000])
def test_it_keeps_its_distance_from_the_axis(browser: Browser, width: int):
    x, curves = np.arange(13), [f"head of epoch {i}, norm of its own" for i in range(8)]
    traces = [drawing.line(x, x * 1.0, name, drawing.stroke(theme.QUIET)) for name in curves]
    picture = theme.figure(traces, "Curves", 400, xaxis=theme.layer_axis(13), **drawing.below())
    page = browser.new_page()
    page.add_script_tag(content=get_plotlyjs())
    found = page.evaluate(DRAWN, [json.loads(picture.to_json() or ""), width])
    page.close()
    assert found["rows"] > 40, "more than one row"
    assert 5 < found["gap"] < 20
    assert 0 <= found["below"] < 15
