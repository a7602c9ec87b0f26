"""Texts that two models read, without template or labels: neutral, the study's, or those of its own file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Int64
from tokenizers import Tokenizer

from backend.lab.cost import Cost
from backend.lab.lab import Lab
from backend.study import own_texts
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.config import PromptSpec
from backend.study.pinned import PinnedStudy
from backend.study.prompts import pinned
from backend.study.reader import Reader, fill
from backend.study.token_ids import Prompts, other_ids
from backend.vocabulary import neutral

NEUTRAL, SAMPLE, OWN = "neutral", "sample", "own"
GROUPS = 16
"""Groups of texts: their sums give intervals, and random halves of them the floor."""


@dataclass(frozen=True)
class Texts:
    """A set of texts: `prompts` are those of the study or its own file, without template; None: the neutral sentences.

    Neutral sentences are truncated at `max_tokens` by the base's `tokenizer`; `neutral_digest` identifies them.
    """

    name: str
    prompts: Prompts | None
    tokenizer: PinnedCheckpoint
    max_tokens: int
    neutral_digest: str

    def read(self, lab: Lab) -> Prompts:
        """Return the prompts of the texts."""
        if self.prompts is not None:
            return self.prompts
        tokenizer = lab.models.tokenizer(self.tokenizer.ref, self.tokenizer.base)
        return plain_prompts(tokenizer, neutral.sentences(), self.tokenizer.facts.kind, self.max_tokens)

    def cost(self, pair: Sequence[PinnedCheckpoint]) -> Cost:
        """Return the cost of both models reading every text; neutral sentences have a token for every four signs."""
        tokens = sum(map(len, neutral.sentences())) // 4
        if self.prompts is not None:
            tokens = int(self.prompts.lengths.sum())
        return Cost(passes=tuple((checkpoint, tokens) for checkpoint in dict.fromkeys(pair)))


def text_sets(study: PinnedStudy) -> tuple[str, ...]:
    """Return the names of the sets of texts: neutral, the study's, and those of its own file if it names one."""
    return (NEUTRAL, SAMPLE, OWN) if study.own_texts else (NEUTRAL, SAMPLE)


def contents(study: PinnedStudy, name: str) -> tuple[str, ...]:
    """Return the texts of one of the sets."""
    return {NEUTRAL: neutral.sentences(), SAMPLE: study.sample.text, OWN: study.own_texts}[name]


def texts(study: PinnedStudy, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, name: str) -> Texts:
    """Return one of `text_sets` for two checkpoints. UndefinedError if their token ids differ."""
    if not study.same_ids(checkpoint, reference):
        raise other_ids(checkpoint, reference)
    tokenizing, prompt = study.tokenizing(checkpoint), study.study.prompt
    prompts = None
    if name != NEUTRAL:
        tokenizer, read = study.readers.of[tokenizing.fingerprint].tokenizer, contents(study, name)
        digest = study.sample.digest if name == SAMPLE else own_texts.digest(read)
        content = _Content(digest, tokenizing.fingerprint, prompt.max_tokens, prompt.keep, tokenizer, read)
        prompts = _tokenized(content, tokenizing.facts.kind)
    return Texts(name, prompts, tokenizing, prompt.max_tokens, neutral.digest())


@dataclass(frozen=True)
class _Content:
    """Texts and a tokenizer, and the digests that identify them."""

    digest: str
    fingerprint: str
    max_tokens: int
    keep: Literal["start", "end"]
    tokenizer: Tokenizer = field(compare=False)
    texts: tuple[str, ...] = field(compare=False)


@lru_cache(maxsize=8)  # every picture of the page names these texts
def _tokenized(content: _Content, kind: str) -> Prompts:
    return plain_prompts(content.tokenizer, content.texts, kind, content.max_tokens, content.keep)


def plain_prompts(
    tokenizer: Tokenizer,
    contents: Sequence[str],
    kind: str,
    max_tokens: int,
    keep: Literal["start", "end"] = "end",
) -> Prompts:
    """Return prompts of the texts alone, without template, labels or label words; all of class 0. PromptError."""
    spec = PromptSpec.model_construct(template="{text}", max_tokens=max_tokens, keep=keep)
    readout = "first" if kind == "encoder" else "last"
    reader = Reader(tokenizer, spec, rows=(0,) if kind == "encoder" else (), readout=readout)
    filled = [fill(reader, text) for text in contents]
    return pinned(replace(reader, rows=(), classes=1), filled, np.zeros(len(filled), dtype=np.int64))


def groups_of(count: int, seed: int) -> Int64[np.ndarray, " texts"]:
    """Return a random group for each of `count` texts, of equal size as far as possible."""
    return np.random.default_rng(seed).permutation(np.arange(count) % min(GROUPS, count)).astype(np.int64)
