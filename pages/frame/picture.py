"""Show a picture or table as every page does: drawn, with its reading guide and its downloads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import streamlit as st

from backend.caching.memoize import Request
from backend.figures.style import following, scrubber, theme
from backend.figures.style.guide import Guide
from backend.reports import export
from backend.study.checkpoint import PinnedCheckpoint
from backend.vocabulary.markdown import plain
from pages.frame import documentation, painted, scrubbing, terms, zoom
from pages.frame.shell import View

Rows = Callable[[], Iterable[dict[str, Any]]]
"""Makes the tidy rows of a picture, when the user downloads them."""


def without_head(checkpoints: Iterable[PinnedCheckpoint]) -> None:
    """Say which checkpoints are left out because they have no head to answer with."""
    without = [checkpoint for checkpoint in checkpoints if not checkpoint.facts.replies]
    names = [plain(one.label) for one in without]
    if len(names) == 1:
        st.caption(f"{names[0]} is {without[0].facts.headless} and answers nothing, so it is left out.")
    elif names:
        st.caption(f"Models without a classification head answer nothing, so they are left out: {', '.join(names)}.")


def rows(requests: Sequence[Request[Any]], results: Sequence[Any]) -> Rows:
    """The rows that `export` writes of the results of these requests."""
    return lambda: [
        row for request, result in zip(requests, results, strict=True) for row in result.rows(request.query)
    ]  # made late: a picture of all layers has thousands


def show(
    view: View,
    drawn: Mapping[str, Any],
    guide: Guide,
    rows: Rows,
    analysis: str | None,
    picks: Mapping[str, Callable[[], None]] | None = None,
    layer: int | None = None,
) -> None:
    """Show pictures side by side, by key, and below them the reading guide and the downloads.

    `rows` are the numbers in them. `analysis` names the analysis that exports the same numbers on the command line,
    at `layer` if it is about one layer; None if there is none. `picks` are callbacks for a click on a point.
    """
    first = next(iter(drawn))
    if not painted.has_turn(first):
        return
    picks = picks or {}
    with st.container(horizontal=True, key=f"pair-{first}"):
        for key, figure in drawn.items():
            with st.container(key=f"side-{key}"):
                zoom.apply(key, figure)
                selects: dict[str, Any] = {"on_select": picks[key], "selection_mode": "points"} if key in picks else {}
                alt = f"{figure.layout.title.text}. {guide.short}"
                st.plotly_chart(figure, key=key, config=theme.plot_config(_file(view, key)), alt=alt, **selects)
                if figure.layout.uirevision is not None:
                    zoom.watch(key, figure.layout.uirevision)
    title = f"{view.study.study.title}: {view.both}"
    _below(
        view,
        first,
        guide,
        rows,
        analysis,
        layer,
        lambda: theme.standalone(map(following.without_film, drawn.values()), title, guide.text),
    )


def moving(
    view: View,
    data: Mapping[str, Any],
    guide: Guide,
    rows: Rows,
    analysis: str,
    picks: Callable[[int], None],
    chosen: int | None,
) -> None:
    """Show points that move with the epoch in the browser, with the guide and downloads of `show`.

    `picks` gets the position of a review that was clicked; `chosen` is the position of the one to ring.
    """
    key = data["key"]
    if not painted.has_turn(key):
        return
    scrubbing.mount(view, data, chosen, int(view.value("layer")), _file(view, key), picks)
    start = {"epoch": view.checkpoint.label, "reference": view.reference.label}
    title = f"{view.study.study.title}: {view.both}"
    _below(
        view,
        key,
        guide,
        rows,
        analysis,
        None,
        lambda: scrubber.standalone(data, start, title, guide.text),
        "As PNG: the button at the right of the slider.",
    )


def unfinished(figure: Any, key: str, progress: str) -> None:
    """Show a picture of work that is under way, and a sentence on its progress, without downloads."""
    st.plotly_chart(figure, key=key, config=theme.PLOT_CONFIG, alt=f"{figure.layout.title.text}. {progress}")
    st.caption(progress)


def table(
    view: View,
    key: str,
    cells: Sequence[Mapping[str, Any]],
    guide: Guide,
    rows: Rows,
    analysis: str | None,
    height: int | None = None,
    widths: Mapping[str, int] | None = None,
) -> None:
    """Show a table with the guide and downloads of `show`: `cells` are displayed, `rows` are downloaded.

    With a height the table can be scrolled, sorted and searched; `widths` sets the widths of its columns.
    """
    if height is None:
        st.table([*cells])
    else:
        st.dataframe(
            [*cells],
            height=height,
            hide_index=True,
            key=f"table-{key}",
            column_config={name: st.column_config.Column(width=width) for name, width in (widths or {}).items()},
        )
    _below(view, key, guide, rows, analysis)


def writing(view: View, key: str, texts: Sequence[str], guide: Guide, rows: Rows, analysis: str | None = None) -> None:
    """Show texts of the project's own HTML side by side, with the guide and downloads of `show`."""
    with st.container(horizontal=True, key=f"pair-{key}"):
        for i, text in enumerate(texts):
            with st.container(key=f"side-{key}-{i}"):
                st.html(text)
    _below(view, key, guide, rows, analysis)


