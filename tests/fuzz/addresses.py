"""Addresses of pages with any keys and values, tried on the pages' own choices without drawing their pictures."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

SCRIPT = """
import streamlit as st
from pages.frame import address
from tests.fuzz.addresses import CHOICES

for key, choice in CHOICES.items():
    address.check(key, choice)
    value = address.value(key, choice)
    assert isinstance(value, str)
    if isinstance(choice, address.Text):
        assert len(value) <= choice.most
        address.text_box(key, key, choice)
    else:
        assert value in choice.options
        address.widget(st.selectbox, key, key, choice)
"""


def _choices() -> dict[str, Any]:
    """The choices of every page on a fake study."""
    from pages import difference, docs, features, layers, overview, probes, review, swaps, tokens
    from tests.fakes import fake_study

    study, found = fake_study(), {"page": docs.PAGE}
    for module in (overview, layers, tokens, probes, swaps, features, difference, review):
        found |= module.choices(study)
    return found


CHOICES = _choices()
VALUES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["-1", "1e9", "²", "٣", "NaN", "<script>", "../..", "long-0123456789abcdef", "", " ", "x" * 3000, "\x00"]
    ),
    st.sampled_from(sorted({option for choice in CHOICES.values() for option in choice.options})),
)
CASES = st.dictionaries(
    st.sampled_from(sorted(CHOICES)) | st.text(min_size=1, max_size=5), VALUES, min_size=1, max_size=6
)


def run(case: dict[str, str]) -> None:
    """Open the address; every page must draw, with a sentence for each value that it does not know."""
    test = AppTest.from_string(SCRIPT, default_timeout=60)
    for key, value in case.items():
        test.query_params[key] = value
    test.run()
    assert [one.value for one in test.exception] == [], case
    for key, choice in CHOICES.items():
        known = key not in case or not choice.options or case[key] in choice.options
        assert known or test.warning, (key, case[key])
