"""What an analysis may ask for: the port to models, bundled with the cache and a progress report. No torch here.

A study is *pinned* before anything is computed: every checkpoint gets the fingerprint of its bytes and every prompt
the token ids that the models see. Queries are made of pinned parts only, so the cache key of a result names content;
fields marked `NOT_IN_KEY` travel along without counting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32

from backend.autoencoders import AutoencoderQuery, Autoencoders, Point
from backend.classes import ClassNames
from backend.dataset import Sample, TrainingTexts
from backend.errors import UndefinedError
from backend.facts import Facts, Reading, reading
from backend.memo import Cache, memoized
from backend.ports import Models, PinnedCheckpoint, Progress, Prompts, silent
from backend.prompts import Readers
from backend.readings import Contributions, Readout, TextReadout, Trained, WeightChange
from backend.study import Study
from backend.whole_words import expand

__all__ = [
    "AutoencoderQuery",
    "Contributions",
    "Facts",
    "Lab",
    "Missing",
    "Models",
    "PinnedCheckpoint",
    "PinnedStudy",
    "Progress",
    "Prompts",
    "Readout",
    "ReadoutQuery",
    "TextReadout",
    "WeightChange",
    "collect",
    "silent",
    "train_autoencoder",
]

T = TypeVar("T")

_SO_FAR: dict[str, list[Any]] = {}
"""What long work that this process does now has brought so far, by the key of its query."""


@dataclass(frozen=True)
class Missing:
    """A checkpoint that the study names and that cannot be used, with one sentence that says why and what to do."""

    label: str
    reason: str


@dataclass(frozen=True, eq=False)
class PinnedStudy:
    """A study at this moment: its sample, its prompts, and the checkpoints that are there (the base first).

    `readers` say how each checkpoint is asked, `classes` what each class is called. `separator` stands between prompt
    and label word (None where a head answers); `separator_found` says that the checkpoints decided it. `warnings` are
    doubts that the study's files raise, one sentence each.
    """

    study: Study
    sample: Sample
    prompts: Prompts
    checkpoints: tuple[PinnedCheckpoint, ...]
    missing: tuple[Missing, ...]
    training: TrainingTexts | None
    readers: Readers
    classes: tuple[ClassNames, ...]
    separator: str | None = None
    separator_found: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def base(self) -> PinnedCheckpoint:
        """The base checkpoint."""
        return self.checkpoints[0]

    @property
    def reading(self) -> Reading:
        """What answers here."""
        return reading(self.study.family, [one.facts for one in self.checkpoints])

    @property
    def answering(self) -> tuple[PinnedCheckpoint, ...]:
        """The checkpoints that answer: those with a head."""
        return tuple(one for one in self.checkpoints if one.facts.has_head)

    @property
    def predicting(self) -> tuple[PinnedCheckpoint, ...]:
        """The checkpoints that predict next tokens."""
        return tuple(one for one in self.checkpoints if one.facts.predicts)

    @property
    def epochs(self) -> tuple[PinnedCheckpoint, ...]:
        """The base and the checkpoints of its training in order, without those of another seed."""
        return tuple(one for one in self.checkpoints if one.ref.seed_of is None)

    def after(self, checkpoint: PinnedCheckpoint) -> PinnedCheckpoint | None:
        """The epoch that follows; None behind the last one, and behind a checkpoint of another seed."""
        labels = [one.label for one in self.epochs]
        following = labels.index(checkpoint.label) + 1 if checkpoint.label in labels else len(labels)
        return self.epochs[following] if following < len(labels) else None

    @property
    def seeds(self) -> tuple[tuple[PinnedCheckpoint, PinnedCheckpoint], ...]:
        """Each checkpoint of another seed, and the one that it repeats, where both are there."""
        there = {one.label: one for one in self.checkpoints}
        pairs = ((one, there.get(one.ref.seed_of or "")) for one in self.checkpoints)
        return tuple((one, twin) for one, twin in pairs if twin is not None)

    def same_ids(self, one: PinnedCheckpoint, other: PinnedCheckpoint) -> bool:
        """Whether both see the same token ids, so that they can be compared token by token."""
        return self.prompts.seen_by(one).token_ids == self.prompts.seen_by(other).token_ids

    def tokenizing(self, checkpoint: PinnedCheckpoint) -> PinnedCheckpoint:
        """The checkpoint whose tokenizer it reads with: the base, unless their token ids differ."""
        return self.base if self.same_ids(self.base, checkpoint) else checkpoint

    def checkpoint(self, label: str) -> PinnedCheckpoint:
        """The checkpoint with that label; KeyError if it is not among those that are there."""
        for checkpoint in self.checkpoints:
            if checkpoint.label == label:
                return checkpoint
        raise KeyError(label)


@dataclass(frozen=True, eq=False)
class Lab:
    """Handed to every recipe: `cache`, the ports, and `progress` to report to (which is also where cancel arrives)."""

    cache: Cache
    models: Models
    autoencoders: Autoencoders
    progress: Progress = silent

    def watched(self, progress: Progress) -> Lab:
        """The same lab, reporting to `progress`."""
        return replace(self, progress=progress)

    def part(self, index: int, count: int, wide: int = 1) -> Lab:
        """The same lab whose progress fills `wide` of `count` equal parts of the present bar, from `index` on."""

        def report(fraction: float, sentence: str) -> None:
            self.progress((index + wide * fraction) / count, sentence)

        return replace(self, progress=report)

    def readout(self, checkpoint: PinnedCheckpoint, prompts: Prompts) -> Readout:
        """Residuals and label logits of one checkpoint at the readout position, memoized apart from analyses."""
        return collect(ReadoutQuery(checkpoint, prompts.seen_by(checkpoint)), self)

    def readouts(self, checkpoints: Iterable[PinnedCheckpoint], prompts: Prompts) -> tuple[Readout, ...]:
        """`readout` of each checkpoint, with progress over all of them."""
        wanted = tuple(checkpoints)
        return tuple(self.part(i, len(wanted)).readout(one, prompts) for i, one in enumerate(wanted))

    def answers(
        self,
        reading: Float32[np.ndarray, "positions *places width"],
        prompts: Prompts,
        head: PinnedCheckpoint,
        norm: PinnedCheckpoint | None,
    ) -> Float32[np.ndarray, "*places classes"]:
        """What residuals, as `Readout.reading` has them, answer through the norm of `norm` and the head of `head`.

        The logit of each class's label token or head row, or the log-probability (nats) of its word of several tokens.
        Raises UndefinedError where the head's checkpoint splits the words into other tokens than the residuals' own.
        """
        words = expand(prompts.seen_by(head))
        if len(reading) != words.positions:
            raise UndefinedError(
                f"{head.label} has more or fewer tokens for the label words than the checkpoint that it is to read; "
                f'set prompt.tokenizer = "base", or choose label words of one token.'
            )
        tokens, normalized = words.prompts.label_tokens, words.prompts.normalized
        return words.combine(self.models.label_logits(reading, tokens, head, norm, self.progress, normalized))

    def autoencoder(self, query: AutoencoderQuery) -> Trained:
        """A sparse autoencoder on the residuals of one layer, trained once and memoized apart from analyses."""
        return train_autoencoder(query, self)

    def training_curve(self, query: AutoencoderQuery) -> tuple[Point, ...]:
        """How training goes that is under way in this process, so far: for a page that is waiting. Else empty."""
        return so_far(train_autoencoder.key(query))

    def seconds(self, query: Any) -> float:
        """Expected seconds of work behind `query`: the readouts of its checkpoints that are not in the cache.

        A query without prompts is about the weights: then it is the time to open them, to read its `tokens` if it has
        texts of its own, and for its `fitting`. One with `passes` has its first checkpoint read the prompts that many
        times more. Autoencoders that are still to be trained come on top.
        """
        checkpoints, prompts = _inside(query, PinnedCheckpoint), _inside(query, Prompts)
        if not prompts:
            opening = sum(self.models.seconds(one, getattr(query, "tokens", 0)) for one in set(checkpoints))
            return float(opening + getattr(query, "fitting", 0.0))
        wanted = {ReadoutQuery(one, prompt.seen_by(one)) for one in checkpoints for prompt in prompts}
        costs = [
            self.models.seconds(one.checkpoint, int(one.prompts.lengths.sum()))
            for one in wanted
            if collect.peek(one, self) is None
        ]
        if passes := getattr(query, "passes", 0.0):
            costs.append(self.models.seconds(checkpoints[0], int(passes * prompts[0].lengths.sum())))
        costs += [
            self.autoencoders.seconds(one.spec, checkpoints[0].facts.width)
            for one in set(_inside(query, AutoencoderQuery))
            if train_autoencoder.computed(one, self) is None
        ]
        return float(sum(costs))


@dataclass(frozen=True)
class ReadoutQuery:
    """Which checkpoint reads which prompts."""

    checkpoint: PinnedCheckpoint
    prompts: Prompts


@memoized(version=2)
def collect(query: ReadoutQuery, lab: Lab) -> Readout:
    """Run the model; the only recipe that does so in this module."""
    return lab.models.readout(query.checkpoint, query.prompts, lab.progress)


@memoized(version=1)
def train_autoencoder(query: AutoencoderQuery, lab: Lab) -> Trained:
    """Train it; the weights stay in the cache in float32, as SAELens keeps them."""
    with shown(train_autoencoder.key(query)) as show:
        return lab.autoencoders.train(query.checkpoints, query.prompts, query.spec, lab.progress, show)


@contextmanager
def shown(key: str) -> Iterator[Callable[[Any], None]]:
    """While open, what is handed to the function that it gives can be seen by pages that wait: `so_far` of that key."""
    try:
        yield _SO_FAR.setdefault(key, []).append
    finally:
        del _SO_FAR[key]


def so_far(key: str) -> tuple[Any, ...]:
    """What work under way in this process has shown so far, in order; empty if there is none."""
    return tuple(_SO_FAR.get(key, ()))


def _inside(query: Any, kind: type[T]) -> list[T]:
    """Everything of a kind inside a query, in order, the query itself included."""
    found = [query] if isinstance(query, kind) else []
    inside: Iterable[Any] = ()
    if isinstance(query, tuple):
        inside = query
    elif is_dataclass(query) and not isinstance(query, type | PinnedCheckpoint | Prompts):
        inside = [getattr(query, one.name) for one in fields(query)]
    return found + [one for item in inside for one in _inside(item, kind)]
