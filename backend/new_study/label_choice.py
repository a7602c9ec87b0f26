"""Choose the label values of a new study by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backend.errors import DatasetError
from backend.study.tables.columns import label_values

MOST_SHOWN = 20


def choose(labels: Sequence[str], values: Sequence[Any], words: Sequence[str] | None, source: str) -> list[Any]:
    """Return the `values` that `labels` names, in the order of `labels`.

    Raises DatasetError if a value is absent or listed twice, or if `words` lists them in another order.
    """
    matches = [[value for value in values if len(label_values([value, label])) == 1] for label in labels]
    absent = [label for label, equal in zip(labels, matches, strict=True) if not equal]
    if absent:
        known = ", ".join(map(str, values[:MOST_SHOWN]))
        raise DatasetError(f"{source} has no value {', '.join(absent)}; choose labels from {known}.")
    if len({str(equal[0]) for equal in matches}) < len(labels):
        raise DatasetError(f"The labels {', '.join(labels)} list a value twice; list each value once.")
    if words and set(words) == set(labels) and list(words) != list(labels):
        raise DatasetError("Labels and label words list the same classes in different orders; use the same order.")
    return [equal[0] for equal in matches]
