"""Check that parts of a donor fit into a host, and report progress in blocks."""

from __future__ import annotations

from backend.caching.progress import Progress
from backend.errors import CheckpointError, UnsupportedError
from backend.models.runtime.load import LoadedModel
from backend.study.facts import body_of


def check_pair(host: LoadedModel, donor: LoadedModel) -> None:
    """Raise CheckpointError unless the host has a head and both bodies have the same architecture and size."""
    name, donor_name = (loaded.model.config.name_or_path for loaded in (host, donor))
    if not host.components.family.has_head:
        raise CheckpointError(f"{name} has no head, so no swap can be read; choose a host with a head.")
    host.check_lens()
    layouts = [
        (body_of(type(loaded.model).__name__), len(loaded.components.blocks), loaded.model.config.hidden_size)
        for loaded in (host, donor)
    ]
    if layouts[0] != layouts[1]:
        raise CheckpointError(f"{name} and {donor_name} differ in kind or size; choose a host and a donor of one base.")


def check_halves(host: LoadedModel, donor: LoadedModel) -> None:
    """Raise CheckpointError unless attention and MLP of both models are confirmed to add up to their blocks."""
    for loaded in (host, donor):
        if not loaded.checked.halves or loaded.checked.halves != host.checked.halves:
            raise UnsupportedError(
                f"The attention and MLP of {loaded.model.config.name_or_path} (a {type(loaded.model).__name__}) do not "
                f"add up to its blocks, so they cannot be swapped alone; swap whole blocks instead."
            )


class BlockMeter:
    """Count the blocks that are done; each block counts once per run and prompt."""

    def __init__(self, total: int, doing: str, progress: Progress) -> None:
        self.total, self.done, self._doing, self._progress = total, 0, doing, progress

    def step(self, blocks: int) -> None:
        """Report progress before `blocks` more run; `progress` may raise Cancelled."""
        done = min(1.0, self.done / self.total)
        self._progress(done, f"{self._doing}: {self.done:,} of {self.total:,} blocks.")
        self.done += blocks
