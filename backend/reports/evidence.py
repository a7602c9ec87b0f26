"""Define a finding, and the requests that several findings share."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.analyses import accuracy, confounds, direction
from backend.caching.memoize import Request
from backend.study.comparison import Comparison

Asks = Generator[Sequence[Request[Any]], list[Any], "Finding | None"]
"""A finding: it yields the requests that it needs, is sent their results, and returns its sentence."""


@dataclass(frozen=True)
class Finding:
    """One sentence in plain text, its number with the 95 % interval, and where it is shown.

    A number that is exact (weights, counts) has the range of what it is compared with instead, or None. `page` is the
    path of the page that shows it ("" is the overview), `keys` what its address says. `series` are the values that the
    number stands among (layers, blocks or checkpoints), `at` its place among them. `picture` is the key of the picture
    on that page.
    """

    sentence: str
    value: float
    low: float | None
    high: float | None
    page: str
    keys: dict[str, str] = field(default_factory=dict)
    warning: bool = False
    series: tuple[float, ...] = ()
    at: int = 0
    picture: str = ""


def accuracy_requests(comparison: Comparison) -> list[Request[accuracy.Result]]:
    """The accuracy of every checkpoint."""
    study = comparison.study
    return [accuracy.recipe.request(accuracy.Query(checkpoint, study.prompts)) for checkpoint in study.checkpoints]


def direction_requests(comparison: Comparison) -> list[Request[direction.Result]]:
    """The direction of every checkpoint against the reference."""
    study, reference, dropped = comparison.study, comparison.reference, comparison.drop_largest
    queries = [direction.Query(checkpoint, reference, study.prompts, dropped) for checkpoint in study.checkpoints]
    return [direction.recipe.request(query) for query in queries]


def card_request(comparison: Comparison) -> Request[confounds.Result]:
    """The sample card."""
    study = comparison.study
    return confounds.recipe.request(confounds.Query(study.checkpoints, study.prompts, study.sample, study.training))


def subject(label: str) -> str:
    """Return the label of a checkpoint as the first words of a sentence."""
    return label.capitalize() if label.split(" ", maxsplit=1)[0] in ("base", "step", "epoch") else f"Checkpoint {label}"
