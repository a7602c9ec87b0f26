"""Turn texts into model input: fill the template, truncate long texts, tokenize label words. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from tokenizers import Encoding, Tokenizer

from backend.errors import PromptError
from backend.stats import splits
from backend.study import pairs
from backend.study.config import PromptSpec
from backend.study.dataset import text_digest
from backend.study.facts import Reading
from backend.study.pairs import Input, in_order, joined, shorter
from backend.study.template import order
from backend.study.token_ids import Prompts
from backend.vocabulary.display import name

USUAL_SEPARATORS = (" ", "")
"""Candidates for the text between prompt and label word, if a study does not set it."""
_UNKNOWN = ("<unk>", "[UNK]")
_CONTEXT = 3
"""Number of tokens of a difference to show."""


@dataclass(frozen=True)
class Reader:
    """The input and readout of one checkpoint: its tokenizer, the template, and the output entries of each class.

    `endings` are what follows the prompt for each class, separator and label word. `rows` are the rows of a
    classification head in class order, which then answers instead. `readout` is "last" token or "first".
    `token_types` says whether the model is given the token types that the tokenizer sets.
    """

    tokenizer: Tokenizer
    spec: PromptSpec
    endings: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    readout: str = "last"
    token_types: bool = False

    def pairs(self, parts: Sequence[str]) -> bool:
        """Whether the tokenizer reads the texts as a pair: those of an encoder in a template without words."""
        return self.readout == "first" and len(parts) == 2 and pairs.alone(self.spec)


def word_reader(tokenizer: Tokenizer, spec: PromptSpec, separators: Sequence[str]) -> Reader:
    """Return the reader of a causal model; every label word after each separator is a class."""
    return Reader(tokenizer, spec, tuple(separator + word for separator in separators for word in spec.label_words))


def plain_reader(tokenizer: Tokenizer, spec: PromptSpec, reading: Reading, token_types: bool = False) -> Reader:
    """The reader of a study of which no model has been seen: a separator that is not given is a space."""
    if reading != "causal":
        readout = "first" if reading == "encoder" else "last"
        rows = tuple(range(len(spec.label_words)))
        return Reader(tokenizer, spec, rows=rows, readout=readout, token_types=token_types)
    return word_reader(tokenizer, spec, (USUAL_SEPARATORS[0] if spec.separator is None else spec.separator,))


@dataclass(frozen=True)
class Filled:
    """One prompt as a model reads it: its token ids, the tokens of each label word, and the remaining text.

    `words` is empty where a head answers. `ends` are where each token's characters end in the prompt with the first
    ending behind it. `parts` are the texts that are left, in the template's order; of a pair `left` is both, with the
    template's words between them. `types` are the token types, empty where the model is given none.
    """

    ids: tuple[int, ...]
    words: tuple[tuple[int, ...], ...]
    left: str
    cut: bool
    ends: tuple[int, ...]
    parts: tuple[str, ...]
    types: tuple[int, ...] = ()


def fill(reader: Reader, content: Input) -> Filled:
    """Fill the template with one text or a pair, and tokenize the prompt.

    For a causal model, prompt and label word are tokenized together: the ids shared by all words are the prompt, the
    remaining ids are the words. Special tokens after the text are left out. A long text is cut by whole tokens at the
    end opposite to `keep`, by character offsets. Then the whole prompt is tokenized, and the text is cut further until
    the prompt fits `max_tokens` (special tokens count). For a pair, the longer text is cut.
    """
    spec = reader.spec
    parts = in_order(spec, content)
    filled = _read(reader, parts, False)
    if len(filled.ids) <= spec.max_tokens:
        return filled
    room = spec.max_tokens - len(_read(reader, ("",) * len(parts), True).ids)
    for fewer in shorter(reader.tokenizer, parts, room, spec.keep):
        filled = _read(reader, fewer, True)
        if len(filled.ids) <= spec.max_tokens:
            return filled
    raise PromptError(
        f"The template alone takes {len(filled.ids)} tokens, more than prompt.max_tokens = {spec.max_tokens}; "
        f"raise max_tokens or shorten the template."
    )


def _read(reader: Reader, parts: tuple[str, ...], cut: bool) -> Filled:
    """The prompt of these texts, in the template's order, as it is."""
    text = joined(reader.spec, parts)
    before, after = reader.spec.pieces[0], reader.spec.pieces[-1]
    if reader.endings:
        encodings = reader.tokenizer.encode_batch([before + text + after + ending for ending in reader.endings])
        whole = [one.ids[: _without_ending(one)] for one in encodings]
        shared = next((n for n, ids in enumerate(zip(*whole, strict=False)) if len(set(ids)) > 1), min(map(len, whole)))
        words = tuple(tuple(ids[shared:]) for ids in whole)
        ends = tuple(end for _, end in encodings[0].offsets[:shared])
        return Filled(tuple(whole[0][:shared]), words, text, cut, ends, parts)
    if reader.pairs(parts):
        encoding = reader.tokenizer.encode(before + parts[0], parts[1] + after)
        second = len(before + text) - len(parts[1])  # where the second text starts in the whole prompt
    else:
        encoding, second = reader.tokenizer.encode(before + text + after), 0
    count = len(encoding.ids) if reader.rows else _without_ending(encoding)
    ends = (
        end + second if of == 1 else end for (_, end), of in zip(encoding.offsets, encoding.sequence_ids, strict=True)
    )
    types = tuple(encoding.type_ids[:count]) if reader.token_types else ()
    return Filled(tuple(encoding.ids[:count]), (), text, cut, tuple(ends)[:count], parts, types)


def _without_ending(encoding: Encoding) -> int:
    """Return the number of ids before the special tokens that the tokenizer appends."""
    count = len(encoding.ids)
    while count and encoding.special_tokens_mask[count - 1]:
        count -= 1
    return count


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
    return pinned(replace(reader, rows=label_tokens), filled, np.zeros(len(filled), dtype=np.int64))


def pinned(
    reader: Reader, filled: Sequence[Filled], labels: np.ndarray, groups: splits.Groups | None = None
) -> Prompts:
    """Return prompts with the digest of their content; the tokens of the words are those of the first prompt."""
    token_ids = tuple(prompt.ids for prompt in filled)
    words = filled[0].words if reader.endings else tuple((row,) for row in reader.rows)
    following = tuple(tokens[1:] for tokens in words)
    kind = "words" if reader.endings else "rows"
    copies = None if groups is None else groups.tolist()
    types = tuple(one.types for one in filled)
    types = types if any(map(any, types)) else ()
    content = [token_ids, labels.tolist(), kind, words, reader.readout, copies, *([types] if types else [])]
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
    )
