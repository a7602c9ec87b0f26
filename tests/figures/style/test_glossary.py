"""Terms are found in guides, once each, and lead to pages that exist."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.figures.style import glossary
from pages.frame import documentation

WORDS = st.sampled_from([*[term.name for term in glossary.TERMS], "and", "gaps", "headless", "x_host", "<b>", "  "])


def terms(text: str) -> list[str]:
    return [piece for piece, term in glossary.split(text) if term is not None]


def test_a_term_is_marked_where_it_first_appears():
    text = "The gap of the host, and its gap again; headless models have none. CKA ignores scale."
    assert terms(text) == ["gap", "host", "CKA"]


def test_the_longest_form_wins_and_case_is_kept():
    assert terms("Linear probes read residuals.") == ["Linear probes", "residuals"]
    assert terms("Balanced accuracy with 95 % intervals") == ["Balanced accuracy", "95 % intervals"]


@given(st.lists(WORDS).map(" ".join))
def test_no_sign_of_a_text_is_lost(text: str):
    assert "".join(piece for piece, _ in glossary.split(text)) == text


def test_every_term_leads_to_a_page_and_has_one_meaning():
    assert {term.page for term in glossary.TERMS} <= documentation.PAGES.keys()
    forms = [form.lower() for term in glossary.TERMS for form in (term.name, *term.forms)]
    assert len(forms) == len(set(forms))
    assert all(len(term.meaning.split()) <= 20 and term.meaning.endswith(".") for term in glossary.TERMS)
