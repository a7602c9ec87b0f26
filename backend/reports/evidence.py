"""What findings are made of: the study that is asked about, and the sentence that comes out."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from backend.analyses import accuracy, confounds, direction
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy

Wanted = list[tuple[Any, Any]]
Asks = Generator[Wanted, list[Any], "Finding | None"]
"""What a finding is: it yields the (recipe, query) pairs that it needs, is sent results, returns its sentence."""


@dataclass(frozen=True)
class Finding:
    """One sentence in plain text, its number with the 95 % interval, and where it is shown.

    A number that is exact (weights, counts) has the range of what it is compared with instead, or None. `page` is the
    path of the page that shows it ("" is the overview), `keys` what its address says.
    """

    sentence: str
    value: float
    low: float | None
    high: float | None
    page: str
    keys: dict[str, str] = field(default_factory=dict)
    warning: bool = False


@dataclass(frozen=True, eq=False)
class Case:
    """What is asked about: a study, the checkpoint that the others are compared with, dimensions to leave out."""

    study: PinnedStudy
    reference: PinnedCheckpoint
    drop_largest: int = 0

    @property
    def names(self) -> list[str]:
        """Labels of the checkpoints, in order."""
        return [one.label for one in self.study.checkpoints]

    @property
    def words(self) -> tuple[str, ...]:
        """The label words, in class order."""
        return self.study.study.prompt.label_words

    @property
    def last(self) -> int:
        """Position of the last epoch that is not the reference, or of the reference if it is alone."""
        others = [one.label for one in self.study.epochs if one.label != self.reference.label]
        return self.names.index(others[-1]) if others else self.against

    @property
    def against(self) -> int:
        """Position of the reference."""
        return self.names.index(self.reference.label)

    def of_class(self, c: int) -> dict[str, str]:
        """The key of an address that chooses class `c`, where there are more than two to choose from."""
        return {} if len(self.words) == 2 else {"class": self.words[c]}

    def answers(self) -> Wanted:
        """The accuracy of every checkpoint."""
        return [(accuracy.recipe, accuracy.Query(one, self.study.prompts)) for one in self.study.checkpoints]

    def directions(self) -> Wanted:
        """The direction of every checkpoint against the reference."""
        return [
            (direction.recipe, direction.Query(one, self.reference, self.study.prompts, self.drop_largest))
            for one in self.study.checkpoints
        ]

    def card(self) -> tuple[Any, confounds.Query]:
        """The sample card."""
        study = self.study
        return confounds.recipe, confounds.Query(study.checkpoints, study.prompts, study.sample, study.training)
