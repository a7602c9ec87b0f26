"""A template and its fields: where in it the texts go."""

from __future__ import annotations

import re
from collections.abc import Sequence


def columns(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """The columns that dataset.text names: one, or those of a pair."""
    return (text,) if isinstance(text, str) else text


def split(template: str, fields: Sequence[str]) -> tuple[str, ...]:
    """The template around its fields: what stands before the first, between them, and after the last."""
    return tuple(re.split("|".join(re.escape(f"{{{name}}}") for name in fields), template))


def order(template: str, fields: Sequence[str]) -> tuple[int, ...]:
    """The fields, by position, in the order in which the template has them."""
    return tuple(sorted(range(len(fields)), key=lambda i: template.index(f"{{{fields[i]}}}")))


def problem(template: str, fields: Sequence[str]) -> str | None:
    """Why the template does not have each field once, in a sentence; None where it does."""
    if len(set(fields)) < len(fields):
        return "dataset.text lists a column twice; name each column of a pair once."
    if len(fields) > 1 and "text" not in fields and "{text}" in template:
        names = " and ".join(f"{{{name}}}" for name in fields)
        return f"prompt.template has {{text}} and dataset.text lists several columns; put {names} where their texts go."
    for name in fields:
        where = "the text goes" if len(fields) == 1 else f"the text of column {name} goes"
        if f"{{{name}}}" not in template:
            return f"prompt.template has no {{{name}}}; put {{{name}}} where {where}."
        if template.count(f"{{{name}}}") > 1:
            return f"prompt.template has {{{name}}} more than once; leave it in one place."
    return None
