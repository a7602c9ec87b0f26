"""Give analyses the ports to models and autoencoders, the cache, and progress. No torch here.

A study is *pinned* before any computation: every checkpoint gets the fingerprint of its bytes, and every prompt its
token ids. Queries contain only pinned parts, so the cache key of a result depends on content; fields marked
`NOT_IN_KEY` are excluded from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from backend.caching.cache import Cache
from backend.caching.forecast import Part, union
from backend.caching.memoize import Request, memoized
from backend.caching.progress import Progress, shown, silent, so_far
from backend.caching.serialize import canonical
from backend.errors import UndefinedError
from backend.lab.autoencoders import AutoencoderQuery, Autoencoders, Point
from backend.lab.cost import Cost, cost_of
from backend.lab.models import Models
from backend.lab.outputs import Readout, Trained
from backend.lab.rates import LEAST_SECONDS, Rates
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts
from backend.study.whole_words import expand


@runtime_checkable
class Machines(Protocol):
    """Other machines that compute results. Implemented by `cluster.Cluster`."""

    def start(self, requests: Iterable[Request[Any]], lab: Lab) -> None:
        """Begin with all of these, because they are needed soon."""
        ...

    def compute(self, request: Request[Any], lab: Lab) -> bytes:
        """Return the encoded result."""
        ...


@dataclass(frozen=True, eq=False)
class Lab:
    """Passed to every recipe: `cache`, the ports, and `progress`, which also raises Cancelled.

    With `machines`, results are computed there and not in this process, except those of typed texts.
    The cache lists results by `study`, the name of the one that they were computed for.
    """

    cache: Cache
    models: Models
    autoencoders: Autoencoders
    progress: Progress = silent
    machines: Machines | None = None
    study: str | None = None

    def watched(self, progress: Progress) -> Lab:
        """Return the same lab with another `progress`."""
        return replace(self, progress=progress)

    def elsewhere(self, request: Request[Any]) -> bytes | None:
        """Return the encoded result of a request from the other machines; None without any."""
        return None if self.machines is None else self.machines.compute(request, self)

    def start(self, requests: Iterable[Request[Any]]) -> None:
        """Let the other machines, if there are any, begin with requests that are needed soon."""
        if self.machines is not None:
            self.machines.start(requests, self)

    def part(self, index: int, count: int, wide: int = 1) -> Lab:
        """Return the same lab, with progress that fills `wide` of `count` equal parts of the bar, from `index` on."""

        def report(fraction: float, sentence: str) -> None:
            self.progress((index + wide * fraction) / count, sentence)

        return replace(self, progress=report)

    def readout(self, checkpoint: PinnedCheckpoint, prompts: Prompts) -> Readout:
        """Return residuals and label logits of one checkpoint at the readout position, memoized for all analyses."""
        return collect(ReadoutQuery(checkpoint, prompts.seen_by(checkpoint)), self)

    def readouts(self, checkpoints: Iterable[PinnedCheckpoint], prompts: Prompts) -> tuple[Readout, ...]:
        """Return the `readout` of each checkpoint, with progress over all of them."""
        listed = tuple(checkpoints)
        return tuple(self.part(i, len(listed)).readout(checkpoint, prompts) for i, checkpoint in enumerate(listed))

    def answers(
        self,
        reading: Float32[np.ndarray, "positions *places width"],
        prompts: Prompts,
        head: PinnedCheckpoint,
        norm: PinnedCheckpoint | None,
    ) -> Float32[np.ndarray, "*places classes"]:
        """Read residuals, as in `Readout.reading`, with the norm of `norm` and the head of `head`.

        Returns the logit of each class's label token or head row, or the log-probability (nats) of its word of several
        tokens. Raises UndefinedError if the head's tokenizer splits the label words into a different number of tokens.
        """
        words = expand(prompts.seen_by(head))
        if len(reading) != words.positions:
            raise UndefinedError(
                f"{head.label} splits the label words into more or fewer tokens than the checkpoint whose residuals "
                f'it reads; set prompt.tokenizer = "base", or choose label words of one token.'
            )
        tokens, normalized = words.prompts.label_tokens, words.prompts.normalized
        return words.combine(self.models.label_logits(reading, tokens, head, norm, self.progress, normalized))

    def autoencoder(self, query: AutoencoderQuery) -> Trained:
        """Return a sparse autoencoder on the residuals of one layer, trained once and memoized for all analyses."""
        return train_autoencoder(query, self)

    def training_curve(self, query: AutoencoderQuery) -> tuple[Point, ...]:
        """Return the curve so far of a training that runs in this process, for a waiting page; empty if none runs."""
        return so_far(train_autoencoder.key(query))

    def seconds(self, *queries: Any) -> float:
        """Expected seconds of work for all queries: their declared cost, without what is already in the cache."""
        return union(part for query in queries for part in self.parts(query))

    def parts(self, query: Any) -> list[Part]:
        """Return the expected steps of a query: import, opening, readouts, other recipes, then its own work."""
        return list(self._parts(query, self.models.starting()).values())

    def learner(self, query: Any) -> Callable[[float], None]:
        """Return the callback for the seconds that a query takes itself, to call before it runs."""
        if isinstance(query, _MEASURED):
            return lambda seconds: None
        return partial(Rates(self.cache).learn, query, self._own(query))

    def _parts(self, query: Any, starting: float) -> dict[str, Part]:
        """Return the steps by key; those that several queries share have the same key."""
        cost, parts = cost_of(query), dict[str, Part]()

        def opening(checkpoint: PinnedCheckpoint) -> None:
            for key, seconds in (("start", starting), (checkpoint.fingerprint, self.models.opening(checkpoint))):
                parts[f"open/{key}"] = Part(f"open/{key}", seconds, on_device=True)

        for checkpoint, prompts in () if isinstance(query, _MEASURED) else cost.readouts:
            readout = ReadoutQuery(checkpoint, prompts.seen_by(checkpoint))
            if collect.peek(readout, self) is None:
                parts |= self._parts(readout, starting)
        for training in () if isinstance(query, AutoencoderQuery) else cost.trainings:
            if train_autoencoder.computed(training, self) is None:
                parts |= self._parts(training, starting)
        for step in cost.steps:
            if step.peek(self) is None:
                parts |= self._parts(step.query, starting)
        for checkpoint in run_by(query, cost):
            opening(checkpoint)
        key = f"{type(query).__module__}.{type(query).__qualname__}/{canonical(query)}"
        own = self._own(query)
        ratio = 1.0 if isinstance(query, _MEASURED) else Rates(self.cache).ratio(query, own)
        seconds = max(LEAST_SECONDS, own * ratio)
        return parts | {key: Part(key, seconds, on_device=bool(run_by(query, cost)))}

    def _own(self, query: Any) -> float:
        """Return the declared seconds of what the query does itself, with this machine's rates for models."""
        if isinstance(query, ReadoutQuery):
            return self.models.reading(query.checkpoint, int(query.prompts.lengths.sum()))
        cost = cost_of(query)
        passes = sum(self.models.reading(checkpoint, tokens) for checkpoint, tokens in cost.passes)
        if isinstance(query, AutoencoderQuery):
            width = query.checkpoints[0].facts.width
            passes += self.autoencoders.seconds(query.spec, width)
            tokens = int(query.prompts.lengths.sum())
            passes += sum(self.models.reading(checkpoint, tokens) for checkpoint in query.checkpoints)
        return passes + cost.fitting * Rates(self.cache).machine()


