"""Draw a small picture beside a finding: its series as bars, with the value of the finding marked."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

from backend.figures.style import theme

WIDTH, HEIGHT, WIDEST = 132, 36, 22


def image(series: Sequence[float], at: int) -> str:
    """Return the bars of a series as an HTML image, the one at `at` in colour; undefined values are gaps.

    It is decoration beside the sentence that it belongs to. Empty if fewer than two values are defined.

    Bars start at 0, or at the lowest value where all are far from it.
    """
    known = [value for value in series if math.isfinite(value)]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    bottom = min(0.0, low) if low < high / 2 or low < 0 else low - (high - low) / 4
    span, step = max(high, 0.0) - bottom or 1.0, min(WIDTH / len(series), WIDEST)
    bars = [
        f'<rect x="{i * step + step * 0.12:.1f}" y="{HEIGHT * (1 - top):.1f}" width="{step * 0.76:.1f}" '
        f'height="{max(1.0, HEIGHT * top):.1f}" fill="{theme.RING if i == at else theme.QUIET}" '
        f'opacity="{1 if i == at else 0.45}"/>'
        for i, value in enumerate(series)
        if math.isfinite(value)
        for top in [(value - bottom) / span]
    ]
    drawn = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"{''.join(bars)}</svg>"
    )
    return f'<img alt="" src="data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode()}">'
