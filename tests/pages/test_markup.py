"""Somebody's words on every page: what looks like markdown or HTML in them is shown as it stands."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from backend.study.config import Study
from tests.markup import IN_PLOTS, TITLE
from tests.pages.conftest import Opens, World, charts

WORDS = ("**bad**", "<b>good</b>")
LABELS = (":cat: $x$", "`one` [two](http://three)", "<i>last</i> %{zz}")
MARKUP = (*WORDS, ":cat:", "$x$", "`one`", "[two]", "<i>last", "**Reviews**", "<u>of", "$films$", ":smile:")
PAGES = [
    ("overview", {}),
    *(("layers", {"show": show}) for show in ("direction", "cosines", "similarity", "sample")),
    *(("tokens", {"show": show}) for show in ("shift", "groups")),
    *(("probes", {"show": show}) for show in ("curves", "reviews", "linear", "inherited")),
    *(("swaps", {"mode": mode}) for mode in ("single", "patching", "steering")),
    ("features", {}),
    *(("review", {"text": "The script drags.", "show": show}) for show in ("words", "nearest")),
]


def dress(world: World) -> None:
    """Markup wherever a study can hold words of somebody's own; heads answer, so that words need not be tokens."""
    world.make_encoder()
    study = world.studies["film"]
    assert isinstance(study, Study)
    named = zip(study.checkpoints, LABELS, strict=True)
    world.studies["film"] = study.model_copy(
        update={
            "title": TITLE,
            "prompt": study.prompt.model_copy(update={"label_words": WORDS}),
            "checkpoints": tuple(ref.model_copy(update={"label": label}) for ref, label in named),
        }
    )


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
        assert [mark for mark in MARKUP if mark in text] == [], text
    for key, spec in charts(test).items():
        assert [mark for mark in IN_PLOTS if mark in spec.replace("\\u003c", "<").replace("\\u003e", ">")] == [], key


def test_words_are_there_to_be_read(opens: Opens, world: World):
    dress(world)
    test = opens("overview")
    shown = " ".join(rendered(test))
    assert r"\*\*bad\*\*" in shown and r"\<b\>good" in shown
    assert any("&lt;b&gt;good" in spec.replace("\\u0026", "&") for spec in charts(test).values())
