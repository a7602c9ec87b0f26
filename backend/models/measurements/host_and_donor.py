"""A host and a donor: whether one can take from the other, and how far their work is."""

from __future__ import annotations

from backend.caching.progress import Progress
from backend.errors import CheckpointError
from backend.models.runtime.load import LoadedModel
from backend.study.facts import body_of


def check_pair(host: LoadedModel, donor: LoadedModel) -> None:
    """Raise CheckpointError unless the host answers and the donor is built like it, whatever head stands on it."""
    name, other = (one.model.config.name_or_path for one in (host, donor))
    if not host.components.family.has_head:
        raise CheckpointError(f"{name} has no head to answer with, so no swap can be read; choose another host.")
    built = [
        (body_of(type(one.model).__name__), len(one.components.blocks), one.model.config.hidden_size)
        for one in (host, donor)
    ]
    if built[0] != built[1]:
        raise CheckpointError(f"{name} and {other} differ in kind or size; choose a host and a donor of one base.")


class BlockMeter:
    """Blocks done of blocks to do, a block being one block of one run over one prompt."""

    def __init__(self, total: int, doing: str, progress: Progress) -> None:
        self.total, self.done, self._doing, self._progress = total, 0, doing, progress

    def step(self, blocks: int) -> None:
        """Say where things stand before doing `blocks` more; a cancel arrives here."""
        done = min(1.0, self.done / self.total)
        self._progress(done, f"{self._doing}: {self.done:,} of {self.total:,} blocks.")
        self.done += blocks
