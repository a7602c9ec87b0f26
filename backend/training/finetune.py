"""Fine-tune a study's base on labelled texts, with checkpoints and a training log; runs can be resumed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, Trainer, TrainingArguments

from backend.errors import DatasetError, LayershiftError, StudyError
from backend.models.files.locate import locate
from backend.study.config import DatasetSpec, Study, TrainingSpec
from backend.study.dataset import Rows, balanced, classify, read_table, source_stamp
from backend.study.prompts import check_template
from backend.study.reader import Reader, plain_reader
from backend.study.trainers.state import numbers
from backend.training.base import check_base, last_saved, open_base
from backend.training.recipes import RECIPES, Collate, SoundTrainer, classified_rows, published_rows, sound_rows
from backend.training.recorder import Recorder

LOGS_PER_EPOCH = 40
TESTS_PER_EPOCH = 5
SAVES_PER_EPOCH = 4


def finetune(study: Study, data: Path | None = None, overwrite: bool = False) -> None:
    """Train the study's base as its [training] says and write its checkpoints to the study's paths, in order of steps.

    They are saved after every step in `save_steps` and after every epoch. `data` replaces the training source by a
    local file. An interrupted run resumes; finished checkpoints are kept unless `overwrite`. Raises
    StudyError, DatasetError, PromptError or CheckpointError.
    """
    check_base(study)
    spec = _training_spec(study, data)
    places = _places(study, spec)
    state = study.folder / "finetune-training"
    plan = _plan(study, spec)
    _prepare(state, plan, places, overwrite)

    base = locate(study.base).folder
    tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.encode_special_tokens = bool(tokenizer.split_special_tokens)  # its text does not hold this
    model, stored = open_base(study, base, spec.seed)
    reader = _reader(study, backend, "token_type_ids" in tokenizer.model_input_names, model.config)
    train, held_out = _rows(study, spec)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    recipe = RECIPES[spec.recipe]
    if study.family == "encoder":
        rows = classified_rows(reader, train.inputs, train.label)
    elif spec.recipe == "sound":
        context = int(getattr(model.config, "max_position_embeddings", 1 << 30))
        rows = sound_rows(study, backend, train.inputs, train.label, context)
    else:
        rows = published_rows(study, backend, train.inputs, train.label, pad)
    effective = spec.batch_size * recipe.accumulate
    steps = -(-len(rows) // effective)
    saves = dict(zip(_saves(study, spec, steps), places, strict=True))
    _check_names(study, saves, steps)
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    arguments = TrainingArguments(
        output_dir=str(state),
        per_device_train_batch_size=spec.batch_size,
        gradient_accumulation_steps=recipe.accumulate,
        num_train_epochs=spec.epochs,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=recipe.scheduler,
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        logging_steps=max(1, steps // LOGS_PER_EPOCH),
        save_strategy="steps",
        save_steps=max(1, steps // SAVES_PER_EPOCH),
        save_total_limit=1,
        bf16=bf16,
        fp16=torch.cuda.is_available() and not bf16,
        report_to="none",
        use_cache=study.family == "causal",
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        seed=spec.seed,
        data_seed=spec.seed,
    )
    recorder = Recorder(study, reader, tokenizer, held_out, saves, stored, max(1, steps // TESTS_PER_EPOCH))
    trainer_class = SoundTrainer if spec.recipe == "sound" and study.family == "causal" else Trainer
    trainer = trainer_class(
        model=model, args=arguments, train_dataset=rows, data_collator=Collate(pad), callbacks=[recorder]
    )
    trainer.train(resume_from_checkpoint=last_saved(state))
    shutil.rmtree(state)


def _training_spec(study: Study, data: Path | None) -> TrainingSpec:
    """Return the study's [training], with its source replaced if the caller names a file."""
    if study.training is None:
        raise StudyError(f"{study.name} has no [training] in its study.toml; add one to fine-tune.")
    if study.family == "encoder" and study.training.recipe != "sound":
        raise StudyError(
            f'{study.name}: training.recipe "{study.training.recipe}" is only for causal models; set it to "sound", '
            f"which trains a classification head on the encoder."
        )
    if data is None:
        return study.training
    return study.training.model_copy(update={"path": str(data.expanduser().resolve()), "repo": None})


def _reader(study: Study, tokenizer: Tokenizer, sets_types: bool, config: Any) -> Reader:
    """How the analyses will ask the checkpoints: with token types where pairs of texts have them. PromptError."""
    types = sets_types and not isinstance(study.dataset.text, str) and getattr(config, "type_vocab_size", 1) > 1
    reader = plain_reader(tokenizer, study.prompt, study.family, types and study.family == "encoder")
    check_template(reader, study.base.place)
    return reader


