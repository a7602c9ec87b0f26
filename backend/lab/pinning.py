"""Pin a study to content: fingerprints, the drawn sample and the token ids, cheap when nothing changed. No torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backend.caching.cache import Cache
from backend.errors import CheckpointError
from backend.lab.lab import Lab
from backend.lab.prompting import Asking, ask
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.classes import ClassNames
from backend.study.config import CheckpointRef, Study
from backend.study.dataset import Sample, make_sample, read_sample, source_stamp, training_texts
from backend.study.facts import BODY, reading
from backend.study.pinned import Missing, PinnedStudy

DTYPE_VARIABLE = "LAYERSHIFT_DTYPE"
DTYPES = ("float32", "float16", "bfloat16")
_SAMPLES: dict[str, tuple[Sample, tuple[ClassNames, ...]]] = {}
_ASKINGS: dict[tuple[Any, ...], Asking] = {}


def pin(study: Study, lab: Lab) -> PinnedStudy:
    """The study at this moment; checkpoints that cannot be used are listed with the reason.

    Without its base or its data a study cannot be pinned: CheckpointError, DatasetError or PromptError.
    """
    checkpoints = [_pin_checkpoint(study, study.base, lab)]
    missing: list[Missing] = []
    for ref in study.checkpoints:
        try:
            checkpoints.append(_pin_checkpoint(study, ref, lab))
        except CheckpointError as error:
            missing.append(Missing(ref.label, str(error)))
    sample, classes = _sample(study, lab.cache)
    if reading(study.family, [one.facts for one in checkpoints]) == "classifier":
        checkpoints = [_without_language_head(one) for one in checkpoints]
    asking = _asking(study, checkpoints, classes, sample, lab)
    unasked = {one.label for one in asking.missing}
    usable = tuple(one for one in checkpoints if one.label not in unasked)
    reasons = {one.label: one for one in (*missing, *asking.missing)}
    return PinnedStudy(
        study=study,
        sample=sample,
        prompts=asking.prompts,
        checkpoints=usable,
        missing=tuple(reasons[ref.label] for ref in study.checkpoints if ref.label in reasons),
        training=training_texts(study.training, study.dataset.text),
        readers=asking.readers,
        classes=classes,
        separator=asking.separator,
        separator_found=asking.found,
        warnings=(
            *(sentence for one in usable for sentence in lab.models.warnings(one.ref, study.base)),
            *_copies(usable, lab),
        ),
    )


def compute_dtype(study: Study) -> str:
    """The dtype that the study computes in; LAYERSHIFT_DTYPE goes before study.toml."""
    wanted = os.environ.get(DTYPE_VARIABLE) or study.dtype
    if wanted not in DTYPES:
        raise CheckpointError(f'{DTYPE_VARIABLE} is "{wanted}"; use one of {", ".join(DTYPES)}.')
    return wanted


def _pin_checkpoint(study: Study, ref: CheckpointRef, lab: Lab) -> PinnedCheckpoint:
    fingerprint = lab.models.fingerprint(ref, study.base)
    facts = lab.models.facts(ref, study.base)
    if facts.kind != study.family:
        raise CheckpointError(
            f'{ref.place} is a {facts.architecture}, and the study says family = "{study.family}"; set it to '
            f'"{facts.kind}" in study.toml.'
        )
    if facts.answers is not None and facts.answers != study.classes:
        raise CheckpointError(
            f"{ref.place} has a head of {facts.answers} classes and the study has {study.classes} label words; give "
            f"one word per class of the head, or name a checkpoint with {study.classes} classes."
        )
    lab.models.check(ref, study.base)
    return PinnedCheckpoint(
        fingerprint=fingerprint,
        dtype=compute_dtype(study),
        ref=ref,
        base=study.base,
        facts=facts,
        device_map=study.device_map,
    )


def _copies(checkpoints: Sequence[PinnedCheckpoint], lab: Lab) -> Iterator[str]:
    """A sentence for checkpoints that hold the weights of an earlier one."""
    first: dict[str, str] = {}
    for one in checkpoints:
        label = first.setdefault(lab.models.weights_digest(one.ref, one.base), one.label)
        if label != one.label:
            yield f"{label} and {one.label} hold the same weights; check whether one was copied over the other."


def _without_language_head(checkpoint: PinnedCheckpoint) -> PinnedCheckpoint:
    """A model that predicts next tokens as one without a head: among classifiers it answers nothing."""
    facts = checkpoint.facts
    if not facts.predicts:
        return checkpoint
    return replace(checkpoint, fingerprint=checkpoint.fingerprint + BODY, facts=facts.body)


def _sample(study: Study, cache: Cache) -> tuple[Sample, tuple[ClassNames, ...]]:
    """The drawn sample and its classes, remembered by the data's description and the state of its file.

    A hub name counts as fixed.
    """
    content = [study.dataset.model_dump(), study.prompt.label_words, source_stamp(study.dataset.path)]
    key = "drawn/" + hashlib.sha256(json.dumps(content).encode()).hexdigest()
    if key not in _SAMPLES:
        value: Any = cache.get_json(key)
        if value is None:
            sample, classes = read_sample(study.dataset, study.prompt.label_words)
            named = [[one.value, one.name, one.word] for one in classes]
            parts = [[list(one) for one in sample.parts]] if sample.parts else []
            cache.put_json(key, [sample.index.tolist(), sample.label.tolist(), list(sample.text), named, *parts])
        else:
            index, label, text, named, *parts = value
            sample = make_sample(np.array(index, dtype=np.int64), np.array(label, dtype=np.int64), text, *parts)
            classes = tuple(ClassNames(*one) for one in named)
        _keep(_SAMPLES, key, (sample, classes))
    return _SAMPLES[key]


def _asking(
    study: Study, checkpoints: Sequence[PinnedCheckpoint], classes: tuple[ClassNames, ...], sample: Sample, lab: Lab
) -> Asking:
    """How the checkpoints are asked, kept in the process: pages ask for it at every rerun."""
    content = tuple((one.fingerprint, one.dtype, one.label, one.ref.place, one.facts) for one in checkpoints)
    key = (content, sample.digest, classes, study.prompt, study.family)
    if key not in _ASKINGS:
        _keep(_ASKINGS, key, ask(study, checkpoints, classes, sample, lab))
    return _ASKINGS[key]


def _keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Remember in the process, the sixteen newest only."""
    if len(kept) >= 16:
        kept.pop(next(iter(kept)))
    kept[key] = value
