"""The work that a query takes, as it declares it: readouts, further passes, trainings and fitting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from backend.caching.memoize import Request
from backend.lab.autoencoders import AutoencoderQuery
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """Work before a query has its result; `Lab.seconds` turns it into seconds on this machine.

    `readouts` are the checkpoints that read prompts at the readout position, and `trainings` the autoencoders: both are
    free when they are in the cache. `passes` are (checkpoint, tokens) that models read in addition; 0 tokens means that
    the checkpoint is only opened. `fitting` counts the seconds of work on arrays on the reference machine of `rates`,
    and `steps` are other recipes with their queries, also free when they are in the cache.
    """

    readouts: tuple[tuple[PinnedCheckpoint, Prompts], ...] = ()
    passes: tuple[tuple[PinnedCheckpoint, int], ...] = ()
    trainings: tuple[AutoencoderQuery, ...] = ()
    fitting: float = 0.0
    steps: tuple[Request[Any], ...] = ()

    def with_passes(self, checkpoint: PinnedCheckpoint, prompts: Prompts, times: float) -> Cost:
        """Return the same cost with one more checkpoint that reads the prompts so many times."""
        return replace(self, passes=(*self.passes, (checkpoint, int(times * prompts.lengths.sum()))))

    def with_fitting(self, seconds: float, *steps: Request[Any]) -> Cost:
        """Return the same cost with so many more seconds of work on arrays, and with other recipes."""
        return replace(self, fitting=self.fitting + seconds, steps=(*self.steps, *steps))


def size(checkpoint: PinnedCheckpoint, prompts: Prompts) -> float:
    """Return layers x reviews x width, in units of the demo: 13 layers, 256 reviews, width 128."""
    facts = checkpoint.facts
    return (facts.layers + 1) * len(prompts.token_ids) * facts.width / (13 * 256 * 128)


@runtime_checkable
class Costed(Protocol):
    """A query that declares its own cost. A property keeps it out of the cache key."""

    @property
    def cost(self) -> Cost:
        """The work that the query takes."""
        ...


def cost_of(query: Any) -> Cost:
    """Return the cost that a query declares, else the cost of what its fields name."""
    return query.cost if isinstance(query, Costed) else cost_of_fields(query)


def cost_of_fields(query: Any, tokens: int = 0) -> Cost:
    """Return the cost of the checkpoints, prompts and trainings that are named in the fields of a query.

    With prompts, every checkpoint reads all of them. Without prompts the query is about the weights: every checkpoint
    is opened, and reads `tokens` tokens if the query has texts of its own.
    """
    checkpoints = tuple(dict.fromkeys(_named(query, PinnedCheckpoint)))
    prompts = tuple(dict.fromkeys(_named(query, Prompts)))
    if not prompts:
        return Cost(passes=tuple((checkpoint, tokens) for checkpoint in checkpoints))
    return Cost(
        readouts=tuple((checkpoint, text) for checkpoint in checkpoints for text in prompts),
        trainings=tuple(dict.fromkeys(_named(query, AutoencoderQuery))),
    )


def _named(query: Any, kind: type[T]) -> list[T]:
    """Return all values of a kind in the fields of a query, in order, the query itself included."""
    values = [query] if isinstance(query, kind) else []
    parts: Iterable[Any] = ()
    if isinstance(query, tuple):
        parts = query
    elif is_dataclass(query) and not isinstance(query, type | PinnedCheckpoint | Prompts):
        parts = [getattr(query, field.name) for field in fields(query)]
    return values + [value for part in parts for value in _named(part, kind)]