def _below(
    view: View,
    key: str,
    guide: Guide,
    rows: Rows,
    analysis: str | None,
    layer: int | None = None,
    page: Callable[[], str] | None = None,
    png: str = "As PNG: the camera at the picture's upper right.",
) -> None:
    """Show the guide and the downloads. The menu is filled when it is opened, files are made on request.

    `page` makes the picture as a page of HTML, `png` says how to get it as PNG. In a new session they come
    once the picture is painted.
    """
    place = st.container(horizontal=True, key=f"guide-{key}", vertical_alignment="top")
    if not painted.already():
        return  # what stands further down keeps its place: a progress bar there is drawn by itself
    with place:
        st.caption(terms.html(guide.short), width="stretch", unsafe_allow_html=True)
        about = f"analyses/{analysis}"
        if guide.more or about in documentation.PAGES:
            with st.popover("How to read this", key=f"read-{key}", icon=":material/help:"):
                st.markdown(terms.html(guide.more), unsafe_allow_html=True)
                if about in documentation.PAGES:
                    st.page_link(
                        documentation.SHOWN_BY, label="Formula, source and an example", query_params={"page": about}
                    )
        with st.popover("Download", key=f"take-{key}", on_change="rerun", icon=":material/download:") as menu:
            if menu.open:
                _downloads(view, key, rows, page, png)
                _command(view, analysis, layer)


def _downloads(view: View, key: str, rows: Rows, page: Callable[[], str] | None, png: str) -> None:
    name = _file(view, re.sub(r"-\d+$", "", key))  # of a pair, the number of the first
    wide: dict[str, Any] = {"on_click": "ignore", "width": "stretch"}
    st.download_button(
        "Numbers (CSV)", lambda: export.csv_text([*rows()]), f"{name}.csv", "text/csv", key=f"csv-{key}", **wide
    )
    if page is None:
        return
    st.download_button("Picture for a browser (HTML)", page, f"{name}.html", "text/html", key=f"html-{key}", **wide)
    st.caption(png)


def _command(view: View, analysis: str | None, layer: int | None) -> None:
    """Show the command that exports the same numbers."""
    if analysis is None:
        return
    st.caption("The same numbers, with those of all checkpoints, on the command line:")
    reference = {} if view.reference == view.study.base else {"reference": view.reference.label}
    viewpoint = export.Viewpoint(drop_largest=view.drop_largest, layer=layer, **reference)
    st.code(export.command(view.study.study.name, analysis, viewpoint), language="bash", wrap_lines=True)


def _file(view: View, key: str) -> str:
    """Return the name of a file without its ending: study, picture, checkpoint and reference."""
    parts = [view.study.study.name, key, *(checkpoint.label for checkpoint in reversed(view.pair))]
    if view.drop_largest:
        parts.append(f"without {view.drop_largest} largest")
    return re.sub(r"[^\w.+-]+", "-", "-".join(parts)).strip("-.")[:120]
