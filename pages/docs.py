"""Show the documentation: every page of docs/, and the meaning of every term."""

from __future__ import annotations

import streamlit as st

from backend.figures.style import glossary
from backend.vocabulary.markdown import plain
from pages.frame import address, documentation, shell

choices = None
"""The page needs no study."""
GLOSSARY = "glossary"
PAGE = address.Choice([documentation.START, GLOSSARY, *sorted(documentation.PAGES)], documentation.START)


def draw(_: None) -> None:
    """Draw the page that the address names, below a box to choose another."""
    page = address.check("page", PAGE)
    address.widget(st.selectbox, "Page", "page", PAGE, format_func=_title, width=520)
    with st.container(width=860):
        if page == GLOSSARY:
            _glossary()
            return
        for part in documentation.parts(page):
            if isinstance(part, str):
                st.markdown(part)
            else:
                st.image(part[0], part[1])


def _title(page: str) -> str:
    return "Glossary" if page == GLOSSARY else documentation.title(page)


def _glossary() -> None:
    """Show every term with its meaning."""
    st.title("Glossary")
    lines = [f"**{plain(term.name)}**: {plain(term.meaning)} [More](docs?page={term.page})" for term in glossary.TERMS]
    st.markdown("\n\n".join(lines))


if __name__ == "__main__":
    shell.page(draw, needs_study=False)
