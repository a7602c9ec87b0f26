"""The pages of docs/ as the dashboard shows them: links lead to other pages of the dashboard, pictures are files."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from backend.wiring import ROOT

FOLDER = ROOT / "docs"
PAGES = {
    file.relative_to(FOLDER).with_suffix("").as_posix(): file
    for file in (*sorted(FOLDER.glob("*.md")), *sorted(FOLDER.glob("analyses/*.md")))
}
"""Every page by its path below docs/, without the ending."""
START = "README"
SHOWN_BY = str(ROOT / "pages" / "docs.py")
"""The file of the dashboard's page, as a link needs it."""
_LINK = re.compile(r"(?<!!)\[((?:`[^`]*`|[^\[\]`])+)\]\(([^)\s]+)\)")
_IMAGE = re.compile(r"^!\[([^\]]*)\]\(([^)\s]+)\)$", re.MULTILINE)


def title(page: str) -> str:
    """Return the title of a page, from its first line."""
    with PAGES[page].open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()


def parts(page: str) -> list[str | tuple[Path, str]]:
    """Return a page as Markdown and pictures (file and what it shows), in order."""
    text = _LINK.sub(lambda link: _led(page, link[1], link[2]), PAGES[page].read_text(encoding="utf-8"))
    pieces = _IMAGE.split(text)
    found: list[str | tuple[Path, str]] = [pieces[0]]
    for i in range(1, len(pieces), 3):
        found += [(PAGES[page].parent / pieces[i + 1], pieces[i]), pieces[i + 2]]
    return found


def _led(page: str, words: str, to: str) -> str:
    """Return a link of a page as the dashboard's: to another page, out, or only its words where it leads to a file."""
    if re.match(r"[a-z]+:", to):
        return f"[{words}]({to})"
    path, _, section = to.partition("#")
    other = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)).removesuffix(".md") if path else page
    if other not in PAGES:
        return words
    return f"[{words}](docs?page={other}{'#' if section else ''}{section})"
