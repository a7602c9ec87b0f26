"""What an analysis may ask for: ports to models, bundled with the cache and a progress report. No torch here.

A study is *pinned* before anything is computed: every checkpoint gets the fingerprint of its bytes and every prompt
the token ids that the models see. Queries are made of pinned parts only, so the cache key of a result names content;
fields marked `NOT_IN_KEY` travel along without counting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64
from tokenizers import Tokenizer

from backend.dataset import Sample, TrainingTexts
from backend.memo import NOT_IN_KEY, Cache, memoized
from backend.study import CheckpointRef, Study

Progress = Callable[[float, str], None]
"""Called with the fraction done (0..1) and a sentence; raises Cancelled when the work is no longer wanted."""


def silent(_fraction: float, _sentence: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Facts:
    """What config and weight headers tell without opening a model; `layers` is L, the number of blocks."""

    architecture: str
    layers: int
    width: int
    vocabulary: int
    parameters: int


@dataclass(frozen=True)
class PinnedCheckpoint:
    """A checkpoint as content: the fingerprint of its files and the dtype it computes in."""

    fingerprint: str
    dtype: str
    ref: CheckpointRef = field(metadata=NOT_IN_KEY, compare=False)
    base: CheckpointRef = field(metadata=NOT_IN_KEY, compare=False)
    facts: Facts = field(metadata=NOT_IN_KEY, compare=False)
    device_map: str | None = field(default=None, metadata=NOT_IN_KEY, compare=False)

    @property
    def label(self) -> str:
        """The label that tables and pictures show."""
        return self.ref.label


@dataclass(frozen=True, eq=False)
class Prompts:
    """What the models see: token ids of each prompt, without padding, with the class of each and the label tokens.

    `digest` covers token ids, labels, label tokens and `readout` ("last" token for causal models, "first" for
    encoders); two equal digests mean equal input. `truncated` says which texts were cut, `lengths` counts tokens.
    """

    digest: str
    token_ids: tuple[tuple[int, ...], ...] = field(metadata=NOT_IN_KEY)
    labels: Int64[np.ndarray, " reviews"] = field(metadata=NOT_IN_KEY)
    label_tokens: tuple[int, ...] = field(metadata=NOT_IN_KEY)
    truncated: Bool[np.ndarray, " reviews"] = field(metadata=NOT_IN_KEY)
    readout: str = field(default="last", metadata=NOT_IN_KEY)

    @property
    def lengths(self) -> Int64[np.ndarray, " reviews"]:
        """Tokens in each prompt."""
        return np.array([len(ids) for ids in self.token_ids], dtype=np.int64)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.label_tokens)


@dataclass(frozen=True, eq=False)
class Readout:
    """One checkpoint at the readout position of every prompt, float32.

    `residuals[i, l]` is the residual stream entering block l of prompt i, l = L after the last block and before the
    final norm; `logits[i, c]` the model's own logit of class c's label token.
    """

    residuals: Float32[np.ndarray, "reviews layers width"]
    logits: Float32[np.ndarray, "reviews classes"]


@runtime_checkable
class Models(Protocol):
    """Port to checkpoints. Implemented by `backend.checkpoints`, faked by `tests.fakes`."""

    @property
    def device(self) -> str:
        """The device that models run on, in words; asking for it opens nothing."""
        ...

    def fingerprint(self, ref: CheckpointRef, base: CheckpointRef) -> str:
        """Digest of weights, config and tokenizer; CheckpointError with one sentence if anything is amiss."""
        ...

    def facts(self, ref: CheckpointRef, base: CheckpointRef) -> Facts:
        """Architecture and sizes, read without torch."""
        ...

    def tokenizer(self, ref: CheckpointRef, base: CheckpointRef) -> Tokenizer:
        """The checkpoint's tokenizer (an adapter without one has its base's)."""
        ...

    def check(self, ref: CheckpointRef, base: CheckpointRef) -> None:
        """CheckpointError unless the checkpoint has the base's architecture and sizes and decodes shared ids alike."""
        ...

    def readout(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Readout:
        """Residuals and label logits at the readout position."""
        ...

    def seconds(self, checkpoint: PinnedCheckpoint, tokens: int) -> float:
        """Expected seconds to run `tokens` tokens through the checkpoint, opening it included."""
        ...


@dataclass(frozen=True)
class Missing:
    """A checkpoint that the study names and that cannot be used, with one sentence that says why and what to do."""

    label: str
    reason: str


@dataclass(frozen=True, eq=False)
class PinnedStudy:
    """A study at this moment: its sample, its prompts, and the checkpoints that are there (the base first)."""

    study: Study
    sample: Sample
    prompts: Prompts
    checkpoints: tuple[PinnedCheckpoint, ...]
    missing: tuple[Missing, ...]
    training: TrainingTexts | None

    @property
    def base(self) -> PinnedCheckpoint:
        """The base checkpoint."""
        return self.checkpoints[0]

    def checkpoint(self, label: str) -> PinnedCheckpoint:
        """The checkpoint with that label; KeyError if it is not among those that are there."""
        for checkpoint in self.checkpoints:
            if checkpoint.label == label:
                return checkpoint
        raise KeyError(label)


@dataclass(frozen=True, eq=False)
class Lab:
    """Handed to every recipe: `cache`, `models`, and `progress` to report to (which is also where cancel arrives)."""

    cache: Cache
    models: Models
    progress: Progress = silent

    def watched(self, progress: Progress) -> Lab:
        """The same lab, reporting to `progress`."""
        return replace(self, progress=progress)

    def part(self, index: int, count: int) -> Lab:
        """The same lab whose progress fills the `index`-th of `count` equal parts of the present bar."""

        def report(fraction: float, sentence: str) -> None:
            self.progress((index + fraction) / count, sentence)

        return replace(self, progress=report)

    def readout(self, checkpoint: PinnedCheckpoint, prompts: Prompts) -> Readout:
        """Residuals and label logits of one checkpoint at the readout position, memoized apart from analyses."""
        return collect(ReadoutQuery(checkpoint, prompts), self)

    def readouts(self, checkpoints: Iterable[PinnedCheckpoint], prompts: Prompts) -> tuple[Readout, ...]:
        """`readout` of each checkpoint, with progress over all of them."""
        wanted = tuple(checkpoints)
        return tuple(self.part(i, len(wanted)).readout(one, prompts) for i, one in enumerate(wanted))

    def seconds(self, query: Any) -> float:
        """Expected seconds of model time behind `query`: the readouts of its checkpoints that are not in the cache."""
        checkpoints, prompts = _parts(query)
        wanted = {ReadoutQuery(checkpoint, prompt) for checkpoint in checkpoints for prompt in prompts}
        costs = [
            self.models.seconds(one.checkpoint, int(one.prompts.lengths.sum()))
            for one in wanted
            if collect.peek(one, self) is None
        ]
        return float(sum(costs))


@dataclass(frozen=True)
class ReadoutQuery:
    """Which checkpoint reads which prompts."""

    checkpoint: PinnedCheckpoint
    prompts: Prompts


@memoized(version=1)
def collect(query: ReadoutQuery, lab: Lab) -> Readout:
    """Run the model; the only recipe that does so in this module."""
    return lab.models.readout(query.checkpoint, query.prompts, lab.progress)


def _parts(query: Any) -> tuple[list[PinnedCheckpoint], list[Prompts]]:
    """Every pinned checkpoint and every set of prompts inside a query."""
    if isinstance(query, PinnedCheckpoint):
        return [query], []
    if isinstance(query, Prompts):
        return [], [query]
    inside: Iterable[Any] = ()
    if is_dataclass(query) and not isinstance(query, type):
        inside = [getattr(query, one.name) for one in fields(query)]
    elif isinstance(query, tuple):
        inside = query
    checkpoints: list[PinnedCheckpoint] = []
    prompts: list[Prompts] = []
    for item in inside:
        more_checkpoints, more_prompts = _parts(item)
        checkpoints += more_checkpoints
        prompts += more_prompts
    return checkpoints, prompts
