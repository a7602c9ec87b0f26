"""Prompts as token ids, and the label tokens that are read after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Int64

from backend.caching.serialize import NOT_IN_KEY
from backend.errors import UndefinedError
from backend.study.checkpoint import PinnedCheckpoint


@dataclass(frozen=True)
class Columns:
    """The entries to read from a model's output: tokens of the vocabulary or rows of a head.

    Values are logits, or, if `normalized`, log-probabilities over the whole output (nats).
    """

    tokens: tuple[int, ...]
    normalized: bool = False


@dataclass(frozen=True, eq=False)
class Prompts:
    """The model input: token ids of each prompt, without padding, the class of each, and the label tokens.

    `digest` covers all that counts, `own` included; two equal digests mean equal input. `readout` is "last" token for
    causal models, "first" for encoders. `label_tokens` holds the first token of each label word, or the row of each
    class in a classification head; `following` the other tokens of each word, empty where every word is one token.
    `truncated` says which texts were cut, `lengths` counts tokens. `own` has the prompts of checkpoints, by
    fingerprint, whose token ids or head rows differ from these. `beginnings` counts, where the last tokens of a row
    begin a label word, those tokens; `normalized` says that log-probabilities are read (see `study.whole_words`).
    `groups` tells copies of a text, which splits keep together; None where all texts and prompts differ. `token_types`
    are an encoder's, for each token of a pair of texts; empty where all are 0. `count` is the number of classes of a
    study that asks for no answers, which has no label tokens; None otherwise. `places` are the tokens of each prompt
    whose residuals are averaged; empty where one token is read, as `readout` says.
    """

    digest: str
    token_ids: tuple[tuple[int, ...], ...] = field(metadata=NOT_IN_KEY)
    labels: Int64[np.ndarray, " reviews"] = field(metadata=NOT_IN_KEY)
    label_tokens: tuple[int, ...] = field(metadata=NOT_IN_KEY)
    truncated: Bool[np.ndarray, " reviews"] = field(metadata=NOT_IN_KEY)
    readout: str = field(default="last", metadata=NOT_IN_KEY)
    following: tuple[tuple[int, ...], ...] = field(default=(), metadata=NOT_IN_KEY)
    own: Mapping[str, Prompts] = field(default_factory=lambda: MappingProxyType({}), metadata=NOT_IN_KEY, repr=False)
    beginnings: tuple[int, ...] = field(default=(), metadata=NOT_IN_KEY)
    normalized: bool = field(default=False, metadata=NOT_IN_KEY)
    groups: Int64[np.ndarray, " reviews"] | None = field(default=None, metadata=NOT_IN_KEY)
    token_types: tuple[tuple[int, ...], ...] = field(default=(), metadata=NOT_IN_KEY)
    count: int | None = field(default=None, metadata=NOT_IN_KEY)
    places: tuple[tuple[int, ...], ...] = field(default=(), metadata=NOT_IN_KEY)

    @property
    def lengths(self) -> Int64[np.ndarray, " reviews"]:
        """Return the number of tokens in each prompt."""
        return np.array([len(ids) for ids in self.token_ids], dtype=np.int64)

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return len(self.label_tokens) if self.count is None else self.count

    @property
    def at_one_token(self) -> bool:
        """Return whether residuals are read at one token of each prompt, where a model can be changed, too."""
        return not self.places and self.readout != "generated"

    @property
    def asks(self) -> bool:
        """Return whether the models' answers are read."""
        return bool(self.label_tokens)

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        """Return all tokens of each label word, in class order."""
        following = self.following or ((),) * len(self.label_tokens)
        return tuple((first, *rest) for first, rest in zip(self.label_tokens, following, strict=True))

    @property
    def single(self) -> bool:
        """Return whether every label word is one token, so that its logit is read."""
        return not any(self.following)

    @property
    def columns(self) -> Columns:
        """Return the output entries to read at the readout position."""
        return Columns(self.label_tokens, self.normalized)

    def first(self) -> Prompts:
        """The first of the prompts alone."""
        return self.some([0][: len(self.token_ids)])

    def some(self, chosen: Sequence[int]) -> Prompts:
        """These prompts alone, in this order, under the same digest."""
        at, rows = list(chosen), ("token_ids", "token_types", "beginnings", "places")
        kept = {name: tuple(every[i] for i in at) if (every := getattr(self, name)) else () for name in rows}
        return replace(self, labels=self.labels[at], truncated=self.truncated[at], **kept)

    def seen_by(self, checkpoint: PinnedCheckpoint) -> Prompts:
        """Return the prompts as this checkpoint sees them."""
        return self.own.get(checkpoint.fingerprint, self)


def other_ids(first: PinnedCheckpoint, second: PinnedCheckpoint) -> UndefinedError:
    """Return the error for a token-by-token comparison of checkpoints with different token ids."""
    return UndefinedError(
        f"{first.label} and {second.label} have different token ids for the texts, so a token-by-token comparison is "
        f'undefined; set prompt.tokenizer = "base" to use the same ids.'
    )
