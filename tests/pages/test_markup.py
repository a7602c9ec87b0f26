"""Somebody's words on every page: what looks like markdown or HTML in them is shown as it stands."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from backend.study.config import Study
from tests.markup import IMAGE, IN_PLOTS, LINK, SCRIPT, TITLE
from tests.pages.conftest import Opens, World, charts

WORDS = ("**bad**", "<b>good</b>")
LABELS = (f":cat: $x$ {SCRIPT}", f"`one` [two](http://three) {IMAGE}", f"<i>last</i> %{{zz}} {LINK}")
TEXTS = (f"{SCRIPT} loud {LINK}", f"{IMAGE} quiet $\\sum$ %{{yy}}")
MARKUP = (
    *("<script", "<img", "[press]", "$\\sum$", *WORDS),
    *(":cat:", "$x$", "`one`", "[two]", "<i>last", "**Reviews**", "<u>of", "$films$", ":smile:"),
)
COLUMN = "<script>text"
PAGES = [
    ("overview", {}),
    *(("layers", {"show": show}) for show in ("direction", "cosines", "similarity", "sample")),
    *(("tokens", {"show": show}) for show in ("words", "shift", "groups", "output")),
    ("difference", {}),
    ("status", {}),
    ("docs", {"page": "<script>"}),
    *(("probes", {"show": show}) for show in ("curves", "reviews", "linear", "inherited")),
    *(("swaps", {"mode": mode}) for mode in ("single", "patching", "steering")),
    ("features", {}),
    *(("review", {"text": f"The script drags. {TEXTS[0]}", "show": show}) for show in ("curves", "words", "nearest")),
    ("tokens", {"search": "<script>", "epoch": "<img src=x onerror=alert(1)>"}),
]


def dress(world: World) -> None:
    """Markup wherever a study can hold words of somebody's own; heads answer, so that words need not be tokens."""
    world.make_encoder()
    study = world.studies["film"]
    assert isinstance(study, Study)
    table = study.folder / "reviews.csv"
    header, *rows = table.read_text().splitlines()
    dressed = [row.replace('"', f'"{TEXTS[i // 2 % 2]} ', 1) for i, row in enumerate(rows)]
    table.write_text("\n".join([header.replace("text", COLUMN), *dressed]))
    named = zip(study.checkpoints, LABELS, strict=True)
    world.studies["film"] = study.model_copy(
        update={
            "title": TITLE,
            "dataset": study.dataset.model_copy(update={"text": COLUMN}),
            "prompt": study.prompt.model_copy(update={"label_words": WORDS}),
            "checkpoints": tuple(ref.model_copy(update={"label": label}) for ref, label in named),
        }
    )


class Tags(HTMLParser):
    """The tags and attributes of HTML that a page writes itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img" and [name for name, _ in attrs] == ["alt", "src"]:
            assert str(dict(attrs)["src"]).startswith("data:image/svg+xml;base64,")  # a drawing of the project's own
        else:
            self.found |= {tag, *(name for name, _ in attrs)}


def rendered(test: AppTest) -> list[str]:
    """Every text on the page that Streamlit reads as markdown: elements, labels of widgets, choices."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "info", "warning", "error", "success")
    elements: list[Any] = [one for kind in kinds for one in test.get(kind)]
    found = [str(one.value) for one in elements]
    widgets: list[Any] = [*test.button, *test.selectbox, *test.select_slider, *test.toggle, *test.expander, *test.tabs]
    found += [str(one.label) for one in widgets]
    for group in test.get("button_group"):
        found += [option.content for option in group.proto.options]
    return found


@pytest.mark.parametrize(("page", "address"), PAGES, ids=lambda value: value if isinstance(value, str) else str(value))
def test_words_of_somebody_are_no_markup(opens: Opens, world: World, page: str, address: dict[str, str]):
    dress(world)
    test = opens(page, **address)
    for text in rendered(test):
        assert [mark for mark in MARKUP if mark in re.sub(r"\\.", "", text)] == [], text
    for html in [one.proto.body for one in test.get("html")]:
        assert Tags(html).found <= {"style", "div", "span", "p", "b", "br", "title", "class"}, html[:400]
    for key, spec in charts(test).items():
        assert [mark for mark in IN_PLOTS if mark in spec.replace("\\u003c", "<").replace("\\u003e", ">")] == [], key


def test_words_are_there_to_be_read(opens: Opens, world: World):
    dress(world)
    test = opens("overview")
    shown = " ".join(rendered(test))
    assert r"\*\*bad\*\*" in shown and r"\<b\>good" in shown
    assert any("&lt;b&gt;good" in spec.replace("\\u0026", "&") for spec in charts(test).values())
