"""Escape the user's text for markdown."""

from __future__ import annotations

import re

_SIGNS = re.compile(r"([\\`*_\[\]~$<>|#&]|:(?=\w))")
_NAMED = re.compile(r":(?=[\w+/-]+:)")
APART = "\u2060"
"""Emoji and icons are put in after backslashes are read, so a sign of no width keeps `:cat:` apart."""
_LISTED = re.compile(r"^(\s*)(?:([-+])|(\d+)([.)]))(?=\s)")


def plain(text: str) -> str:
    """Make markdown in which none of the text's signs is a command; it stays on its line."""
    said = _NAMED.sub(f":{APART}", " ".join(text.splitlines()))
    said = _SIGNS.sub(r"\\\1", said)
    return _LISTED.sub(lambda found: found[1] + (f"\\{found[2]}" if found[2] else f"{found[3]}\\{found[4]}"), said)