def _places(study: Study, spec: TrainingSpec) -> list[Path]:
    """Return the path of each saved checkpoint: the local paths of the study's epochs, in order."""
    places = [Path(ref.path) for ref in study.epochs if ref.path is not None]
    count = spec.epochs + len(spec.save_steps)
    if len(places) != len(study.epochs) or len(places) != count:
        listed = len(spec.save_steps)
        more = f" and training.save_steps lists {listed} step{'s' * (listed > 1)}" if listed else ""
        raise StudyError(
            f"{study.name}: training.epochs is {spec.epochs}{more}, so the study must list {count} checkpoints with a "
            f"local path; it lists {len(places)}."
        )
    return places


def _saves(study: Study, spec: TrainingSpec, steps: int) -> list[int]:
    """Return the steps after which a checkpoint is saved, in order, for epochs of `steps` steps. StudyError."""
    ends = [steps * epoch for epoch in range(1, spec.epochs + 1)]
    for step in spec.save_steps:
        if step in ends:
            raise StudyError(
                f"{study.name}: training.save_steps lists {step}, which is the end of epoch {step // steps} and is "
                f"saved anyway; remove it, and its checkpoint."
            )
        if step > ends[-1]:
            raise StudyError(
                f"{study.name}: training.save_steps lists {step}, but the training has {ends[-1]} steps; remove it, "
                f"and its checkpoint."
            )
    return sorted([*spec.save_steps, *ends])


def _check_names(study: Study, saves: dict[int, Path], steps: int) -> None:
    """Check that no checkpoint of a study with save_steps states another step or epoch than its own. StudyError."""
    for step, place in saves.items() if study.training and study.training.save_steps else ():
        own = {"step": step, "epoch": step // steps if step % steps == 0 else None}
        if any(own[unit] != number for unit, number in numbers(place.name)):
            what = f"step {step}" + (f", the end of epoch {own['epoch']}" if own["epoch"] else "")
            raise StudyError(
                f"{study.name}: {place} would hold {what}; list the checkpoints in the order in which they are saved: "
                f"steps {', '.join(map(str, saves))}."
            )


def _plan(study: Study, spec: TrainingSpec) -> str:
    """Return a digest of all settings that a resumed run must share with the interrupted one."""
    content = [spec.model_dump(), study.prompt.model_dump(), study.base.model_dump(), source_stamp(spec.path)]
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()


def _prepare(state: Path, plan: str, places: list[Path], overwrite: bool) -> None:
    """Keep the state of a matching interrupted run, or start from scratch if that overwrites no checkpoint."""
    note = state / "plan.txt"
    resumes = note.exists() and note.read_text() == plan
    if resumes and not overwrite:
        return
    existing = [place for place in places if place.exists()]
    if existing and not overwrite:
        raise LayershiftError(f"{existing[0]} exists already; pass --overwrite to train again, or move it away.")
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    note.write_text(plan)


def _rows(study: Study, spec: TrainingSpec) -> tuple[Rows, Rows]:
    """Return training rows and held-out rows, drawn with the seed, without overlap."""
    columns = DatasetSpec(
        repo=spec.repo,
        path=spec.path,
        config=spec.config,
        split=spec.split,
        text=study.dataset.text,
        label=study.dataset.label,
        labels=study.dataset.labels,
    )
    rows, _ = classify(read_table(columns), columns, study.prompt.label_words)
    held_out = spec.held_out - spec.held_out % study.classes
    fewest = int(np.bincount(rows.label, minlength=study.classes).min())
    if fewest < held_out // study.classes:
        raise DatasetError(
            f"{spec.path or spec.repo} has {fewest} usable texts of one class, fewer than the "
            f"{held_out // study.classes} that training.held_out = {held_out} takes of each; lower it or add texts."
        )
    kept = balanced(rows, held_out, study.classes, spec.seed, str(spec.path or spec.repo))
    rest = np.flatnonzero(~np.isin(rows.index, kept.index))
    if spec.sample is not None:
        if len(rest) < spec.sample:
            raise DatasetError(
                f"training.sample is {spec.sample}, but only {len(rest)} texts are left besides the {held_out} held "
                f"out; lower it."
            )
        rest = np.sort(np.random.default_rng(spec.seed).choice(rest, spec.sample, replace=False))
    return rows.some(rest.tolist()), Rows(kept.index, kept.label, kept.text, kept.parts)
