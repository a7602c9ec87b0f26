"""Pictures as every page shows them: drawn, explained in a sentence, and there to be taken along."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import streamlit as st

from backend.figures import _theme
from backend.reports import export
from pages._frame import View

Rows = Callable[[], Iterable[dict[str, Any]]]
"""Tidy rows of what a picture shows, made when somebody downloads them."""


def show(
    view: View,
    drawn: Mapping[str, Any],
    guide: str,
    rows: Rows,
    analysis: str | None,
    picks: Mapping[str, Callable[[], None]] | None = None,
) -> None:
    """One picture, or several side by side, by key; below them the reading guide and the downloads.

    `rows` are the numbers in them, `analysis` names what exports the same numbers on the command line (None: nothing
    does), `picks` has callbacks for the points of pictures that can be selected.
    """
    first = next(iter(drawn))
    picks = picks or {}
    with st.container(horizontal=True, key=f"pair-{first}"):
        for key, figure in drawn.items():
            with st.container(key=f"side-{key}"):
                selects: dict[str, Any] = {"on_select": picks[key], "selection_mode": "points"} if key in picks else {}
                st.plotly_chart(figure, key=key, config=_theme.PLOT_CONFIG, **selects)
    with st.container(horizontal=True, key=f"guide-{first}"):
        st.caption(guide)
        _downloads(view, first, drawn, guide, rows, analysis)


def _downloads(view: View, key: str, drawn: Mapping[str, Any], guide: str, rows: Rows, analysis: str | None) -> None:
    """What can be taken along; its contents are made when it is opened, and the files when they are asked for."""
    with st.popover("Download", key=f"take-{key}", on_change="rerun", icon=":material/download:") as menu:
        if not menu.open:
            return
        name = f"{view.study.study.name}-{key}"
        st.download_button(
            "Numbers (CSV)", lambda: export.csv_text(list(rows())), f"{name}.csv", "text/csv", key=f"csv-{key}"
        )
        st.download_button(
            "Picture to open in a browser (HTML)",
            lambda: _theme.standalone(list(drawn.values()), view.study.study.title, guide),
            f"{name}.html",
            "text/html",
            key=f"html-{key}",
        )
        st.caption("As PNG: the camera at the picture's upper right.")
        if analysis is not None:
            st.caption("The same numbers, on the command line:")
            st.code(f"python -m backend export {view.study.study.name} --out out --only {analysis}", language="bash")


if __name__ == "__main__":  # a fresh server takes every file here for a page, until the application has run once
    import app

    app.main()
