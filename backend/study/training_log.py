"""What was logged during training: the training.csv of `finetune`, or the trainer_state.json of a Trainer. No torch."""

from __future__ import annotations

import csv
import json
import math
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from backend.errors import LayershiftError
from backend.study.config import CheckpointRef, Study
from backend.study.trainers.state import STATE, TrainerState, damaged, read_state, step_of

LOG = "training.csv"
COLUMNS = ("step", "epoch", "loss", "learning_rate", "held_out_accuracy", "held_out_low", "held_out_high", "held_out_n")
_AGAIN = "move the file away, or train again with `python -m backend finetune`"


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """Lines of a log in the order of training; a cell that is empty there is NaN here.

    A line tells `loss` (mean since the line before, nats), `held_out_loss`, or `held_out_accuracy` (balanced, 0..1,
    with its 95 % interval, on `held_out_n` texts), at `step` optimizer steps and `epoch` passes over the texts.
    `saved` are step and label of the checkpoints, where the steps are known.
    """

    step: Int[np.ndarray, " lines"]
    epoch: Float[np.ndarray, " lines"]
    loss: Float[np.ndarray, " lines"]
    learning_rate: Float[np.ndarray, " lines"]
    held_out_accuracy: Float[np.ndarray, " lines"]
    held_out_low: Float[np.ndarray, " lines"]
    held_out_high: Float[np.ndarray, " lines"]
    held_out_n: Float[np.ndarray, " lines"]
    held_out_loss: Float[np.ndarray, " lines"]
    saved: tuple[tuple[int, str], ...] = ()

    @property
    def epoch_ends(self) -> Int[np.ndarray, " epochs"]:
        """The step at which each whole epoch ended."""
        whole = np.flatnonzero((self.epoch == np.round(self.epoch)) & (self.epoch > 0))
        return np.unique(self.step[whole])

    def rows(self) -> list[dict[str, Any]]:
        """The lines as they stand in the file, without columns that have no value."""
        columns = {name: getattr(self, name) for name in (*COLUMNS, "held_out_loss")}
        there = [name for name, values in columns.items() if np.isfinite(values).any()]
        return [
            {name: None if np.isnan(value) else value.item() for name, value in zip(there, line, strict=True)}
            for line in zip(*(columns[name] for name in there), strict=True)
        ]


def read_training_log(study: Study) -> TrainingLog | None:
    """The log of a study: its training.csv, else what its newest checkpoint's trainer_state.json logged; None: none.

    LayershiftError, one sentence, for a file that is damaged.
    """
    own = read_csv_log(study.folder)
    if own is not None:
        return own
    for ref in reversed(study.epochs):
        found = _newest(ref)
        if found is not None and (log := _from_state(*found, study)) is not None:
            return log
    return None


def _newest(ref: CheckpointRef) -> tuple[Path, TrainerState] | None:
    """The state in a checkpoint's folder or the folder above, where a Trainer writes one when it ends."""
    found: list[tuple[Path, TrainerState]] = []
    wrong: list[LayershiftError] = []
    for folder in (Path(ref.path), Path(ref.path).parent) if ref.path is not None else ():
        try:
            state = read_state(folder)
        except LayershiftError as error:
            wrong.append(error)
        else:
            found += [(folder / STATE, state)] if state is not None else []
    if wrong and not found:
        raise wrong[0]
    return max(found, key=lambda one: one[1].step, default=None)


def _from_state(file: Path, state: TrainerState, study: Study) -> TrainingLog | None:
    """The entries that hold a loss. Their keys: https://huggingface.co/docs/transformers/main_classes/trainer."""
    lines = [
        [_logged(file, one, key) for key in ("step", "epoch", "loss", "learning_rate", "eval_loss")]
        for one in state.history
        if one.get("loss") is not None or one.get("eval_loss") is not None
    ]
    if not lines:
        return None
    step, epoch, loss, rate, held_out = np.array(sorted(lines, key=lambda line: line[0]), dtype=np.float64).T
    nothing = np.full(len(step), np.nan)
    steps = [(step_of(Path(ref.path)) if ref.path is not None else None, ref.label) for ref in study.epochs]
    return TrainingLog(
        step=step.astype(np.int64),
        epoch=epoch,
        loss=loss,
        learning_rate=rate,
        held_out_accuracy=nothing,
        held_out_low=nothing,
        held_out_high=nothing,
        held_out_n=nothing,
        held_out_loss=held_out,
        saved=tuple((at, label) for at, label in steps if at is not None),
    )


def _logged(file: Path, entry: dict[str, Any], key: str) -> float:
    """A number of an entry; NaN where it has none or training diverged. LayershiftError for any other value."""
    value = entry.get(key)
    if value is None and key != "step":
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or (key == "step" and not 0 <= value < 2**53):
        raise damaged(file, f"an entry of log_history has {key} {json.dumps(value)[:40]}, which is not a number of it")
    return float(value) if abs(value) <= sys.float_info.max else math.nan


def read_csv_log(folder: Path) -> TrainingLog | None:
    """The training.csv in a study's folder, None where nothing was trained or nothing is written yet.

    A last line that is still being written is left out. LayershiftError names the line of a file that is damaged.
    """
    file = folder / LOG
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise LayershiftError(f"{file} cannot be read ({error}); {_AGAIN}.") from None
    lines = list(csv.reader(text.splitlines()))
    if not lines:
        return None
    if tuple(lines[0]) != COLUMNS:
        raise LayershiftError(f"{file} does not begin with the columns {', '.join(COLUMNS)}; {_AGAIN}.")
    found = [_numbers(file, number, line) for number, line in enumerate(lines[1:-1], 2)]
    if len(lines) > 1:
        try:
            found.append(_numbers(file, len(lines), lines[-1]))
        except LayershiftError:
            if text.endswith("\n"):
                raise
    for number, (one, following) in enumerate(pairwise(found), 3):
        if following[0] < one[0]:
            raise LayershiftError(f"{file}, line {number}: step goes back to {following[0]:.0f}; {_AGAIN}.")
    if not found:
        return None
    columns = dict(zip(COLUMNS, np.array(found, dtype=np.float64).T, strict=True))
    nothing: dict[str, Any] = {"held_out_loss": np.full(len(found), np.nan)}
    return TrainingLog(**nothing | columns | {"step": columns["step"].astype(np.int64)})


def _numbers(file: Path, number: int, line: list[str]) -> list[float]:
    """The cells of one line; step and epoch are always there."""
    if len(line) != len(COLUMNS):
        raise LayershiftError(f"{file}, line {number} has {len(line)} of {len(COLUMNS)} cells; {_AGAIN}.")
    return [_number(file, number, column, cell) for column, cell in zip(COLUMNS, line, strict=True)]


def _number(file: Path, number: int, column: str, cell: str) -> float:
    if not cell and column not in ("step", "epoch"):
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = math.inf
    if column == "loss" and cell.lower() in ("nan", "inf"):
        return math.nan  # a training run that diverged says so
    most = 1.0 if column in ("held_out_accuracy", "held_out_low", "held_out_high") else sys.float_info.max
    if not 0 <= value <= most or (column == "step" and value % 1):
        raise LayershiftError(f'{file}, line {number}: {column} is "{cell}", which is no such number; {_AGAIN}.')
    return value
