"""Label words of several tokens: read token by token behind the prompt, and compared by the whole word's probability.

The log-probability of a word is the sum over its tokens of log p(token | prompt and the tokens before it). Each
distinct beginning of a word is one more row for the models, the prompt with that beginning behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from backend.study.token_ids import Prompts


@dataclass(frozen=True, eq=False)
class Words:
    """The rows that the models read, and how their outputs make up the words.

    `prompts` has `positions` rows for each original prompt, one behind the other: the prompt, then the prompt with each
    beginning. `paths[c]` lists (position, column) of each token of class c's word.
    """

    prompts: Prompts
    positions: int
    paths: tuple[tuple[tuple[int, int], ...], ...]

    def combine(
        self, logits: Float32[np.ndarray, "positions *places columns"]
    ) -> Float32[np.ndarray, "*places classes"]:
        """The logit of each one-token word, or the log-probability (nats) of each word."""
        if self.positions == 1:
            return logits[0]
        words = [sum(logits[position, ..., column] for position, column in path) for path in self.paths]
        return np.stack(words, axis=-1).astype(np.float32)

    def combine_rows(
        self, logits: Float32[np.ndarray, "*runs rows columns"]
    ) -> Float32[np.ndarray, "*runs reviews classes"]:
        """The same of every row of the prompts, one behind the other."""
        *runs, rows, columns = logits.shape
        return self.combine(np.moveaxis(logits.reshape(*runs, rows // self.positions, self.positions, columns), -2, 0))

    def apart(self, rows: Float32[np.ndarray, "rows *rest"]) -> Float32[np.ndarray, "positions reviews *rest"]:
        """Values of each row, by position and prompt."""
        return rows.reshape(-1, self.positions, *rows.shape[1:]).swapaxes(0, 1)


def expand(prompts: Prompts) -> Words:
    """The rows in which every label word can be read; the prompts themselves where every word is one token."""
    if prompts.single:
        return Words(prompts, 1, tuple(((0, c),) for c in range(prompts.classes)))
    words = prompts.continuations
    beginnings = list(dict.fromkeys(word[:n] for word in words for n in range(len(word))))
    beginnings.sort(key=len)  # the empty one first
    tokens = list(dict.fromkeys(token for word in words for token in word))
    paths = tuple(
        tuple((beginnings.index(word[:n]), tokens.index(token)) for n, token in enumerate(word)) for word in words
    )
    count = len(beginnings)
    rows = replace(
        prompts,
        token_ids=tuple(ids + beginning for ids in prompts.token_ids for beginning in beginnings),
        labels=prompts.labels.repeat(count),
        truncated=prompts.truncated.repeat(count),
        label_tokens=tuple(tokens),
        following=(),
        beginnings=tuple(len(beginning) for beginning in beginnings) * len(prompts.token_ids),
        normalized=True,
    )
    return Words(rows, count, paths)
