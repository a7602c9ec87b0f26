"""Names full of markup, and how pictures must write them."""

from __future__ import annotations

TITLE = "# **Reviews** <u>of</u> $films$ :smile:"
IN_PLOTS = ("<b>good", "<i>last", "<u>of", "%{zz}")
"""What plotly would read as HTML, or as a number to fill in."""
