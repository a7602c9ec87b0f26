"""The label values that a new study uses, chosen by name from those of its data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backend.errors import DatasetError
from backend.study.tables.columns import label_values

MOST_SHOWN = 20


def choose(labels: Sequence[str], found: Sequence[Any], words: Sequence[str] | None, source: str) -> list[Any]:
    """The values of `found` that `labels` names, in its order.

    Raises DatasetError for a value that is not there or named twice, and where `words` names them in another order.
    """
    chosen = [[value for value in found if len(label_values([value, one])) == 1] for one in labels]
    absent = [one for one, values in zip(labels, chosen, strict=True) if not values]
    if absent:
        there = ", ".join(map(str, found[:MOST_SHOWN]))
        raise DatasetError(f"{source} has no value {', '.join(absent)}; choose labels from {there}.")
    if len({str(values[0]) for values in chosen}) < len(labels):
        raise DatasetError(f"The labels {', '.join(labels)} name a value twice; name each once.")
    if words and set(words) == set(labels) and list(words) != list(labels):
        raise DatasetError("Labels and label words name the same classes in different orders; use one order.")
    return [values[0] for values in chosen]
