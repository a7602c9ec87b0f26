"""Draw the frame of every page: navigation, study, epoch slider, play button, errors."""

from __future__ import annotations

import functools
import runpy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from backend import wiring
from backend.caching.memoize import Request
from backend.errors import LayershiftError, StudyError
from backend.figures.style import theme
from backend.lab.lab import Lab
from backend.lab.pinning import pin
from backend.reports import summary
from backend.study.comparison import Comparison
from backend.study.config import Study
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, entry, following, links, marked, opening, painted, playing, saving, terms, work
from pages.frame.address import Choice

APP = Path(__file__).parents[2] / "app.py"
WATCH_SECONDS = 15
MASSIVE = {"with": 0, "without": 3}
"""The `massive` key of the address, and how many of the largest dimensions are left out."""
STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")


R = TypeVar("R")


@dataclass(frozen=True, eq=False, kw_only=True)
class View(Comparison):
    """The comparison that the address asks for, with what a page needs to draw it."""

    lab: Lab
    choices: Mapping[str, Choice] = field(repr=False)

    @property
    def both(self) -> str:
        """The two checkpoints as words of a title."""
        if self.checkpoint == self.reference:
            return f"{self.reference.label} alone"
        return f"{self.reference.label} and {self.checkpoint.label}"

    def value(self, key: str) -> str:
        """What the address says about the key, or its default."""
        return address.value(key, self.choices[key])

    def control(self, make: Callable[..., Any], label: str, key: str, **more: Any) -> str:
        """A widget for one key of the address; returns the value that the address has now."""
        address.widget(make, label, key, self.choices[key], **more)
        return self.value(key)

    def part(self, names: Mapping[str, str], key: str = "show") -> str:
        """Draw the row of parts of which a page shows one, with their names; return the chosen one."""
        more = {"required": True, "label_visibility": "collapsed"}
        return self.control(st.segmented_control, "View", key, format_func=names.__getitem__, **more)

    def results(self, requests: Sequence[Request[R]], what: str, beside: work.Beside = None) -> list[R] | None:
        """The results of requests, or None while they are computed with progress shown in their place."""
        return work.results(requests, self.lab, what, beside)


_inside: ContextVar[tuple[View | None] | None] = ContextVar("inside", default=None)


def page(draw: Callable[[Any], None], needs_study: bool = True) -> None:
    """Draw the page inside the frame, with its View (None if it needs no study); every page file ends with this.

    Until a fresh server has run app.py once, Streamlit takes the folder pages/ for pages of the old style and runs a
    deep link's file alone. The file then hands over to the application, which comes back to it.
    """
    frame = _inside.get()
    if frame is None:
        runpy.run_path(str(APP), run_name="__main__")
    elif frame[0] is not None or not needs_study:
        with _sentences():
            draw(frame[0])


@contextmanager
def _sentences() -> Iterator[None]:
    """Show errors that the user can fix; Streamlit logs all others."""
    try:
        yield
    except LayershiftError as error:
        st.error(plain(str(error)))


def section(draw: Callable[..., None]) -> Callable[..., None]:
    """Make a part of a page that reruns alone when one of its widgets moves."""

    @functools.wraps(draw)
    def guarded(*given: Any) -> None:
        with _sentences():
            draw(*given)

    return st.fragment(guarded)


def run(pages: Mapping[str, links.Page]) -> None:
    """The whole application: `pages` are by address; "" is the start page.

    A page's module has `choices`, the keys of its own in the address; None if it needs no study.
    """
    work.spare_the_collector()
    painted.begin()
    st.set_page_config(page_title="Layershift", layout="wide")
    st.html(f"<style>{STYLE}{terms.STYLE}</style>")
    known = {
        path: st.Page(page.file, title=page.title, url_path=path or None, default=not path)
        for path, page in pages.items()
    }
    chosen = st.navigation(list(known.values()), position="hidden")
    if not entry.admits():
        return
    module = next(pages[path] for path, one in known.items() if one == chosen).load()
    opening.wait_for_lab()
    top, rest = st.sidebar.container(), st.sidebar.container()
    view: View | None = None
    with _sentences():
        view = _resolve(module.choices, rest) if module.choices else None
    lacking = _lacking(view, pages)
    with top:
        links.to_pages(known.values(), lacking)
    if st.session_state.get("_page") != chosen.url_path:
        st.session_state["_page"] = chosen.url_path
        work.leave()
    token = _inside.set((view,))
    try:
        with work.showing():
            chosen.run()
    finally:
        _inside.reset(token)
    marked.show(chosen.url_path)
    if view is not None:
        links.remember(chosen.url_path)
        if painted.already():
            links.to_next(known, chosen.url_path, lacking, not view.study.lacks("classes"))
            _near(view, chosen.url_path)
            saving.mount(theme.literal(view.study.study.title))
            with rest:
                _sidebar(view)
    painted.mount()


