"""Choose how a study's checkpoints are prompted: tokenizer, separator, and rows of a head. No torch here.

A separator that the study does not set is the one after which the label words are more likely. A choice that cannot be
made this way is an error that names the key of study.toml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backend.errors import CheckpointError, PromptError
from backend.lab.lab import Lab
from backend.study.chat import Chat, spec_of
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.classes import ClassNames, order_rows
from backend.study.config import Study
from backend.study.dataset import Sample
from backend.study.facts import reading
from backend.study.pairs import Input
from backend.study.pinned import Missing
from backend.study.prompts import Readers, check_template, first_difference, make_prompts, pinned, with_own
from backend.study.reader import USUAL_SEPARATORS, Reader, fill, separators, silent_reader, word_reader
from backend.study.token_ids import Prompts

TRIED_TEXTS = 32
"""Texts on which separators are compared."""


@dataclass(frozen=True, eq=False)
class Asking:
    """The readers of the usable checkpoints, the prompts of the sample, and the checkpoints that cannot be prompted.

    `separator` is the text between prompt and label word, None for classification heads; `separator_chosen` is True if
    it was chosen here and not set in study.toml.
    """

    readers: Readers
    prompts: Prompts
    missing: tuple[Missing, ...]
    separator: str | None
    separator_chosen: bool


def ask(
    study: Study, checkpoints: Sequence[PinnedCheckpoint], classes: Sequence[ClassNames], sample: Sample, lab: Lab
) -> Asking:
    """Return the readers of the checkpoints, the base first, and the prompts.

    A checkpoint that cannot be prompted is listed as missing, with the reason. Raises PromptError or CheckpointError if
    it is the base, or if study.toml must set the separator.
    """
    base = checkpoints[0]
    whose = dict.fromkeys((c.fingerprint for c in checkpoints), base) if study.prompt.tokenizer == "base" else {}
    bare = _bare_readers(study, checkpoints, whose, len(classes), lab)
    by_words = bool(study.prompt.label_words) and (
        reading(study.family, [checkpoint.facts for checkpoint in checkpoints]) == "causal"
    )
    separator, chosen = None, False
    if by_words:
        separator, *others = separators(study.prompt)
        chosen = bool(others)
        separator = _likelier(checkpoints, bare, sample, lab) if chosen else separator
    readers: dict[str, Reader] = {}
    seen: dict[Reader, Prompts] = {}
    missing: list[Missing] = []
    for checkpoint in checkpoints:
        try:
            reader = _reader(checkpoint, bare[checkpoint.fingerprint], classes, separator)
            if not isinstance(study.dataset.text, str) and checkpoint.facts.token_types > 1:
                owner = whose.get(checkpoint.fingerprint, checkpoint)
                reader = replace(reader, token_types=lab.models.sets_token_types(owner.ref, owner.base))
                check_template(reader, checkpoint.ref.place)
            if reader not in seen:
                seen[reader] = make_prompts(reader, sample.inputs, sample.label)
                _check_copies(seen[reader])
            lab.models.check_prompts(checkpoint, seen[reader])
            if study.prompt.tokenizer is None and checkpoint != base:
                _check_ids(checkpoint, reader, readers[base.fingerprint], seen)
        except (CheckpointError, PromptError) as error:
            if checkpoint == base:
                raise
            missing.append(Missing(checkpoint.label, str(error)))
        else:
            readers[checkpoint.fingerprint] = reader
    prompts = seen[readers[base.fingerprint]]
    own = {key: seen[reader] for key, reader in readers.items() if seen[reader].digest != prompts.digest}
    return Asking(Readers(readers), with_own(prompts, own), tuple(missing), separator, chosen)


def _bare_readers(
    study: Study,
    checkpoints: Sequence[PinnedCheckpoint],
    whose: Mapping[str, PinnedCheckpoint],
    classes: int,
    lab: Lab,
) -> dict[str, Reader]:
    """Return the reader of each checkpoint without answers. `whose` are the owners of tokenizers that are not its own.

    A checkpoint without a chat template, as a base often is, reads the first one that another checkpoint has.
    """
    owners = {one.fingerprint: whose.get(one.fingerprint, one) for one in checkpoints}
    encoder = study.family == "encoder"
    readers = {
        key: silent_reader(lab.models.tokenizer(owner.ref, owner.base), study.prompt, encoder, classes)
        for key, owner in owners.items()
    }
    if not study.prompt.messages:
        return readers
    chats = {
        key: Chat(found, study.prompt.messages, study.prompt.fields, owner.ref.place)
        for key, owner in owners.items()
        if (found := lab.models.chat_template(owner.ref, owner.base)) is not None
    }
    if not chats:
        raise PromptError(
            f"The tokenizer of {checkpoints[0].ref.place} has no chat template, nor has that of another checkpoint; "
            f"save one with the tokenizer (chat_template.jinja), or use prompt.template instead of prompt.messages."
        )
    first = next(iter(chats.values()))
    specs = {chat: spec_of(chat, study.prompt) for chat in chats.values()}
    chosen = {key: chats.get(key, first) for key in owners}
    found = {key: replace(reader, spec=specs[chosen[key]], chat=chosen[key]) for key, reader in readers.items()}
    for key, reader in found.items():
        _check_beginning(reader, chosen[key].place)
    return found


def _check_beginning(reader: Reader, place: str) -> None:
    """Raise PromptError for a chat of an encoder without the special token that it is read at."""
    if reader.readout != "first" or reader.spec.position != "last":
        return
    marks = reader.tokenizer.encode("").ids[:1]
    if marks and reader.tokenizer.encode(reader.spec.template, add_special_tokens=False).ids[:1] != marks:
        mark = reader.tokenizer.id_to_token(marks[0])
        raise PromptError(
            f"The chat template of {place} does not begin a prompt with {mark}, where an encoder is read; add it to "
            f"the template, or use prompt.template instead of prompt.messages."
        )


def _reader(checkpoint: PinnedCheckpoint, bare: Reader, classes: Sequence[ClassNames], separator: str | None) -> Reader:
    if separator is not None:
        return word_reader(bare.tokenizer, bare.spec, (separator,), bare.chat)
    if not bare.spec.label_words:
        return bare
    rows = tuple(range(len(classes)))
    if checkpoint.facts.answers == len(classes):
        rows = order_rows(classes, checkpoint.facts.head_names, checkpoint.ref.place)
    return replace(bare, rows=rows, classes=0)


def _check_copies(prompts: Prompts) -> None:
    """Raise PromptError if every text of the sample is a copy of the first, as read or once it is cut."""
    if prompts.groups is None or len(np.unique(prompts.groups)) > 1:
        return
    cut = "raise prompt.max_tokens" if prompts.truncated.any() else "name the column of texts in dataset.text"
    raise PromptError(f"All {len(prompts.token_ids)} prompts of the sample are the same; {cut}.")


def _check_ids(checkpoint: PinnedCheckpoint, reader: Reader, base: Reader, seen: Mapping[Reader, Prompts]) -> None:
    """Raise PromptError if the checkpoint's tokenizer makes other ids of the prompts than the base's."""
    own, its = seen[reader], seen[base]
    same = own.token_ids == its.token_ids and own.token_types == its.token_types
    if same and (not reader.endings or own.continuations == its.continuations):
        return
    difference = first_difference(own, its, (reader.tokenizer, base.tokenizer))
    raise PromptError(
        f"{checkpoint.label} reads other token ids than the base: {difference}; set prompt.tokenizer in study.toml to "
        f'"own" if it was trained on its own, to "base" if on the base\'s.'
    )


def _likelier(checkpoints: Sequence[PinnedCheckpoint], bare: Mapping[str, Reader], sample: Sample, lab: Lab) -> str:
    """Return the separator after which label words are more likely. Raises PromptError if checkpoints disagree."""
    chosen = np.unique(np.linspace(0, len(sample.text) - 1, TRIED_TEXTS).astype(int))
    texts, votes, errors = [sample.inputs[int(i)] for i in chosen], {}, []
    for checkpoint in checkpoints:
        reader, possible = bare[checkpoint.fingerprint], []
        for separator in USUAL_SEPARATORS:
            try:
                prompts = make_prompts(_answering(reader, (separator,)), texts, np.zeros(len(texts)))
            except PromptError as error:
                errors.append(error)
            else:
                possible.append((separator, prompts.digest))
        if not possible:
            raise errors[0]
        if len({digest for _, digest in possible}) == 1:
            votes[checkpoint.label] = possible[0][0]
            continue
        try:
            votes[checkpoint.label] = _vote(checkpoint, _answering(reader, USUAL_SEPARATORS), texts, lab)
        except CheckpointError:
            if checkpoint == checkpoints[0]:
                raise
    if len(set(votes.values())) > 1:
        each = ", ".join(f'{label}: "{separator}"' for label, separator in votes.items())
        raise PromptError(
            f"The label words are most likely after different separators ({each}); set prompt.separator in study.toml "
            f"to the text between prompt and answer in training."
        )
    return next(iter(votes.values()))


def _answering(reader: Reader, separators: Sequence[str]) -> Reader:
    return word_reader(reader.tokenizer, reader.spec, separators, reader.chat)


def _vote(checkpoint: PinnedCheckpoint, reader: Reader, texts: Sequence[Input], lab: Lab) -> str:
    """Return the separator after which the label words together have the larger mean log-probability."""
    filled = [fill(reader, text) for text in texts]
    prompts = pinned(reader, filled, np.zeros(len(texts), dtype=np.int64))
    logits = lab.readout(checkpoint, prompts).logits.astype(np.float64).reshape(len(texts), len(USUAL_SEPARATORS), -1)
    return USUAL_SEPARATORS[int(np.logaddexp.reduce(logits, axis=2).mean(axis=0).argmax())]
