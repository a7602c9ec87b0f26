"""Label words of several tokens: read token by token after the prompt, and compared by the probability of the word.

The log-probability of a word is the sum over its tokens of log p(token | prompt and the tokens before it). Each
distinct beginning of a word is one more row for the models: the prompt followed by this beginning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from backend.study.token_ids import Prompts


@dataclass(frozen=True, eq=False)
class Words:
    """The rows that the models read, and the combination of their outputs to words.

    `prompts` has `positions` consecutive rows for each original prompt: the prompt, then the prompt with each
    beginning. `paths[c]` lists (position, column) of each token of class c's word.
    """

    prompts: Prompts
    positions: int
    paths: tuple[tuple[tuple[int, int], ...], ...]

    def combine(
        self, logits: Float32[np.ndarray, "positions *places columns"]
    ) -> Float32[np.ndarray, "*places classes"]:
        """Return the logit of each one-token word, or the log-probability (nats) of each word."""
        if self.positions == 1:
            return logits[0]
        words = [sum(logits[position, ..., column] for position, column in path) for path in self.paths]
        return np.stack(words, axis=-1).astype(np.float32)

    def combine_rows(
        self, logits: Float32[np.ndarray, "*runs rows columns"]
    ) -> Float32[np.ndarray, "*runs reviews classes"]:
        """Apply `combine` to consecutive rows of the prompts."""
        *runs, rows, columns = logits.shape
        return self.combine(np.moveaxis(logits.reshape(*runs, rows // self.positions, self.positions, columns), -2, 0))

    def apart(self, rows: Float32[np.ndarray, "rows *rest"]) -> Float32[np.ndarray, "positions reviews *rest"]:
        """Reshape values of each row to positions and prompts."""
        return rows.reshape(-1, self.positions, *rows.shape[1:]).swapaxes(0, 1)


def expand(prompts: Prompts) -> Words:
    """Return the rows from which every label word can be read; the prompts themselves for one-token words."""
    if prompts.single:
        return Words(prompts, 1, tuple(((0, c),) for c in range(prompts.classes)))
    words = prompts.continuations
    beginnings = list(dict.fromkeys(word[:n] for word in words for n in range(len(word))))
    beginnings.sort(key=len)  # the empty beginning first
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
