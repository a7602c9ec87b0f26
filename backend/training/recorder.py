"""Record a training: its log with tests on held-out texts, and its checkpoints."""

from __future__ import annotations

import copy
import csv
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from backend.models.runtime.forward import pick
from backend.stats.intervals import balanced_accuracy_interval
from backend.stats.metrics import balanced_accuracy, predictions, recalls
from backend.study.config import Study
from backend.study.dataset import Rows
from backend.study.prompts import make_prompts
from backend.study.reader import Reader
from backend.study.token_ids import Prompts
from backend.study.trainers.state import STATE
from backend.study.training_log import COLUMNS, LOG
from backend.study.whole_words import expand
from backend.training.recipes import Collate


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
