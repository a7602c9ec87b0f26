"""Plain English in docstrings, comments, sentences and documentation: turns of phrase that readers stumble over."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / "app.py", *sorted((ROOT / "backend").rglob("*.py")), *sorted((ROOT / "pages").rglob("*.py"))]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TURNS = {  # what to avoid, and what to write
    r"anew": "again",
    r"amiss": "wrong",
    r"mend(s|ed|ing)?": "fix",
    r"(take|takes|taken|taking) along": "keep, carry over",
    r"for good": "from there on, never again",
    r"as one (says|reads|does)": "leave it out",
    r"(is|are|be) let (run|be)": "name what happens",
    r"the like": "name them",
    r"set(s|ting)? about": "start",
    r"of (yours|theirs|ours)": "your",
    r"(has|have) room for": "fits",
    r"somebody|whoever|nobody": "name who: the user, the reader, a model",
    r"nothing but": "only",
    r"(is|are) told": "name who reports what",
    r"(is|was|are) heard": "receives",
    r"lens(es)? of|the lens|mean lens": "logit difference (the logit lens is the method)",
    r"dose(s)?": "coefficient",
    r"(behind|in front of) (the|a|an|each|every|its|their)": "after, before",
}


def prose(file: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of every string and comment of a module, or of every line of a page."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        code = False
        for number, line in enumerate(text.split("\n"), start=1):
            code ^= line.startswith("```")
            if not code:
                yield number, re.sub(r"`[^`]*`", "", line)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT) and not re.fullmatch(r'"[\w-]*"', token.string):
            yield token.start[0], re.sub(r"`[^`]*`|\{[^{}]*\}", "", token.string)


@pytest.mark.parametrize("file", [*SOURCES, *PAGES], ids=lambda file: str(file.relative_to(ROOT)))
def test_a_reader_in_a_hurry_understands_it(file: Path):
    found = [
        f"{file.relative_to(ROOT)}:{number}: “{match.group()}”, write: {instead}"
        for number, text in prose(file)
        for turn, instead in TURNS.items()
        for match in re.finditer(rf"\b({turn})\b", text, re.IGNORECASE)
    ]
    assert found == []
