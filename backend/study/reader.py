"""Fill the template with a text, cut it to fit, and tokenize prompt and label words. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tokenizers import Encoding, Tokenizer

from backend.errors import PromptError
from backend.study import pairs
from backend.study.chat import Chat
from backend.study.config import PromptSpec
from backend.study.facts import Reading
from backend.study.pairs import Input, in_order, joined, shorter, token_spans

USUAL_SEPARATORS = (" ", "")
"""Candidates for the text between prompt and label word, if a study does not set it."""
NEVER_FITS = 2
"""A text of more than this many times max_tokens is cut without reading its whole prompt first, which takes longest."""


def separators(spec: PromptSpec) -> tuple[str, ...]:
    """Return what may stand between prompt and label word: the study's separator, or the candidates.

    Words that begin with a space of their own need none.
    """
    if spec.separator is not None:
        return (spec.separator,)
    return ("",) if any(word[:1].isspace() for word in spec.label_words) else USUAL_SEPARATORS


@dataclass(frozen=True)
class Reader:
    """The input and readout of one checkpoint: its tokenizer, the template, and the output entries of each class.

    `endings` are what follows the prompt for each class, separator and label word. `rows` are the rows of a
    classification head in class order, which then answers instead. Without both no answers are read, and `classes` is
    the number of classes. `readout` is "last" token, "first", or the one that is "generated" next. `token_types` says
    whether the model is given the token types that the tokenizer sets. `chat` made the template of `spec`, special
    tokens included; None without messages.
    """

    tokenizer: Tokenizer
    spec: PromptSpec
    endings: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    readout: str = "last"
    token_types: bool = False
    classes: int = 0
    chat: Chat | None = None

    def pairs(self, parts: Sequence[str]) -> bool:
        """Whether the tokenizer reads the texts as a pair: those of an encoder in a template without words."""
        return self.readout == "first" and len(parts) == 2 and pairs.alone(self.spec)


def word_reader(tokenizer: Tokenizer, spec: PromptSpec, separators: Sequence[str], chat: Chat | None = None) -> Reader:
    """Return the reader of a causal model; every label word after each separator is a class."""
    endings = tuple(separator + word for separator in separators for word in spec.label_words)
    return Reader(tokenizer, spec, endings, chat=chat)


def silent_reader(
    tokenizer: Tokenizer, spec: PromptSpec, encoder: bool, classes: int, chat: Chat | None = None
) -> Reader:
    """Return the reader of a study that asks for no answers."""
    readout = "first" if encoder else "generated" if spec.position == "generated" else "last"
    return Reader(tokenizer, spec, readout=readout, classes=classes, chat=chat)


def plain_reader(
    tokenizer: Tokenizer, spec: PromptSpec, reading: Reading, token_types: bool = False, classes: int = 0
) -> Reader:
    """The reader of a study of which no model has been seen: a separator that is not given is a space.

    `classes` is the number of classes of a study without label words.
    """
    if not spec.label_words:
        return replace(silent_reader(tokenizer, spec, reading == "encoder", classes), token_types=token_types)
    if reading != "causal":
        readout = "first" if reading == "encoder" else "last"
        rows = tuple(range(len(spec.label_words)))
        return Reader(tokenizer, spec, rows=rows, readout=readout, token_types=token_types)
    return word_reader(tokenizer, spec, separators(spec)[:1])


@dataclass(frozen=True)
class Filled:
    """One prompt as a model reads it: its token ids, the tokens of each label word, and the remaining text.

    `words` is empty where a head answers. `ends` are where each token's characters end in the prompt with the first
    ending behind it. `parts` are the texts that are left, in the template's order; of a pair `left` is both, with the
    template's words between them. `types` are the token types, empty where the model is given none. `places` are the
    tokens to average, empty where one token is read.
    """

    ids: tuple[int, ...]
    words: tuple[tuple[int, ...], ...]
    left: str
    cut: bool
    ends: tuple[int, ...]
    parts: tuple[str, ...]
    types: tuple[int, ...] = ()
    places: tuple[int, ...] = ()


def fill(reader: Reader, content: Input) -> Filled:
    """Fill the template with one text or a pair, and tokenize the prompt.

    For a causal model, prompt and label word are tokenized together: the ids shared by all words are the prompt, the
    remaining ids are the words. Special tokens after the text are left out. A long text is cut by whole tokens at the
    end opposite to `keep`, by character offsets. Then the whole prompt is tokenized, and the text is cut further until
    the prompt fits `max_tokens` (special tokens count). For a pair, the longer text is cut.
    """
    spec = reader.spec
    parts = contents(reader, content)
    spans = token_spans(reader.tokenizer, parts)
    if sum(map(len, spans)) <= NEVER_FITS * spec.max_tokens:
        filled = _read(reader, parts, False)
        if len(filled.ids) <= spec.max_tokens:
            return _placed(reader, filled)
    template = _tokens_of_template(reader, len(parts))
    for fewer in shorter(parts, spans, spec.max_tokens - template, spec.keep):
        filled = _read(reader, fewer, True)
        if len(filled.ids) <= spec.max_tokens:
            return _placed(reader, filled)
    raise PromptError(
        f"The template alone takes {template} tokens, more than prompt.max_tokens = {spec.max_tokens}; "
        f"raise max_tokens or shorten the template."
    )


@lru_cache(maxsize=16)
def _tokens_of_template(reader: Reader, parts: int) -> int:
    return len(_read(reader, ("",) * parts, True).ids)


def contents(reader: Reader, content: Input) -> tuple[str, ...]:
    """Return one text or a pair in the order of the template, as a chat template prints them."""
    parts = in_order(reader.spec, content)
    return parts if reader.chat is None else reader.chat.texts(reader.spec, parts)


def _read(reader: Reader, parts: tuple[str, ...], cut: bool) -> Filled:
    """The prompt of these texts, in the template's order, as it is."""
    text = joined(reader.spec, parts)
    before, after = reader.spec.pieces[0], reader.spec.pieces[-1]
    special = reader.chat is None  # a chat template prints its special tokens itself
    if reader.endings:
        prompts = [before + text + after + ending for ending in reader.endings]
        encodings = reader.tokenizer.encode_batch(prompts, add_special_tokens=special)
        whole = [one.ids[: _without_ending(one)] for one in encodings]
        shared = next((n for n, ids in enumerate(zip(*whole, strict=False)) if len(set(ids)) > 1), min(map(len, whole)))
        words = tuple(tuple(ids[shared:]) for ids in whole)
        ends = tuple(end for _, end in encodings[0].offsets[:shared])
        return Filled(tuple(whole[0][:shared]), words, text, cut, ends, parts)
    if reader.pairs(parts):
        encoding = reader.tokenizer.encode(before + parts[0], parts[1] + after)
        second = len(before + text) - len(parts[1])  # where the second text starts in the whole prompt
    else:
        encoding, second = reader.tokenizer.encode(before + text + after, add_special_tokens=special), 0
    closed = bool(reader.rows) or reader.readout == "first"  # the model reads the special tokens at the end too
    count = len(encoding.ids) if closed else _without_ending(encoding)
    spans = [
        (start + second, end + second) if of == 1 else (start, end)
        for (start, end), of in zip(encoding.offsets, encoding.sequence_ids, strict=True)
    ][:count]
    types = tuple(encoding.type_ids[:count]) if reader.token_types else ()
    ids, ends = tuple(encoding.ids[:count]), tuple(end for _, end in spans)
    return Filled(ids, (), text, cut, ends, parts, types, _inside(reader, parts, spans))


