"""Fine-tune a study's base on labelled texts, with checkpoints and a training log; runs can be resumed."""

from __future__ import annotations

import copy
import csv
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

from backend.errors import DatasetError, LayershiftError, StudyError
from backend.models.files.locate import locate
from backend.models.runtime.forward import pick
from backend.stats.intervals import balanced_accuracy_interval
from backend.stats.metrics import balanced_accuracy, predictions, recalls
from backend.study.config import DatasetSpec, Study, TrainingSpec
from backend.study.dataset import Rows, balanced, classify, read_table, source_stamp
from backend.study.prompts import Reader, check_template, make_prompts, plain_reader
from backend.study.token_ids import Prompts
from backend.study.trainers.state import STATE, numbers
from backend.study.training_log import COLUMNS, LOG
from backend.study.whole_words import expand
from backend.training.base import check_base, last_saved, open_base
from backend.training.recipes import RECIPES, Collate, SoundTrainer, classified_rows, published_rows, sound_rows

LOGS_PER_EPOCH = 40
TESTS_PER_EPOCH = 5
SAVES_PER_EPOCH = 4


def finetune(study: Study, data: Path | None = None, overwrite: bool = False) -> None:
    """Train the study's base as its [training] says and write its checkpoints to the study's paths, in order of steps.

    They are saved after every step in `save_steps` and after every epoch. `data` replaces the training source by a
    local file. An interrupted run resumes; finished checkpoints are kept unless `overwrite`. Raises
    StudyError, DatasetError, PromptError or CheckpointError.
    """
    spec = _training_spec(study, data)
    check_base(study)
    places = _places(study, spec)
    state = study.folder / "finetune-training"
    plan = _plan(study, spec)
    _prepare(state, plan, places, overwrite)

    base = locate(study.base).folder
    tokenizer = AutoTokenizer.from_pretrained(base)
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
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
        split=spec.split,
        text=study.dataset.text,
        label=study.dataset.label,
        labels=study.dataset.labels,
    )
    rows, _ = classify(read_table(columns), columns, study.prompt.label_words)
    held_out = spec.held_out - spec.held_out % study.classes
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


class Recorder(TrainerCallback):
    """Writes training.csv during training, tests on held-out texts, and stores the checkpoints.

    `saves` holds the path of each checkpoint by the step after which it is saved.
    """

    def __init__(
        self,
        study: Study,
        reader: Reader,
        tokenizer: Any,
        held_out: Rows,
        saves: dict[int, Path],
        stored: torch.dtype,
        every: int,
    ) -> None:
        self.log = study.folder / LOG
        self.tokenizer, self.saves, self.stored, self.every = tokenizer, saves, stored, every
        self.words = expand(make_prompts(reader, held_out.inputs, held_out.label))
        self.labels = held_out.label

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the log's lines up to the step that training resumes from."""
        kept: list[list[str]] = []
        if state.global_step and self.log.exists():
            with self.log.open(newline="") as file:
                kept = [row for row in list(csv.reader(file))[1:] if int(row[0]) <= state.global_step]
        with self.log.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *kept])

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write one line per logged loss."""
        if logs and "loss" in logs:
            self._write(state, loss=float(logs["loss"]), learning_rate=float(logs["learning_rate"]))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write one line per test on held-out texts, and store the checkpoint of this step if there is one.

        A checkpoint holds weights, config, tokenizer and trainer_state.json; it appears only once it is complete.
        """
        place = self.saves.get(state.global_step)
        if state.global_step % self.every == 0 or place is not None:
            self._test(state, kwargs["model"])
        if place is None:
            return
        model = kwargs["model"]
        half_done = place.with_name(place.name + ".part")
        shutil.rmtree(half_done, ignore_errors=True)
        model.save_pretrained(half_done, state_dict=stored_weights(model, self.stored))
        config = copy.deepcopy(model.config)
        config.dtype = self.stored
        config.save_pretrained(half_done)
        self.tokenizer.save_pretrained(half_done)
        state.save_to_json(str(half_done / STATE))
        shutil.rmtree(place, ignore_errors=True)
        os.replace(half_done, place)

    def _test(self, state: Any, model: Any) -> None:
        """Write the balanced accuracy of the label words on the held-out texts."""
        logits, labels = self.words.combine_rows(held_out_logits(model, self.words.prompts)), self.labels
        by_class = recalls(predictions(logits), labels, logits.shape[1])
        accuracy = float(balanced_accuracy(by_class))
        low, high = balanced_accuracy_interval(by_class, np.bincount(labels))
        self._write(
            state,
            held_out_accuracy=accuracy,
            held_out_low=low,
            held_out_high=high,
            held_out_n=len(labels),
        )

    def _write(self, state: Any, **values: float | int) -> None:
        line = {"step": state.global_step, "epoch": round(state.epoch, 6), **values}
        with self.log.open("a", newline="") as file:
            csv.writer(file).writerow([line.get(column, "") for column in COLUMNS])


def stored_weights(model: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Cast the weights to the dtype to store; tied matrices stay one tensor, so they are stored once."""
    cast: dict[int, torch.Tensor] = {}
    state = model.state_dict()
    return {name: cast.setdefault(value.data_ptr(), value.detach().to(dtype)) for name, value in state.items()}


@torch.no_grad()
def held_out_logits(model: Any, prompts: Prompts) -> np.ndarray:
    """Return logits of the label tokens or head rows [texts, columns], computed in batches of similar length."""
    token_ids = prompts.token_ids
    training = model.training
    model.eval()
    order = sorted(range(len(token_ids)), key=lambda i: len(token_ids[i]))
    results = np.empty((len(token_ids), prompts.classes), dtype=np.float32)
    for start in range(0, len(order), 16):
        part = order[start : start + 16]
        rows = [{"input_ids": list(token_ids[i]), "class": [0]} for i in part]
        if prompts.token_types:
            rows = [row | {"token_type_ids": list(prompts.token_types[i])} for row, i in zip(rows, part, strict=True)]
        batch = {name: one.to(model.device) for name, one in Collate(0)(rows).items() if name != "labels"}
        last = batch["attention_mask"].sum(1) - 1
        if prompts.readout == "last":
            logits = model(**batch, use_cache=False).logits[torch.arange(len(part)), last]
        else:
            logits = model(**batch).logits
        results[part] = pick(logits, prompts.columns).float().cpu().numpy()
    model.train(training)
    return results
