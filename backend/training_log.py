"""What `finetune` wrote down while it trained: training.csv, loss and held-out accuracy by step. No torch."""

from __future__ import annotations

import csv
import math
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from backend.errors import LayershiftError

LOG = "training.csv"
COLUMNS = ("step", "epoch", "loss", "learning_rate", "held_out_accuracy", "held_out_low", "held_out_high", "held_out_n")
_AGAIN = "move the file away, or train again with `python -m backend finetune`"


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """Lines of training.csv in the order of training; a cell that is empty there is NaN here.

    A line tells `loss` (mean since the line before, nats) or `held_out_accuracy` (balanced, 0..1, with its 95 %
    interval, on `held_out_n` texts), at `step` optimizer steps and `epoch` passes over the training texts.
    """

    step: Int[np.ndarray, " lines"]
    epoch: Float[np.ndarray, " lines"]
    loss: Float[np.ndarray, " lines"]
    learning_rate: Float[np.ndarray, " lines"]
    held_out_accuracy: Float[np.ndarray, " lines"]
    held_out_low: Float[np.ndarray, " lines"]
    held_out_high: Float[np.ndarray, " lines"]
    held_out_n: Float[np.ndarray, " lines"]

    @property
    def epoch_ends(self) -> Int[np.ndarray, " epochs"]:
        """The step at which each whole epoch ended."""
        whole = np.flatnonzero((self.epoch == np.round(self.epoch)) & (self.epoch > 0))
        return np.unique(self.step[whole])

    def rows(self) -> list[dict[str, Any]]:
        """The lines as they stand in the file."""
        columns = [getattr(self, name) for name in COLUMNS]
        return [
            {name: None if np.isnan(value) else value.item() for name, value in zip(COLUMNS, line, strict=True)}
            for line in zip(*columns, strict=True)
        ]


def read_training_log(folder: Path) -> TrainingLog | None:
    """The log in a study's folder, None where nothing was trained or nothing is written yet.

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
    return TrainingLog(**columns | {"step": columns["step"].astype(np.int64)})


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
