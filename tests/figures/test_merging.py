"""A merged adapter in words and as two curves."""

# pyright: reportAttributeAccessIssue=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import numpy as np

from backend.analyses.merging import Result
from backend.figures import merging as figures


def made(residual: float, logit: float = 1e-5, active: float = 0.25) -> Result:
    return Result(np.array([0.0, residual]), np.array([0.0, active]), logit, 4 * active, 10.0, 14, 1e-3)


def test_equal_differing_and_inactive_in_words():
    said = figures.in_words(made(2.5e-7), "one")
    assert said.startswith("Merged onto its base, **one** equals the unmerged adapter up to rounding: over 14 tokens")
    assert "residuals by at most 2.5e-07 of their length and logits by at most 1.0e-05 (tolerance 0.001)" in said
    assert said.endswith("it changes residuals by up to 25 %.")
    said = figures.in_words(made(0.2), "one")
    assert "differs from the unmerged adapter" in said and "beyond the tolerance of 0.001" in said
    assert 'set dtype = "float32"' in said
    assert "inactive" in figures.in_words(made(0.0, 0.0, 0.0), "one")
    assert "logits" not in figures.in_words(made(0.0, float("nan")), "one")


def test_both_curves_and_the_tolerance():
    picture = figures.draw(made(0.0, 0.0), "one", "#123456")
    off, merged = picture.data
    assert (off.name, merged.name) == ("switched off", "merged")
    assert list(merged.customdata) == [0.0, 0.0] and list(merged.y) == [figures.LEAST] * 2
    assert list(off.y) == [figures.LEAST, 0.25]
    assert picture.layout.yaxis.type == "log" and picture.layout.shapes[0].y0 == 1e-3
