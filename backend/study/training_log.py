"""Read training logs: the training.csv of `finetune`, or the trainer_state.json of a Trainer. No torch."""

from __future__ import annotations

import csv
import json
import math
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from backend.errors import LayershiftError
from backend.study.config import CheckpointRef, Study
from backend.study.steps import step_of_ref
from backend.study.trainers.state import STATE, TrainerState, damaged, read_state

LOG = "training.csv"
COLUMNS = ("step", "epoch", "loss", "learning_rate", "held_out_accuracy", "held_out_low", "held_out_high", "held_out_n")
_AGAIN = "move the file away, or train again with `python -m backend finetune`"


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """Lines of a log in training order; empty cells are NaN.

    A line holds `loss` (mean since the previous line, nats), `held_out_loss`, or `held_out_accuracy` (balanced, 0..1,
    with its 95 % interval, on `held_out_n` texts), after `step` optimizer steps and `epoch` passes over the texts.
    `saved` holds step and label of the checkpoints with known steps.
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
        """Return the step at the end of each whole epoch."""
        whole = np.flatnonzero((self.epoch == np.round(self.epoch)) & (self.epoch > 0))
        return np.unique(self.step[whole])

    def rows(self) -> list[dict[str, Any]]:
        """Return the lines as in the file, without empty columns."""
        columns = {name: getattr(self, name) for name in (*COLUMNS, "held_out_loss")}
        present = [name for name, values in columns.items() if np.isfinite(values).any()]
        return [
            {name: None if np.isnan(value) else value.item() for name, value in zip(present, line, strict=True)}
            for line in zip(*(columns[name] for name in present), strict=True)
        ]


def read_training_log(study: Study) -> TrainingLog | None:
    """Read the log of a study: its training.csv, else the newest trainer_state.json; None if there is none.

    Raises LayershiftError for a damaged file.
    """
    own = read_csv_log(study.folder)
    if own is not None:
        return replace(own, saved=_saved(study))
    for ref in reversed(study.epochs):
        newest = _newest(ref)
        if newest is not None and (log := _from_state(*newest, study)) is not None:
            return log
    return None


def _newest(ref: CheckpointRef) -> tuple[Path, TrainerState] | None:
    """Return the newest state in a checkpoint's folder or its parent, where a Trainer writes one at the end."""
    states: list[tuple[Path, TrainerState]] = []
    errors: list[LayershiftError] = []
    for folder in (Path(ref.path), Path(ref.path).parent) if ref.path is not None else ():
        try:
            state = read_state(folder)
        except LayershiftError as error:
            errors.append(error)
        else:
            states += [(folder / STATE, state)] if state is not None else []
    if errors and not states:
        raise errors[0]
    return max(states, key=lambda item: item[1].step, default=None)


def _from_state(file: Path, state: TrainerState, study: Study) -> TrainingLog | None:
    """Return the entries with a loss. Their keys: https://huggingface.co/docs/transformers/main_classes/trainer."""
    lines = [
        [_logged(file, entry, key) for key in ("step", "epoch", "loss", "learning_rate", "eval_loss")]
        for entry in state.history
        if entry.get("loss") is not None or entry.get("eval_loss") is not None
    ]
    if not lines:
        return None
    step, epoch, loss, rate, held_out = np.array(sorted(lines, key=lambda line: line[0]), dtype=np.float64).T
    empty = np.full(len(step), np.nan)
    return TrainingLog(
        step=step.astype(np.int64),
        epoch=epoch,
        loss=loss,
        learning_rate=rate,
        held_out_accuracy=empty,
        held_out_low=empty,
        held_out_high=empty,
        held_out_n=empty,
        held_out_loss=held_out,
        saved=_saved(study),
    )


def _saved(study: Study) -> tuple[tuple[int, str], ...]:
    """Return step and label of the checkpoints with known steps."""
    steps = [(step_of_ref(ref), ref.label) for ref in study.epochs]
    return tuple((at, label) for at, label in steps if at is not None)


def _logged(file: Path, entry: dict[str, Any], key: str) -> float:
    """Return a number of an entry; NaN if it is missing or training diverged. LayershiftError for other values."""
    value = entry.get(key)
    if value is None and key != "step":
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or (key == "step" and not 0 <= value < 2**53):
        raise damaged(file, f"an entry of log_history has {key} {json.dumps(value)[:40]}, which is not a valid number")
    return float(value) if abs(value) <= sys.float_info.max else math.nan


def read_csv_log(folder: Path) -> TrainingLog | None:
    """Read the training.csv in a study's folder; None if it is absent or still empty.

    An incomplete last line is ignored. Raises LayershiftError, which names the line, for a damaged file.
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
        raise LayershiftError(f"{file} does not start with the columns {', '.join(COLUMNS)}; {_AGAIN}.")
    rows = [_numbers(file, number, line) for number, line in enumerate(lines[1:-1], 2)]
    if len(lines) > 1:
        try:
            rows.append(_numbers(file, len(lines), lines[-1]))
        except LayershiftError:
            if text.endswith("\n"):
                raise
    for number, (previous, row) in enumerate(pairwise(rows), 3):
        if row[0] < previous[0]:
            raise LayershiftError(f"{file}, line {number}: step goes back to {row[0]:.0f}; {_AGAIN}.")
    if not rows:
        return None
    columns = dict(zip(COLUMNS, np.array(rows, dtype=np.float64).T, strict=True))
    empty: dict[str, Any] = {"held_out_loss": np.full(len(rows), np.nan)}
    return TrainingLog(**empty | columns | {"step": columns["step"].astype(np.int64)})


def _numbers(file: Path, number: int, line: list[str]) -> list[float]:
    """Return the cells of a line; step and epoch are required."""
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
        return math.nan  # finetune writes this when training diverged
    most = 1.0 if column in ("held_out_accuracy", "held_out_low", "held_out_high") else sys.float_info.max
    if not 0 <= value <= most or (column == "step" and value % 1):
        raise LayershiftError(f'{file}, line {number}: {column} is "{cell}", which is not a valid value; {_AGAIN}.')
    return value
