"""Check every guide in backend/figures: one sentence each on content and trust, at most 20 words a sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from backend.figures.style.guide import Guide

FIGURES = Path(__file__).parents[3] / "backend" / "figures"
MODULES = sorted(file for file in FIGURES.glob("*.py") if file.stem != "__init__")
MOST_WORDS = 20
FIELDS = ("shows", "beware", "more")


def texts(node: ast.expr, known: dict[str, ast.expr]) -> list[str]:
    """Return every text that an expression may have, with one word for each value that is filled in."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(parts) for parts in product(*(texts(part, known) for part in node.values))]
    if isinstance(node, ast.BinOp):
        return [left + right for left, right in product(texts(node.left, known), texts(node.right, known))]
    if isinstance(node, ast.IfExp):
        return texts(node.body, known) + texts(node.orelse, known)
    if isinstance(node, ast.FormattedValue):
        return texts(node.value, known)
    if isinstance(node, ast.Name) and node.id in known:
        return texts(known[node.id], known)
    return ["X"]


def guides(file: Path) -> Iterator[tuple[int, dict[str, list[str]]]]:
    """Yield the line of each guide of a module, and the texts that its fields may have."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "Guide"):
            continue
        given = dict(zip(FIELDS, node.args, strict=False)) | {str(word.arg): word.value for word in node.keywords}
        yield (
            node.lineno,
            {
                field: [text for chosen in alternatives(value, assigned) for text in texts(value, chosen)]
                for field, value in given.items()
            },
        )


def alternatives(value: ast.expr, assigned: list[ast.Assign]) -> Iterator[dict[str, ast.expr]]:
    """Yield every choice among the values that the names in an expression are given in the module."""
    names = sorted({node.id for node in ast.walk(value) if isinstance(node, ast.Name)})
    values = {name: [one.value for one in assigned if ast.unparse(one.targets[0]) == name] for name in names}
    known = [name for name in names if values[name]]
    for choice in product(*(values[name] for name in known)):
        yield dict(zip(known, choice, strict=True))


def sentences(text: str) -> list[str]:
    """Split a text after full stops."""
    return re.split(r"(?<=[.!?]) ", text.strip())


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_a_figure_has_a_guide_of_short_sentences(file: Path):
    found = list(guides(file))
    assert found, "every picture has a guide beside it"
    for line, fields in found:
        assert {"shows", "beware"} <= fields.keys(), line
        for field, possible in fields.items():
            for text in possible:
                assert field == "more" or len(sentences(text)) == 1, (line, text)
                assert [one for one in sentences(text) if len(one.split()) > MOST_WORDS] == [], line
                assert not text.strip() or text.strip()[-1] in ".X", (line, text)


def test_a_guide_joins_its_sentences():
    guide = Guide("It shows.", "Beware.", "More of it.")
    assert guide.short == "It shows. Beware."
    assert guide.text == "It shows. Beware. More of it."
    assert Guide("It shows.", "Beware.").text == "It shows. Beware."


def test_a_long_sentence_would_be_found():
    module = ast.parse('x = "b " * 2\nGuide("a" if x else f"{x} c", y + "d")')
    call = module.body[1].value  # type: ignore[attr-defined]
    assert texts(call.args[0], {}) == ["a", "X c"]
    assert texts(call.args[1], {"y": ast.Constant("long ")}) == ["long d"]