def _lacking(view: View | None, pages: Mapping[str, links.Page]) -> dict[str, str]:
    """Return what the study lacks for each page that needs classes or answers, by path."""
    said = {path: view.study.lacks(page.needs) for path, page in pages.items() if view is not None and page.needs}
    return {path: sentence for path, sentence in said.items() if sentence}


def _resolve(own: Callable[[PinnedStudy], dict[str, Choice]], beside: Any) -> View:
    """Return the view of the address; `own` are the page's keys, `beside` is where the study picker goes."""
    results = wiring.studies()
    if not results:
        where = wiring.studies_folder()
        raise StudyError(
            f"There is no study in {where}. Add one on the page “Add a study”, or run `python -m backend new NAME`."
        )
    choice = Choice(list(results), wiring.first_of(results))
    name = address.check("study", choice)
    titles = {key: summary.listed(one) if isinstance(one, Study) else key for key, one in results.items()}
    with beside:
        address.widget(st.selectbox, "Study", "study", choice, format_func=titles.__getitem__)
    study = results[name]
    if isinstance(study, StudyError):
        raise study
    lab = replace(wiring.open_lab(), study=name)
    try:
        with st.spinner(f"Reading the study “{plain(study.title)}” …", show_time=True):
            if name == choice.default:
                opening.wait_for_study()
            pinned = pin(study, lab)
    except LayershiftError:
        st.text(summary.planned(study))
        raise
    return _view(pinned, lab, own(pinned))


def _view(pinned: PinnedStudy, lab: Lab, own: dict[str, Choice]) -> View:
    """Check every key of the address before its widget is made."""
    labels = [checkpoint.label for checkpoint in pinned.checkpoints]
    reasons = {missing.label: missing.reason.rstrip(".") for missing in pinned.missing}
    choices = {
        "epoch": Choice(labels, pinned.epochs[-1].label),
        "reference": Choice(labels, labels[0]),
        "massive": Choice(list(MASSIVE), "with"),
        **own,
    }
    said = {
        key: address.check(key, choice, reasons.get(st.query_params.get(key, "")) if key in links.KEPT else None)
        for key, choice in choices.items()
    }
    return View(
        study=pinned,
        lab=lab,
        checkpoint=pinned.checkpoint(said["epoch"]),
        reference=pinned.checkpoint(said["reference"]),
        drop_largest=MASSIVE[said["massive"]],
        choices=choices,
    )


def _near(view: View, path: str) -> None:
    """Keep the epoch in reach on a narrow screen, which folds the sidebar; the slider of the points does on Layers."""
    if len(view.names) > 1 and path != "layers":
        with st.container(key="near"):
            view.control(st.select_slider, "Epoch", "epoch", name="epoch-near", label_visibility="collapsed")


def _sidebar(view: View) -> None:
    """Show the controls of every page: epoch, reference, massive dimensions.

    Drawn after the page, which reads the address and needs no widget, and in a new session after its first picture:
    a browser draws all that has arrived before it shows anything.
    """
    if len(view.names) > 1:
        view.control(st.select_slider, "Epoch", "epoch", help="The checkpoint that all pictures show.")
        following.mount("epoch", view.names)
        if said := summary.step(view):
            st.caption(said)
        plays = [one.label for one in view.study.epochs if one != view.reference]
        if plays:
            playing.mount(view.names, plays, view.checkpoint.label)
        view.control(st.selectbox, "Compared with", "reference")
        if view.checkpoint == view.reference:
            st.caption("The epoch is the reference itself, so nothing is compared. Choose another epoch.")
    else:
        st.info(f"Only {plain(view.names[0])} could be loaded.")
    about = "Leaves out the three largest dimensions of the reference (on average) at every layer."
    address.switch("Without the three largest dimensions", "massive", view.choices["massive"], help=about)
    _watch(view)
    if view.lab.cache.note:
        st.caption(view.lab.cache.note)


@st.fragment(run_every=WATCH_SECONDS)
def _watch(view: View) -> None:
    """Show checkpoints that appear or change while the page is open, and those of a pattern, without a restart."""
    with _sentences():
        study = wiring.studies().get(view.study.study.name, view.study.study)
        if isinstance(study, StudyError):
            raise study
        if pin(study, view.lab).content != view.study.content:
            st.rerun()
