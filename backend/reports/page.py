"""Make one page of HTML that needs no network: folding sections, pictures and tables, for screen and paper."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from backend.figures.style import following, html, scrubber
from backend.figures.style.guide import Guide
from backend.vocabulary.markdown import APART

_MARKS = re.compile(r"\\([\\`*_\[\]~$|#&:.)+-])|[*]{2}((?:\\.|[^\\])+?)[*]{2}")
"""A sign after a backslash, or what stands between two pairs of stars."""


@dataclass(frozen=True)
class Section:
    """A part of the page that folds; `parts` are HTML already."""

    name: str
    title: str
    parts: Sequence[str]
    opened: bool = True


def page(title: str, subtitle: str, sections: Iterable[Section]) -> str:
    """Return the page. Only its own scripts may run, and nothing may be fetched."""
    return _drawn("page", title, subtitle, list(sections), secrets.token_urlsafe(16))


def picture(figures: Sequence[Any], guide: Guide) -> str:
    """Return figures side by side, with their common reading guide below them."""
    return _drawn("picture", figures, guide)


def pictures(guided: Iterable[tuple[Any, Guide]]) -> str:
    """Return figures side by side, each with a reading guide of its own."""
    return _drawn("pictures", list(guided))


def moving(data: Mapping[str, Any], epoch: str, reference: str, guide: Guide) -> str:
    """Return points that move with a slider of their own, which begins at `epoch`, with their reading guide."""
    return f"{scrubber.embedded(data, {'epoch': epoch, 'reference': reference})}\n{reading(guide)}"


def reading(guide: Guide) -> str:
    """Return a guide: its two sentences, and the rest folded."""
    return _drawn("reading", guide)


def sentences(lines: Iterable[str], kind: str = "") -> str:
    """Return a list of sentences in which `**` makes bold; users' words have gone through `markdown.plain`."""
    return _drawn("sentences", list(lines), kind)


def table(rows: Sequence[Mapping[str, Any]], folded: str | None = None) -> str:
    """Return rows as a table, each interval in brackets after its value; `folded` is the title if it folds."""
    if not rows:
        return ""
    return _drawn("table", [name for name in rows[0] if not _is_end(name, rows[0])], rows, folded)


def _spoken(figure: Any) -> str:
    """Return the title of a figure, which is plotly's HTML, as plain words: its label for screen readers."""
    return Markup(str(figure.layout.title.text).replace("<", " <")).striptags()


def _marked(line: str) -> Markup:
    """Return the line with bold parts as tags, and signs after a backslash as themselves."""
    return Markup(_bold(str(escape(line))).replace(APART, ""))


def _bold(line: str) -> str:
    return _MARKS.sub(lambda match: match[1] or f"<strong>{_bold(match[2])}</strong>", line)


def _is_end(name: str, row: Mapping[str, Any]) -> bool:
    return name.endswith(("_low", "_high")) and name.rpartition("_")[0] in row


def _cell(row: Mapping[str, Any], name: str) -> str:
    said = _number(row[name])
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return f"{said} ({_number(low)} to {_number(high)})" if low is not None and high is not None else said


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


@cache
def _macros() -> Any:
    """Return the macros of page.html."""
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    templates.filters |= {"spoken": _spoken, "embedded": html.embedded, "marked": _marked, "cell": _cell}
    templates.globals |= {
        "plotly_js": html.plotly_js,
        "scrubber_style": scrubber.style,
        "scrubber_script": scrubber.script,
        "following_script": following.script,
    }
    return templates.get_template("page.html").module


def _drawn(macro: str, *values: Any) -> str:
    return str(getattr(_macros(), macro)(*values))
