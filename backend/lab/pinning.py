"""Pin a study to content: fingerprints, the sample and the token ids; fast when nothing changed. No torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backend.caching.cache import Cache
from backend.errors import CheckpointError
from backend.lab.lab import Lab
from backend.lab.prompting import Asking, ask
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.classes import ClassNames, is_number, unsure_rows
from backend.study.config import CheckpointRef, Study
from backend.study.dataset import Sample, TrainingTexts, make_sample, read_sample, source_stamp, training_texts
from backend.study.facts import BODY, reading
from backend.study.own_texts import read_own_texts
from backend.study.pinned import Missing, PinnedStudy
from backend.study.prompts import Readers
from backend.study.tables.columns import listed
from backend.study.token_ids import Prompts

DTYPE_VARIABLE = "LAYERSHIFT_DTYPE"
READERS = 4
"""Checkpoints whose files are read at once."""
DTYPES = ("float32", "float16", "bfloat16")
_SAMPLES: dict[str, tuple[Sample, tuple[ClassNames, ...]]] = {}
_ASKINGS: dict[tuple[Any, ...], Asking] = {}
_PINNED: dict[tuple[Path, str], tuple[Study, Any, PinnedStudy]] = {}
"""By folder and dtype, with the study and the state of its files when it was pinned, None if that is unknown."""


def pin(study: Study, lab: Lab, tried: bool = False) -> PinnedStudy:
    """Return the study as its files are now; unusable checkpoints are listed with the reason.

    If `tried`, checkpoints whose values may overflow read a few prompts first, unless they have done so before. Raises
    CheckpointError, DatasetError or PromptError if its base or its data cannot be used.

    The study of an earlier call is returned while no file has changed.
    """
    place = (study.folder, compute_dtype(study, lab))
    known = _PINNED.get(place)
    state = None if known is None else _state(study, lab)  # a study that is pinned once needs none
    if known is not None and state is not None and known[:2] == (study, state):
        pinned = known[2]
        if not _overflowing(pinned.checkpoints, pinned.prompts, lab, tried):
            return pinned
    pinned = _read(study, lab, tried)
    _keep(_PINNED, place, (study, None if pinned.missing else state, pinned))
    return pinned


def _state(study: Study, lab: Lab) -> Any | None:
    """Return the state of all files that the study is read from; None if it is unknown or a checkpoint is lacking."""
    try:
        states = [lab.models.state(ref) for ref in (study.base, *study.checkpoints)]
    except CheckpointError:
        return None
    if None in states:
        return None
    return states, source_stamp(study.dataset.path), _training(study), read_own_texts(study)


def _training(study: Study) -> TrainingTexts | None:
    return training_texts(study.training, study.dataset.text)


def _read(study: Study, lab: Lab, tried: bool) -> PinnedStudy:
    with _fingerprints(study, lab) as fingerprints:
        checkpoints = [_pin_checkpoint(study, study.base, fingerprints[0], lab)]
        missing: list[Missing] = []
        for ref, fingerprint in zip(study.checkpoints, fingerprints[1:], strict=True):
            try:
                checkpoints.append(_pin_checkpoint(study, ref, fingerprint, lab))
            except CheckpointError as error:
                missing.append(Missing(ref.label, str(error)))
    sample, classes = _sample(study, lab.cache)
    if reading(study.family, [checkpoint.facts for checkpoint in checkpoints]) == "classifier":
        checkpoints = [_without_language_head(checkpoint) for checkpoint in checkpoints]
    asking = _asking(study, checkpoints, classes, sample, lab)
    unasked = {checkpoint.label for checkpoint in asking.missing}
    asked = [checkpoint for checkpoint in checkpoints if checkpoint.label not in unasked]
    overflowing = _overflowing(asked, asking.prompts, lab, tried)
    usable = tuple(checkpoint for checkpoint in asked if checkpoint.label not in overflowing)
    reasons = {one.label: one for one in (*missing, *asking.missing)} | overflowing
    return PinnedStudy(
        study=study,
        sample=sample,
        prompts=asking.prompts,
        checkpoints=usable,
        missing=tuple(reasons[ref.label] for ref in study.checkpoints if ref.label in reasons),
        training=_training(study),
        readers=asking.readers,
        classes=classes,
        separator=asking.separator,
        separator_found=asking.separator_chosen,
        own_texts=read_own_texts(study),
        warnings=(
            *study.notes,
            *_unstated(study, classes),
            *([] if asking.separator is None else _two_spaces(study, asking)),
            *(sentence for checkpoint in usable for sentence in lab.models.warnings(checkpoint.ref, study.base)),
            *_copies(usable, lab),
            *_doubtful_rows(usable, classes, asking.readers),
            *_borrowed(study, usable, asking.readers),
        ),
    )


def _overflowing(
    checkpoints: Sequence[PinnedCheckpoint], prompts: Prompts, lab: Lab, tried: bool
) -> dict[str, Missing]:
    """Return the checkpoints whose values are not finite, by label. Raises CheckpointError if the base is one."""
    found: dict[str, Missing] = {}
    for checkpoint in checkpoints:
        try:
            lab.models.check_values(checkpoint, prompts, tried)
        except CheckpointError as error:
            if checkpoint == checkpoints[0]:
                raise
            found[checkpoint.label] = Missing(checkpoint.label, str(error))
    return found


def compute_dtype(study: Study, lab: Lab) -> str:
    """Return the dtype that the study computes in; LAYERSHIFT_DTYPE overrides study.toml.

    Without either it is the dtype of the base's weights on CUDA, and float32 on other devices.
    """
    dtype = os.environ.get(DTYPE_VARIABLE) or study.dtype
    if dtype is None:
        on_gpu = lab.models.device.startswith("cuda")
        dtype = lab.models.facts(study.base, study.base).stored if on_gpu else "float32"
    if dtype not in DTYPES:
        raise CheckpointError(f'{DTYPE_VARIABLE} is "{dtype}"; use one of {", ".join(DTYPES)}.')
    return dtype


@contextmanager
def _fingerprints(study: Study, lab: Lab) -> Iterator[list[Future[str]]]:
    """Yield the fingerprints of base and checkpoints, which are computed while earlier checkpoints are checked."""
    with ThreadPoolExecutor(READERS, "fingerprint") as pool:
        try:
            yield [pool.submit(lab.models.fingerprint, ref, study.base) for ref in (study.base, *study.checkpoints)]
        finally:
            pool.shutdown(cancel_futures=True)


def _pin_checkpoint(study: Study, ref: CheckpointRef, fingerprint: Future[str], lab: Lab) -> PinnedCheckpoint:
    digits = fingerprint.result()
    facts = lab.models.facts(ref, study.base)
    if facts.kind != study.family:
        raise CheckpointError(
            f'{ref.place} is a {facts.architecture}, but the study has family = "{study.family}"; set it to '
            f'"{facts.kind}" in study.toml.'
        )
    if study.kind == "answers" and facts.answers is not None and facts.answers != study.classes:
        raise CheckpointError(
            f"{ref.place} has a head of {facts.answers} classes and the study has {study.classes} label words; give "
            f"one word per class of the head, or name a checkpoint with {study.classes} classes."
        )
    lab.models.check(ref, study.base)
    return PinnedCheckpoint(
        fingerprint=digits,
        dtype=compute_dtype(study, lab),
        ref=ref,
        base=study.base,
        facts=replace(facts, asked=study.kind == "answers"),
        device_map=study.device_map,
    )


def _copies(checkpoints: Sequence[PinnedCheckpoint], lab: Lab) -> Iterator[str]:
    """Yield a sentence for each checkpoint with the same weights as an earlier one."""
    first: dict[str, str] = {}
    for checkpoint in checkpoints:
        label = first.setdefault(lab.models.weights_digest(checkpoint.ref, checkpoint.base), checkpoint.label)
        if label != checkpoint.label:
            yield f"{label} and {checkpoint.label} hold the same weights; check whether one was copied over the other."


def _unstated(study: Study, classes: Sequence[ClassNames]) -> Iterator[str]:
    """Yield a sentence for a label of numbers that may be classes or an order, and that study.toml does not decide."""
    dataset, values = study.dataset, [names.value for names in classes]
    numbers = all(names.name is None and is_number(names.value) for names in classes)
    if study.kind == "contrast" and dataset.ordered is None and dataset.labels is None and len(values) > 2 and numbers:
        yield (
            f'The values of "{dataset.label}" ({listed(values)}) are compared as classes; set dataset.ordered to true '
            f"if they are an order, such as stars, or to false if they are names."
        )


def _two_spaces(study: Study, asking: Asking) -> Iterator[str]:
    """Yield a sentence where study.toml puts two spaces before the answer."""
    spec, spaces = study.prompt, "two spaces stand before the answer; remove one, unless the model was trained so."
    word = next((word for word in spec.label_words if word.startswith(" ")), None)
    if asking.separator and asking.separator.endswith(" ") and word is not None:
        yield f'prompt.separator ends with a space and the label word "{word}" begins with one, so {spaces}'
    elif asking.separator and asking.separator.startswith(" ") and spec.pieces[-1].endswith(" "):
        yield f"prompt.template ends with a space and the separator begins with one, so {spaces}"


def _doubtful_rows(
    checkpoints: Sequence[PinnedCheckpoint], classes: Sequence[ClassNames], readers: Readers
) -> Iterator[str]:
    """Yield a sentence for each distinct head whose rows may belong to other classes."""
    heads: dict[tuple[tuple[str, ...], tuple[int, ...]], list[str]] = {}
    for checkpoint in checkpoints:
        if checkpoint.facts.asked and checkpoint.facts.answers == len(classes):
            rows = readers.of[checkpoint.fingerprint].rows
            heads.setdefault((checkpoint.facts.head_names, rows), []).append(checkpoint.label)
    for (names, rows), labels in heads.items():
        doubt = unsure_rows(classes, names, rows) if rows else None
        if doubt is not None:
            of_head = f" ({', '.join(f'{row} {name!r}' for row, name in enumerate(names))})" if names else ""
            each = ", ".join(
                f"{one.value} -> {one.word!r} -> row {row}" for one, row in zip(classes, rows, strict=True)
            )
            yield (
                f"The rows of the head of {', '.join(labels)}{of_head} {doubt} ({each}); check the classes, or put "
                f"their names into id2label of config.json."
            )


def _borrowed(study: Study, checkpoints: Sequence[PinnedCheckpoint], readers: Readers) -> Iterator[str]:
    """Yield a sentence for the checkpoints that read the chat template of another, as a base often does."""
    labels = {checkpoint.ref.place: checkpoint.label for checkpoint in reversed(checkpoints)}
    borrowers: dict[str, list[str]] = {}
    for checkpoint in checkpoints:
        chat = readers.of[checkpoint.fingerprint].chat
        owner = study.base if study.prompt.tokenizer == "base" else checkpoint.ref
        if chat is not None and chat.place != owner.place:
            borrowers.setdefault(chat.place, []).append(checkpoint.label)
    for place, names in borrowers.items():
        yield (
            f"Without a chat template of its own, the prompts are rendered by that of {labels.get(place, place)}: "
            f"{', '.join(names)}; save chat_template.jinja with the tokenizer to change this."
        )


def _without_language_head(checkpoint: PinnedCheckpoint) -> PinnedCheckpoint:
    """Return a language model without its head, which gives no answers in a study of classifiers."""
    facts = checkpoint.facts
    if not facts.predicts:
        return checkpoint
    return replace(checkpoint, fingerprint=checkpoint.fingerprint + BODY, facts=facts.body)


def _sample(study: Study, cache: Cache) -> tuple[Sample, tuple[ClassNames, ...]]:
    """Return the sample and its classes, cached by the dataset settings and the state of its file.

    A dataset on the hub is assumed not to change.
    """
    content = [study.dataset.model_dump(), study.prompt.label_words, source_stamp(study.dataset.path)]
    key = "drawn/2/" + hashlib.sha256(json.dumps(content).encode()).hexdigest()
    if key not in _SAMPLES:
        value: Any = cache.get_json(key)
        if value is None:
            sample, classes = read_sample(study.dataset, study.prompt.label_words)
            named = [[entry.value, entry.name, entry.word] for entry in classes]
            more = [[list(entry) for entry in sample.parts], list(sample.values)]
            cache.put_json(key, [sample.index.tolist(), sample.label.tolist(), list(sample.text), named, *more])
        else:
            index, label, text, named, *more = value
            sample = make_sample(np.array(index, dtype=np.int64), np.array(label, dtype=np.int64), text, *more)
            classes = tuple(ClassNames(*entry) for entry in named)
        _keep(_SAMPLES, key, (sample, classes))
    return _SAMPLES[key]


def _asking(
    study: Study, checkpoints: Sequence[PinnedCheckpoint], classes: tuple[ClassNames, ...], sample: Sample, lab: Lab
) -> Asking:
    """Return readers and prompts of the checkpoints, kept in the process because pages need them at every rerun."""
    content = tuple(
        (checkpoint.fingerprint, checkpoint.dtype, checkpoint.label, checkpoint.ref.place, checkpoint.facts)
        for checkpoint in checkpoints
    )
    chats = [lab.models.chat_template(one.ref, one.base) for one in checkpoints if study.prompt.messages]
    key = (content, sample.digest, classes, study.prompt, study.family, tuple(chats))
    if key not in _ASKINGS:
        _keep(_ASKINGS, key, ask(study, checkpoints, classes, sample, lab))
    return _ASKINGS[key]


def _keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Keep the value in the process; only the sixteen newest are kept."""
    if key not in kept and len(kept) >= 16:
        kept.pop(next(iter(kept)), None)
    kept[key] = value
