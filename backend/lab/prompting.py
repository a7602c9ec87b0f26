"""How a study's checkpoints are asked: whose tokenizer, which separator, which rows of a head. No torch here.

What the study does not say is found out: the separator by what the checkpoints find likelier. What cannot be found out
is an error that names the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tokenizers import Tokenizer

from backend.errors import CheckpointError, PromptError
from backend.lab.lab import Lab
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.classes import ClassNames, order_rows
from backend.study.config import Study
from backend.study.dataset import Sample
from backend.study.facts import reading
from backend.study.pairs import Input
from backend.study.pinned import Missing
from backend.study.prompts import (
    USUAL_SEPARATORS,
    Reader,
    Readers,
    check_template,
    fill,
    first_difference,
    make_prompts,
    pinned,
    with_own,
    word_reader,
)
from backend.study.token_ids import Prompts

TRIED_TEXTS = 32
"""Texts on which separators are tried: enough to tell the likelier one, if one is."""


@dataclass(frozen=True, eq=False)
class Asking:
    """The readers of the checkpoints that can be asked, the prompts of the sample, and the checkpoints that cannot.

    `separator` stands between prompt and label word, None where heads answer; `found` says that no key gave it.
    """

    readers: Readers
    prompts: Prompts
    missing: tuple[Missing, ...]
    separator: str | None
    found: bool


def ask(
    study: Study, checkpoints: Sequence[PinnedCheckpoint], classes: Sequence[ClassNames], sample: Sample, lab: Lab
) -> Asking:
    """Readers of the checkpoints, the base first, and the prompts that they make.

    A checkpoint that cannot be asked is missing, with the reason. Raises PromptError or CheckpointError where that is
    the base, or where the study must say which separator counts.
    """
    base = checkpoints[0]
    tokenizers = {one.fingerprint: lab.models.tokenizer(one.ref, one.base) for one in checkpoints}
    if study.prompt.tokenizer == "base":
        tokenizers = dict.fromkeys(tokenizers, tokenizers[base.fingerprint])
    by_words = reading(study.family, [one.facts for one in checkpoints]) == "causal"
    separator, found = None, False
    if by_words:
        found = study.prompt.separator is None
        separator = _likelier(study, checkpoints, tokenizers, sample, lab) if found else study.prompt.separator
    readers: dict[str, Reader] = {}
    seen: dict[Reader, Prompts] = {}
    missing: list[Missing] = []
    for one in checkpoints:
        try:
            reader = _reader(study, one, tokenizers[one.fingerprint], classes, separator)
            if not isinstance(study.dataset.text, str) and one.facts.token_types > 1:
                whose = base if study.prompt.tokenizer == "base" else one
                reader = replace(reader, token_types=lab.models.sets_token_types(whose.ref, whose.base))
                check_template(reader, one.ref.place)
            if reader not in seen:
                seen[reader] = make_prompts(reader, sample.inputs, sample.label)
                _check_copies(seen[reader])
            lab.models.check_prompts(one, seen[reader])
            if study.prompt.tokenizer is None and one != base:
                _check_ids(one, reader, readers[base.fingerprint], seen)
        except (CheckpointError, PromptError) as error:
            if one == base:
                raise
            missing.append(Missing(one.label, str(error)))
        else:
            readers[one.fingerprint] = reader
    prompts = seen[readers[base.fingerprint]]
    own = {key: seen[reader] for key, reader in readers.items() if seen[reader].digest != prompts.digest}
    return Asking(Readers(readers), with_own(prompts, own), tuple(missing), separator, found)


def _reader(
    study: Study, one: PinnedCheckpoint, tokenizer: Tokenizer, classes: Sequence[ClassNames], separator: str | None
) -> Reader:
    if separator is not None:
        return word_reader(tokenizer, study.prompt, (separator,))
    rows = tuple(range(len(classes)))
    if one.facts.answers == len(classes):
        rows = order_rows(classes, one.facts.head_names, one.ref.place)
    return Reader(tokenizer, study.prompt, rows=rows, readout="first" if study.family == "encoder" else "last")


def _check_copies(prompts: Prompts) -> None:
    """Raise PromptError where every text of the sample is a copy of one, as read or once it is cut."""
    if prompts.groups is None or len(np.unique(prompts.groups)) > 1:
        return
    cut = "raise prompt.max_tokens" if prompts.truncated.any() else "name the column of texts in dataset.text"
    raise PromptError(f"All {len(prompts.token_ids)} prompts of the sample are the same; {cut}.")


def _check_ids(one: PinnedCheckpoint, reader: Reader, base: Reader, seen: Mapping[Reader, Prompts]) -> None:
    """Raise PromptError where the checkpoint's tokenizer makes other ids of the prompts than the base's."""
    own, its = seen[reader], seen[base]
    same = own.token_ids == its.token_ids and own.token_types == its.token_types
    if same and (not reader.endings or own.continuations == its.continuations):
        return
    where = first_difference(own, its, (reader.tokenizer, base.tokenizer))
    raise PromptError(
        f'{one.label} reads other token ids than the base: {where}; set prompt.tokenizer in study.toml to "own" if it '
        f'was trained on its own, to "base" if on the base\'s.'
    )


def _likelier(
    study: Study,
    checkpoints: Sequence[PinnedCheckpoint],
    tokenizers: Mapping[str, Tokenizer],
    sample: Sample,
    lab: Lab,
) -> str:
    """The separator behind which the checkpoints find the label words likelier. PromptError where they disagree."""
    chosen = np.unique(np.linspace(0, len(sample.text) - 1, TRIED_TEXTS).astype(int))
    texts, votes, errors = [sample.inputs[int(i)] for i in chosen], {}, []
    for one in checkpoints:
        tokenizer, possible = tokenizers[one.fingerprint], []
        for separator in USUAL_SEPARATORS:
            try:
                prompts = make_prompts(word_reader(tokenizer, study.prompt, (separator,)), texts, np.zeros(len(texts)))
            except PromptError as error:
                errors.append(error)
            else:
                possible.append((separator, prompts.digest))
        if not possible:
            raise errors[0]
        if len({digest for _, digest in possible}) == 1:
            votes[one.label] = possible[0][0]
            continue
        try:
            votes[one.label] = _vote(one, word_reader(tokenizer, study.prompt, USUAL_SEPARATORS), texts, lab)
        except CheckpointError:
            if one == checkpoints[0]:
                raise
    if len(set(votes.values())) > 1:
        each = ", ".join(f'{label}: "{separator}"' for label, separator in votes.items())
        raise PromptError(
            f"The checkpoints find the label words likelier behind different separators ({each}); set prompt.separator "
            f"in study.toml to what stood between prompt and answer in training."
        )
    return next(iter(votes.values()))


def _vote(one: PinnedCheckpoint, reader: Reader, texts: Sequence[Input], lab: Lab) -> str:
    """The separator behind which the label words together have the larger mean log-probability."""
    filled = [fill(reader, text) for text in texts]
    prompts = pinned(reader, filled, np.zeros(len(texts), dtype=np.int64))
    logits = lab.readout(one, prompts).logits.astype(np.float64).reshape(len(texts), len(USUAL_SEPARATORS), -1)
    return USUAL_SEPARATORS[int(np.logaddexp.reduce(logits, axis=2).mean(axis=0).argmax())]
