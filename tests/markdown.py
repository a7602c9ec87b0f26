"""Pages of documentation, taken apart: their sections, tables, and what a link may name."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path


@cache
def sections(file: Path) -> dict[str, str]:
    """The text below each heading of the second level, by heading."""
    parts = re.split(r"^## (.+)$", without_code(file.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def without_code(text: str) -> str:
    """Markdown without its fenced blocks, in which # is a comment and brackets are lists."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def table(section: str) -> list[list[str]]:
    """The cells of the tables in a section, without their headings."""
    rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    return [
        row for i, row in enumerate(cells) if not is_rule(row) and not (i + 1 < len(cells) and is_rule(cells[i + 1]))
    ]


def is_rule(row: list[str]) -> bool:
    return all(re.fullmatch(r":?-+:?", cell) for cell in row)


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def anchors(file: Path) -> set[str]:
    """What a link may name behind #, as GitHub makes it from the headings."""
    titles = re.findall(r"^#+ (.+)$", without_code(file.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
