"""A template and its fields."""

from __future__ import annotations

import pytest

from backend.study.template import order, problem, split

NLI = "Given {premise}, is {hypothesis} true?"


def test_a_template_is_what_stands_around_its_fields() -> None:
    assert split("Review: {text} {x}:", ("text",)) == ("Review: ", " {x}:")
    assert split(NLI, ("hypothesis", "premise")) == ("Given ", ", is ", " true?")
    assert split("{a+b}{c}", ("a+b", "c")) == ("", "", "")
    assert order(NLI, ("hypothesis", "premise")) == (1, 0)


@pytest.mark.parametrize(
    ("template", "fields", "message"),
    [
        (NLI, ("premise", "hypothesis"), None),
        ("{text} {context}", ("context", "text"), None),
        ('{"text": "{a}", "pair": "{b}"}', ("a", "b"), None),
        (NLI, ("premise", "premise"), "lists a column twice"),
        ("{text}", ("premise", "hypothesis"), "use {premise} and {hypothesis} instead"),
        ("{premise}", ("premise", "hypothesis"), "has no {hypothesis}; put {hypothesis} where the text of column"),
        (NLI + "{premise}", ("premise", "hypothesis"), "has {premise} more than once"),
        (NLI, ("text",), "has no {text}; put {text} where the text goes"),
    ],
)
def test_each_field_stands_in_it_once(template: str, fields: tuple[str, ...], message: str | None) -> None:
    error = problem(template, fields)
    assert error is None if message is None else error is not None and message in error
