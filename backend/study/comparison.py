"""A checkpoint of a study against a reference: what pages, reports and the command line are about."""

from __future__ import annotations

from dataclasses import dataclass

from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy


@dataclass(frozen=True, eq=False)
class Comparison:
    """A study, the checkpoint that the others are compared with, the chosen one, and how much is left out.

    `drop_largest` dimensions, those of largest mean |activation| in the reference, are left out at every layer.
    """

    study: PinnedStudy
    reference: PinnedCheckpoint
    checkpoint: PinnedCheckpoint
    drop_largest: int = 0

    @property
    def names(self) -> list[str]:
        """Labels of the checkpoints that could be loaded, the base first."""
        return [one.label for one in self.study.checkpoints]

    @property
    def words(self) -> tuple[str, ...]:
        """The label words, in class order."""
        return self.study.study.prompt.label_words

    @property
    def pair(self) -> tuple[PinnedCheckpoint, ...]:
        """Reference and chosen checkpoint, or the reference alone if they are the same."""
        return (self.reference,) if self.reference == self.checkpoint else (self.reference, self.checkpoint)

    @property
    def against(self) -> int:
        """Position of the reference."""
        return self.place(self.reference)

    @property
    def last(self) -> int:
        """Position of the last epoch that is not the reference, or of the reference if it is alone."""
        others = [one for one in self.study.epochs if one.label != self.reference.label]
        return self.place(others[-1]) if others else self.against

    def place(self, checkpoint: PinnedCheckpoint) -> int:
        """Position of a checkpoint among those of the study."""
        return self.names.index(checkpoint.label)

    def of_class(self, c: int) -> dict[str, str]:
        """The key of an address that chooses class `c`, where there are more than two to choose from."""
        return {} if len(self.words) == 2 else {"class": self.words[c]}


def compared(study: PinnedStudy, reference: PinnedCheckpoint, drop_largest: int = 0) -> Comparison:
    """The last epoch against the reference."""
    comparison = Comparison(study, reference, reference, drop_largest)
    return Comparison(study, reference, study.checkpoints[comparison.last], drop_largest)
