"""The comparison of a checkpoint with a reference, for pages, reports and the command line."""

from __future__ import annotations

from dataclasses import dataclass

from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.steps import steps_along


@dataclass(frozen=True, eq=False)
class Comparison:
    """A study, its reference, the chosen checkpoint, and the number of excluded dimensions.

    The `drop_largest` dimensions of largest mean |activation| in the reference are excluded at every layer.
    """

    study: PinnedStudy
    reference: PinnedCheckpoint
    checkpoint: PinnedCheckpoint
    drop_largest: int = 0

    @property
    def names(self) -> list[str]:
        """Return the labels of the checkpoints that could be loaded, the base first."""
        return [checkpoint.label for checkpoint in self.study.checkpoints]

    @property
    def steps(self) -> tuple[int | None, ...] | None:
        """Return the steps of these checkpoints; None if they are unknown."""
        return steps_along(self.study, self.study.checkpoints)

    @property
    def words(self) -> tuple[str, ...]:
        """Return the label words, or without these the names of the classes, in class order."""
        return self.study.words

    @property
    def pair(self) -> tuple[PinnedCheckpoint, ...]:
        """Return reference and chosen checkpoint, or the reference alone if they are the same."""
        return (self.reference,) if self.reference == self.checkpoint else (self.reference, self.checkpoint)

    @property
    def against(self) -> int:
        """Return the position of the reference."""
        return self.place(self.reference)

    @property
    def last(self) -> int:
        """Return the position of the last epoch other than the reference, or of the reference if it is alone."""
        others = [epoch for epoch in self.study.epochs if epoch.label != self.reference.label]
        return self.place(others[-1]) if others else self.against

    def place(self, checkpoint: PinnedCheckpoint) -> int:
        """Return the position of a checkpoint in the study."""
        return self.names.index(checkpoint.label)

    def of_class(self, c: int) -> dict[str, str]:
        """Return the query parameter that selects class `c`, empty with two classes."""
        return {} if len(self.words) == 2 else {"class": self.words[c]}


def compared(study: PinnedStudy, reference: PinnedCheckpoint, drop_largest: int = 0) -> Comparison:
    """Compare the last epoch with the reference."""
    comparison = Comparison(study, reference, reference, drop_largest)
    return Comparison(study, reference, study.checkpoints[comparison.last], drop_largest)
