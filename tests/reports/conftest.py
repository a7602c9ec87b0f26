"""A study that findings are asked about, and what one of them says of given results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from backend.reports.evidence import Asks, Finding
from backend.study.comparison import Comparison, compared
from tests.fakes import fake_study

REVIEWS = 200


def case_of(classes: int = 2, reference: str = "base", reviews: int = REVIEWS, epochs: int = 3) -> Comparison:
    study = fake_study(classes=classes, reviews=reviews, epochs=epochs)
    return compared(study, study.checkpoint(reference))


def said(finding: Callable[[Comparison], Asks], case: Comparison, results: Sequence[Any]) -> Finding | None:
    """What a finding says about these results."""
    running = finding(case)
    assert len(next(running)) == len(results)
    with pytest.raises(StopIteration) as end:
        running.send(list(results))
    return end.value.value


class Still:
    """UMAP that leaves every point where it started."""

    def __init__(self, init: np.ndarray, **_: object) -> None:
        self.init = init

    def fit_transform(self, _: np.ndarray) -> np.ndarray:
        return self.init


@contextmanager
def silently(_: str) -> Iterator[Callable[[float, str], None]]:
    yield lambda fraction, sentence: None
