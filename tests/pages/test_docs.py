"""The documentation inside the dashboard: every page opens, and every link of it leads to a page that exists."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from pages.frame import documentation, terms
from tests.pages.conftest import Opens


def test_a_page_is_chosen_by_the_address(opens: Opens):
    test = opens("docs", page="analyses/similarity")
    assert any("debiased linear centred kernel alignment" in one.value for one in test.markdown)
    assert test.selectbox(key="page").value == "analyses/similarity"


def test_the_start_lists_the_pages_and_an_unknown_page_gets_a_sentence(opens: Opens):
    assert "(docs?page=tour)" in " ".join(one.value for one in opens("docs").markdown)
    assert "nowhere" in opens("docs", page="../../nowhere").warning[0].value


def test_the_glossary_explains_every_term(opens: Opens):
    (said,) = [one.value for one in opens("docs", page="glossary").markdown if "CKA" in one.value]
    assert "**CKA**: " in said and "(docs?page=analyses/similarity)" in said


@pytest.mark.parametrize("page", documentation.PAGES)
def test_links_lead_to_pages_and_pictures_are_there(page: str):
    for part in documentation.parts(page):
        if not isinstance(part, str):
            assert Path(part[0]).is_file()
            continue
        for to in re.findall(r"\]\(([^)\s]+)\)", part):
            asked = parse_qs(urlsplit(to).query).get("page", [""])[0]
            assert to.startswith(("http", "mailto")) or asked in documentation.PAGES, to


def test_a_term_explains_itself_and_the_rest_of_the_text_is_no_markup():
    said = terms.html("The gap of <b>host</b> *x*")
    assert said.count('class="term" tabindex="0"') == 2 and 'role="tooltip"' in said
    assert r"\<b\>" in said and r"\*x\*" in said
