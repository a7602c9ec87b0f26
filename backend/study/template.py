"""Templates and the placeholders in them."""

from __future__ import annotations

import re
from collections.abc import Sequence


def columns(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns in dataset.text: one, or those of a pair."""
    return (text,) if isinstance(text, str) else text


def split(template: str, fields: Sequence[str]) -> tuple[str, ...]:
    """Split the template into the parts before, between and after its fields."""
    return tuple(re.split("|".join(re.escape(f"{{{name}}}") for name in fields), template))


def order(template: str, fields: Sequence[str]) -> tuple[int, ...]:
    """Return the positions of the fields in template order."""
    return tuple(sorted(range(len(fields)), key=lambda i: template.index(f"{{{fields[i]}}}")))


def problem(template: str, fields: Sequence[str]) -> str | None:
    """Return the error of a template without each field exactly once; None if it is valid."""
    if len(set(fields)) < len(fields):
        return "dataset.text lists a column twice; name each column of a pair once."
    if len(fields) > 1 and "text" not in fields and "{text}" in template:
        names = " and ".join(f"{{{name}}}" for name in fields)
        return f"prompt.template has {{text}}, but dataset.text lists several columns; use {names} instead."
    for name in fields:
        where = "the text goes" if len(fields) == 1 else f"the text of column {name} goes"
        if f"{{{name}}}" not in template:
            return f"prompt.template has no {{{name}}}; put {{{name}}} where {where}."
        if template.count(f"{{{name}}}") > 1:
            return f"prompt.template has {{{name}}} more than once; leave it in one place."
    return None
