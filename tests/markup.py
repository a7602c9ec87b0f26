"""Names full of markup, and how pictures must write them."""

from __future__ import annotations

SCRIPT = "</script><script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(1)>"
LINK = "[press](javascript:alert(1))"
TITLE = f"# **Reviews** <u>of</u> $films$ :smile: {SCRIPT}"
IN_PLOTS = ("<b>good", "<i>last", "<u>of", "%{zz}", "<script", "<img")
"""What plotly would read as HTML, or as a number to fill in."""
