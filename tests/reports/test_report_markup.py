"""A user's words in the HTML report: what looks like markdown or HTML in them is shown as it stands."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest

from backend.reports.export import Viewpoint
from backend.reports.report import report
from backend.study.classes import ClassNames
from backend.study.pinned import Missing, PinnedStudy
from tests.fakes import FakeModels, fake_lab, fake_study
from tests.markup import IMAGE, IN_PLOTS, LINK, SCRIPT, TITLE
from tests.reports.conftest import Still, silently

WORDS = ("**bad**", "**<b>good</b>**")
LABELS = (f":cat: $x$ {SCRIPT}", f"`one` [two](http://three) {IMAGE}", "**end** <i>last</i> %{zz}")
GONE = "**gone** <s>epoch</s> _1_ a\\b"
TEXTS = (f"**loud** <em>film</em> %{{yy}} {SCRIPT} ", f"\\*quiet\\* &lt;film&gt; {LINK} {IMAGE} ")
MANGLED = (*(f"\\{sign}" for sign in "<[]`$:#|~_"), "&lt;b", "&lt;i", "&lt;u", "&lt;s", "&amp;", "\u2060")
"""What escaping for another place, or twice, leaves in the text that is read; the texts have `\\*` of their own."""


class Reading(HTMLParser):
    """What is read of a page: its text outside of scripts, what is bold, labels of pictures, and the pictures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.bold: list[str] = []
        self.spoken: list[str] = []
        self.pictures: list[dict[str, Any]] = []
        self.scripts: list[str] = []
        self._script = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._script = str(given.get("type", "code")) if tag in ("script", "style") else ""
        self.spoken += [str(given[key]) for key in ("aria-label", "title", "alt") if key in given]

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")
        self._script = ""

    def handle_data(self, data: str) -> None:
        if self._script == "application/json":
            self.pictures.append(json.loads(data))
        elif self._script == "code":
            self.scripts.append(data)
        elif not self._script:
            self.texts.append(data)
            if self.tags[-1:] == ["strong"]:
                self.bold.append(data)


def dressed(study: PinnedStudy) -> PinnedStudy:
    """The study with markup in its title, label words, labels, reasons and texts."""
    definition = study.study
    named = dict(zip((one.label for one in study.checkpoints[1:]), LABELS, strict=False))
    checkpoints = tuple(
        replace(one, ref=one.ref.model_copy(update={"label": named.get(one.label, one.label)}))
        for one in study.checkpoints
    )
    refs = tuple(one.ref for one in checkpoints[1:])
    definition = definition.model_copy(
        update={
            "title": TITLE,
            "checkpoints": (*refs, refs[0].model_copy(update={"label": GONE})),
            "prompt": definition.prompt.model_copy(update={"label_words": WORDS}),
        }
    )
    texts = tuple(f"{TEXTS[i % 2]}{text}" for i, text in enumerate(study.sample.text))
    return replace(
        study,
        study=definition,
        sample=replace(study.sample, text=texts),
        checkpoints=checkpoints,
        missing=(Missing(GONE, f"{GONE} does not exist."),),
        classes=tuple(ClassNames(str(c), None, word) for c, word in enumerate(WORDS)),
        warnings=(f"{LABELS[0]} and {LABELS[1]} hold the same weights.",),
    )


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    models = FakeModels(layers=3, width=10)
    study, lab = fake_study(models=models, epochs=3, reviews=24), fake_lab(tmp_path_factory.mktemp("lab"), models)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Still))  # the real one compiles for a minute
        return Reading(report(dressed(study), lab, silently, Viewpoint()))


def test_no_word_of_a_user_is_a_tag(read: Reading):
    ours = {"html", "head", "meta", "title", "style", "body", "header", "h1", "p", "nav", "a", "noscript", "main"}
    ours |= {"small", "span", "br", "section", "details", "summary", "h2", "div", "ul", "li", "strong", "script"}
    ours |= {"table", "thead", "tbody", "tr", "th", "td"}
    assert {tag.removeprefix("/") for tag in read.tags} == ours


def test_nothing_of_a_user_runs(read: Reading):
    assert [name for name, _ in read.attributes if name.startswith("on")] == []
    links = [value for name, value in read.attributes if name in ("href", "src", "action")]
    assert [link for link in links if not link.startswith("#")] == []
    assert read.scripts and not any("alert(1)" in script for script in read.scripts)


def test_no_word_of_a_user_is_bold(read: Reading):
    named = {one for one in read.bold if "<" in one or "*" in one or "`" in one}
    whole = {*WORDS, *LABELS, GONE}
    assert named <= whole | {f"Where it fires most in {label}" for label in LABELS}
    assert {LABELS[2], GONE} <= named
    assert not {"bad", "end", "gone", "loud", "Reviews", " "} & set(read.bold)


def test_words_stand_as_they_are_typed(read: Reading):
    whole = "\n".join(read.texts)
    for typed in (*WORDS, *LABELS, TITLE, GONE):
        assert typed in whole, typed
    for text in read.texts:
        assert [mark for mark in MANGLED if mark in text] == [], text


def test_pictures_are_named_as_they_are_titled(read: Reading):
    assert any(LABELS[2] in one for one in read.spoken)
    for text in read.spoken:
        assert [mark for mark in (*MANGLED, "<br>") if mark in text] == [], text


def test_plotly_finds_no_markup_of_a_user(read: Reading):
    assert len(read.pictures) > 30
    whole = [json.dumps(one, ensure_ascii=False) for one in read.pictures if "layout" in one]
    for one in whole:
        assert [mark for mark in (*IN_PLOTS, "<em>film", "%{yy}") if mark in one] == [], one[:400]
    for mark in ("&lt;b&gt;good", "&lt;i&gt;last", "&lt;em&gt;film"):
        assert any(mark in one for one in whole), mark
    assert not any(mark in one for one in whole for mark in ("&amp;lt;b", "&amp;lt;i", "\\*end", "\\*bad"))
