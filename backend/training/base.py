"""Where a training starts: the base, checked and opened, or the last state of an interrupted run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, set_seed
from transformers.trainer_utils import get_last_checkpoint

from backend.errors import StudyError
from backend.models.files.facts import read_facts
from backend.models.files.locate import locate
from backend.study.config import Study
from backend.study.trainers.state import STATE


def check_base(study: Study) -> None:
    """Raise StudyError for a study without answers, or a base of another family, or a causal one without a token head.

    Training would replace the head of such a base by a random one. Ordered values are trained as classes, with words.
    """
    if study.kind == "ordered":
        raise StudyError(
            "finetune trains models to answer with a label word, and an ordered label has none; remove dataset.ordered "
            "and list its values in dataset.labels and a word for each in prompt.label_words, or train elsewhere and "
            "list the checkpoints."
        )
    if study.kind != "answers" or study.prompt.messages:
        raise StudyError(
            "finetune trains models to answer with label words after a template; set prompt.template and "
            "prompt.label_words, or train elsewhere and list the checkpoints."
        )
    facts = read_facts(locate(study.base), study.base.place)
    if facts.kind != study.family:
        raise StudyError(
            f'{study.base.place} is a {facts.architecture}, but the study has family = "{study.family}"; set it to '
            f'"{facts.kind}" in study.toml.'
        )
    if study.family == "causal" and not facts.predicts:
        raise StudyError(
            f"{study.base.place} is a {facts.architecture}, which predicts no tokens, but finetune trains a causal "
            f"model to answer with its label words; name a language model as the base, or train the classifier "
            f"elsewhere and list its checkpoints."
        )


def open_base(study: Study, base: Path, seed: int) -> tuple[Any, torch.dtype]:
    """Open the base in float32 for training, and return it with the dtype to store checkpoints in, its stored dtype.

    An encoder gets a classification head, initialized with the seed if the base has none.
    """
    set_seed(seed)
    kind: Any = AutoModelForCausalLM
    more: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False}
    if study.family == "encoder":
        kind = AutoModelForSequenceClassification
        words = dict(enumerate(study.prompt.label_words))
        more |= {"id2label": words, "label2id": {word: c for c, word in words.items()}}
    stored = kind.from_pretrained(base, dtype="auto", **more).dtype
    return kind.from_pretrained(base, dtype=torch.float32, **more), stored


def last_saved(state: Path) -> str | None:
    """Return the last complete training state, or None; remove incomplete ones, which lack trainer_state.json."""
    for place in state.glob("checkpoint-*"):
        try:
            json.loads((place / STATE).read_text("utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(place)
    return get_last_checkpoint(str(state)) if state.is_dir() else None
