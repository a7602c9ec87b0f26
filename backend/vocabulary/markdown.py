"""Escape the user's text for markdown."""

from __future__ import annotations

import re

_SIGNS = re.compile(r"([\\`*_\[\]~$<>|#&]|:(?=\w))")
_NAMED = re.compile(r":(?=[\w+/-]+:)")
"""Streamlit inserts emoji and icons after it reads backslashes, so a zero-width character breaks up `:cat:`."""
_LISTED = re.compile(r"^(\s*)(?:([-+])|(\d+)([.)]))(?=\s)")


def plain(text: str) -> str:
    """Escape all markdown commands in a text, and join its lines."""
    escaped = _NAMED.sub(":\u2060", " ".join(text.splitlines()))
    escaped = _SIGNS.sub(r"\\\1", escaped)
    return _LISTED.sub(lambda match: match[1] + (f"\\{match[2]}" if match[2] else f"{match[3]}\\{match[4]}"), escaped)
