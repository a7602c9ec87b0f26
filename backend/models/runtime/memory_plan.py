"""Decide before work starts what stays in memory: models, whole or in part, and how many tokens run at once.

A model that does not fit beside those in use is read from its files block by block while it runs: the same numbers,
in the time that reading takes. Estimates are of weights and activations; a batch that runs out of memory all the same
is halved (`batching`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WEIGHTS_SHARE = 0.85
"""Share of the free memory that weights may take; the rest is for activations."""
BATCH_SHARE = 0.5
"""Share of the memory that is free beside the weights that one batch may take."""
WIDTHS = 24
"""Activations of a token while it passes a block, in units of the model's width: MLP, attention, and copies."""
LEAST_TOKENS = 64


@dataclass(frozen=True)
class Place:
    """Where the weights of a model are: `resident` bytes of `needed` in memory, the rest read from its files."""

    needed: int
    resident: int

    @property
    def whole(self) -> bool:
        """Whether all weights are in memory."""
        return self.resident >= self.needed

    @property
    def sentence(self) -> str:
        """What a progress bar says about a model that is not whole."""
        return (
            f"its weights take {_size(self.needed)} and {_size(self.resident)} is free for them, so the rest is read "
            f"from its files block by block."
        )


def places(needed: Sequence[int], room: int) -> tuple[Place, ...]:
    """Place models in the order in which they are opened: each whole if it fits, else with what is left."""
    found: list[Place] = []
    for size in needed:
        left = max(0, room - sum(place.resident for place in found))
        found.append(Place(size, min(size, left)))
    return tuple(found)


def tokens_that_fit(width: int, itemsize: int, free: int, most: int) -> int:
    """Return how many tokens may pass a block together: `most`, or what fits into the `free` bytes."""
    return max(min(most, LEAST_TOKENS), min(most, int(free * BATCH_SHARE) // (WIDTHS * width * itemsize)))


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
