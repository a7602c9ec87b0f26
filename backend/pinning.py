"""Pin a study to content: fingerprints, the drawn sample and the token ids, cheap when nothing changed. No torch."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np

from backend.dataset import Sample, make_sample, read_sample, source_stamp, training_texts
from backend.errors import CheckpointError
from backend.lab import Lab, Missing, PinnedCheckpoint, PinnedStudy, Prompts
from backend.memo import Cache
from backend.prompts import make_prompts
from backend.study import CheckpointRef, Study

DTYPE_VARIABLE = "LAYERSHIFT_DTYPE"
DTYPES = ("float32", "float16", "bfloat16")
_SAMPLES: dict[str, Sample] = {}
_PROMPTS: dict[tuple[Any, ...], Prompts] = {}


def pin(study: Study, lab: Lab) -> PinnedStudy:
    """The study at this moment; checkpoints that cannot be used are listed with the reason.

    Without its base or its data a study cannot be pinned: CheckpointError, DatasetError or PromptError.
    """
    base = _pin_checkpoint(study, study.base, lab)
    checkpoints = [base]
    missing: list[Missing] = []
    for ref in study.checkpoints:
        try:
            checkpoints.append(_pin_checkpoint(study, ref, lab))
        except CheckpointError as error:
            missing.append(Missing(ref.label, str(error)))
    sample = _sample(study, lab.cache)
    return PinnedStudy(
        study=study,
        sample=sample,
        prompts=_prompts(study, base.fingerprint, sample, lab),
        checkpoints=tuple(checkpoints),
        missing=tuple(missing),
        training=training_texts(study.training, study.dataset.text),
        warnings=tuple(w for one in checkpoints for w in lab.models.warnings(one.ref, study.base)),
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
    if ref != study.base:
        lab.models.check(ref, study.base)
    return PinnedCheckpoint(
        fingerprint=fingerprint,
        dtype=compute_dtype(study),
        ref=ref,
        base=study.base,
        facts=facts,
        device_map=study.device_map,
    )


def _sample(study: Study, cache: Cache) -> Sample:
    """The drawn sample, remembered by the data's description and the state of its file (a hub name counts as fixed)."""
    content = [study.dataset.model_dump(), study.classes, source_stamp(study.dataset.path)]
    key = "sample/" + hashlib.sha256(json.dumps(content).encode()).hexdigest()
    if key not in _SAMPLES:
        value: Any = cache.get_json(key)
        if value is None:
            sample = read_sample(study.dataset, study.classes)
            cache.put_json(key, [sample.index.tolist(), sample.label.tolist(), list(sample.text)])
        else:
            index, label, text = value
            sample = make_sample(np.array(index, dtype=np.int64), np.array(label, dtype=np.int64), text)
        _keep(_SAMPLES, key, sample)
    return _SAMPLES[key]


def _prompts(study: Study, fingerprint: str, sample: Sample, lab: Lab) -> Prompts:
    """The prompts of the sample, kept in the process: pages ask for them at every rerun."""
    key = (fingerprint, sample.digest, study.prompt, study.family)
    if key not in _PROMPTS:
        tokenizer = lab.models.tokenizer(study.base, study.base)
        _keep(_PROMPTS, key, make_prompts(study, tokenizer, sample.text, sample.label))
    return _PROMPTS[key]


def _keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Remember in the process, the sixteen newest only."""
    if len(kept) >= 16:
        kept.pop(next(iter(kept)))
    kept[key] = value