def _inside(reader: Reader, parts: tuple[str, ...], spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return the tokens that hold characters of the texts; none where the position does not need them."""
    if reader.spec.position not in ("text_end", "text_mean"):
        return ()
    start, texts = 0, []
    for before, part in zip(reader.spec.pieces, parts, strict=False):
        start += len(before)
        texts.append((start, start + len(part)))
        start += len(part)
    return tuple(
        t for t, (first, end) in enumerate(spans) if any(max(first, left) < min(end, right) for left, right in texts)
    )


def _placed(reader: Reader, filled: Filled) -> Filled:
    """Return the prompt with the tokens to read. A causal model reads the end of a text as that of its prompt."""
    position = reader.spec.position
    if position not in ("text_end", "text_mean"):
        return filled
    if not filled.places:
        raise PromptError(
            f'A prompt has no token of its text left to read at prompt.position = "{position}"; raise '
            f"prompt.max_tokens."
        )
    last = filled.places[-1]
    if position == "text_mean":
        return filled
    if reader.readout == "first":
        return replace(filled, places=(last,))
    return replace(filled, ids=filled.ids[: last + 1], ends=filled.ends[: last + 1], places=())


def _without_ending(encoding: Encoding) -> int:
    """Return the number of ids before the special tokens that the tokenizer appends."""
    count = len(encoding.ids)
    while count and encoding.special_tokens_mask[count - 1]:
        count -= 1
    return count
