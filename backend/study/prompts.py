"""Turn texts into model input, and compare that of several checkpoints. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from tokenizers import Tokenizer

from backend.errors import PromptError
from backend.stats import splits
from backend.study import pairs
from backend.study.config import PromptSpec
from backend.study.dataset import text_digest
from backend.study.pairs import Input
from backend.study.reader import Filled, Reader, fill
from backend.study.template import order
from backend.study.token_ids import Prompts
from backend.vocabulary.display import name

_UNKNOWN = ("<unk>", "[UNK]")
_CONTEXT = 3
"""Number of tokens of a difference to show."""


def check_template(reader: Reader, place: str) -> None:
    """Raise PromptError where the template itself sets two texts apart, which says nothing of their token types."""
    spec = reader.spec
    special = [token.content for token in reader.tokenizer.get_added_tokens_decoder().values() if token.special]
    found = next((token for token in special if any(token in words for words in spec.pieces)), None)
    if reader.token_types and found is not None and len(spec.fields) == 2:
        wanted = " ".join(f"{{{spec.fields[i]}}}" for i in order(spec.template, spec.fields))
        raise PromptError(
            f"prompt.template holds {found}, and {place} tells the texts of a pair apart by token types, which "
            f'a template does not set; write template = "{wanted}", which is read as tokenizer(first, second).'
        )


def check_words(reader: Reader, words: Sequence[tuple[int, ...]]) -> None:
    """Raise PromptError for label words whose tokens do not distinguish them."""
    unknown_tokens = (getattr(reader.tokenizer.model, "unk_token", None), *_UNKNOWN)
    unknown = {reader.tokenizer.token_to_id(token) for token in unknown_tokens if token}
    for c, tokens in enumerate(words):
        word, other = _word(reader, c), next((d for d in range(c) if _begins(tokens, words[d])), None)
        if other is not None:
            raise PromptError(
                f'The label words "{_word(reader, other)}" and "{word}" cannot be told apart: the tokens of one word '
                f"begin the other, or are equal; choose other words."
            )
        if unknown & set(tokens):
            raise PromptError(f'The tokenizer does not know the label word "{word}"; choose another word.')


def _word(reader: Reader, c: int) -> str:
    return reader.spec.label_words[c % len(reader.spec.label_words)]


def _begins(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    return first[: len(second)] == second or second[: len(first)] == first


def shown(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """Return tokens as text with visible spaces, separated by `|`."""
    return "|".join(name(tokenizer, tokens))


def make_prompts(reader: Reader, texts: Sequence[Input], labels: np.ndarray) -> Prompts:
    """Return the prompts of the texts as the reader's checkpoint sees them.

    Raises PromptError for label words with indistinguishable tokens, or with tokens that depend on the text before.
    """
    filled = [fill(reader, text) for text in texts]
    words = filled[0].words if filled else ()
    if reader.endings:
        check_words(reader, words)
        other = next((prompt for prompt in filled if prompt.words != words), None)
        if other is not None:
            first, second = (", ".join(shown(reader.tokenizer, ids) for ids in both) for both in (words, other.words))
            raise PromptError(
                f"The tokens of the label words depend on the text before them ({first}, or {second}); put fixed text "
                f"after {{{reader.spec.fields[-1]}}} in prompt.template, or set prompt.separator."
            )
    copies = splits.groups(
        [text_digest(text if isinstance(text, str) else pairs.shown(text)) for text in texts],
        [prompt.ids for prompt in filled],
    )
    return pinned(reader, filled, labels, copies)


def first_difference(own: Prompts, base: Prompts, tokenizers: tuple[Tokenizer, Tokenizer]) -> str | None:
    """Describe the first difference between two tokenizers' ids of the same prompts; None if there is none."""
    ids, others = (prompts.token_ids + prompts.continuations for prompts in (own, base))
    place = next((i for i, (a, b) in enumerate(zip(ids, others, strict=True)) if a != b), None)
    if place is None:
        same = own.token_types == base.token_types
        return None if same else "its own tokenizer sets other token types of the same ids"
    pair = ids[place], others[place]
    at = next((n for n, (a, b) in enumerate(zip(*pair, strict=False)) if a != b), min(map(len, pair)))
    its_tokens, base_tokens = (
        " ".join(name(tokenizer, part[at : at + _CONTEXT])) or "nothing"
        for tokenizer, part in zip(tokenizers, pair, strict=True)
    )
    return f"its own tokenizer gives {its_tokens} at token {at}, and that of the base gives {base_tokens}"


@dataclass(frozen=True, eq=False)
class Readers:
    """The readers of all checkpoints of a study, by fingerprint; the base is the first."""

    of: Mapping[str, Reader]

    @property
    def first(self) -> Reader:
        """Return the reader of the base."""
        return next(iter(self.of.values()))

    def prompts(self, texts: Sequence[Input], labels: np.ndarray) -> Prompts:
        """Return the prompts of the base, with those of checkpoints that see other ids. Raises PromptError."""
        (_, first), *others = self.of.items()
        prompts = make_prompts(first, texts, labels)
        own: dict[str, Prompts] = {}
        for fingerprint, reader in others:
            if reader != first and (differing := make_prompts(reader, texts, labels)).digest != prompts.digest:
                own[fingerprint] = differing
        return with_own(prompts, own)


def with_own(prompts: Prompts, own: Mapping[str, Prompts]) -> Prompts:
    """Add the prompts of checkpoints, by fingerprint, that differ from these."""
    if not own:
        return prompts
    content = [prompts.digest, sorted((fingerprint, differing.digest) for fingerprint, differing in own.items())]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return replace(prompts, digest=digest, own=MappingProxyType(dict(own)))


def bare_prompts(tokenizer: Tokenizer, texts: Sequence[str], label_tokens: tuple[int, ...], max_tokens: int) -> Prompts:
    """Return prompts of the texts alone, without a template, for causal models; all of class 0. PromptError."""
    spec = PromptSpec.model_construct(template="{text}", max_tokens=max_tokens, keep="end")
    reader = Reader(tokenizer, spec)
    filled = [fill(reader, text) for text in texts]
    reader = replace(reader, rows=label_tokens, classes=0 if label_tokens else 1)
    return pinned(reader, filled, np.zeros(len(filled), dtype=np.int64))


def pinned(
    reader: Reader, filled: Sequence[Filled], labels: np.ndarray, groups: splits.Groups | None = None
) -> Prompts:
    """Return prompts with the digest of their content; the tokens of the words are those of the first prompt."""
    token_ids = tuple(prompt.ids for prompt in filled)
    words = filled[0].words if reader.endings else tuple((row,) for row in reader.rows)
    following = tuple(tokens[1:] for tokens in words)
    kind = "words" if reader.endings else "rows" if reader.rows else f"{reader.classes} classes"
    copies = None if groups is None else groups.tolist()
    types = tuple(one.types for one in filled)
    types = types if any(map(any, types)) else ()
    places = tuple(one.places for one in filled) if any(one.places for one in filled) else ()
    content = [token_ids, labels.tolist(), kind, words, reader.readout, copies, *([types] if types else [])]
    content += [["places", places]] if places else []
    return Prompts(
        digest=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        token_ids=token_ids,
        labels=labels.astype(np.int64),
        label_tokens=tuple(tokens[0] for tokens in words),
        truncated=np.array([prompt.cut for prompt in filled], dtype=bool),
        readout=reader.readout,
        following=following if any(following) else (),
        groups=groups,
        token_types=types,
        count=None if words else reader.classes,
        places=places,
    )