def run_by(query: Any, cost: Cost) -> tuple[PinnedCheckpoint, ...]:
    """Return the checkpoints that a query opens itself."""
    if isinstance(query, ReadoutQuery):
        return (query.checkpoint,)
    if isinstance(query, AutoencoderQuery):
        return query.checkpoints
    return tuple(dict.fromkeys(checkpoint for checkpoint, _ in cost.passes))


@dataclass(frozen=True)
class ReadoutQuery:
    """A checkpoint and the prompts that it reads."""

    checkpoint: PinnedCheckpoint
    prompts: Prompts


_MEASURED = (ReadoutQuery, AutoencoderQuery)
"""Queries that read their prompts themselves, and whose ports remember rates of their own."""


@memoized(version=2)
def collect(query: ReadoutQuery, lab: Lab) -> Readout:
    """Run the model over the prompts."""
    return lab.models.readout(query.checkpoint, query.prompts, lab.progress)


@memoized(version=1)
def train_autoencoder(query: AutoencoderQuery, lab: Lab) -> Trained:
    """Train the autoencoder; the cache stores its weights in float32, as SAELens does."""
    with shown(train_autoencoder.key(query)) as show:
        return lab.autoencoders.train(query.checkpoints, query.prompts, query.spec, lab.progress, show)
