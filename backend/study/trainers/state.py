"""Read trainer_state.json, which the transformers Trainer and its derivatives save with a checkpoint. No torch."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from backend.errors import LayershiftError

STATE = "trainer_state.json"
_NUMBERS = re.compile(
    r"(?<![A-Za-z])(epoch|ep|step|iteration|iter|checkpoint|ckpt)s?[-_=.]?(\d+)(?!\.?\d)", re.IGNORECASE
)
_PLAIN = re.compile(rf"(global_)?({_NUMBERS.pattern})", re.IGNORECASE)
_EPOCHS = ("epoch", "ep")


@dataclass(frozen=True, eq=False)
class TrainerState:
    """The state of a training when a checkpoint was saved.

    `step` counts optimizer steps, `epoch` passes over the texts, `best` is the step of the best checkpoint so far,
    `history` holds the log entries in order.
    """

    step: int
    epoch: float | None
    best: int | None
    history: tuple[dict[str, Any], ...]


def read_state(folder: Path) -> TrainerState | None:
    """Read the state in a folder; None if there is none. Raises LayershiftError for a damaged file."""
    file = folder / STATE
    try:
        stat = file.stat()
    except OSError:
        return None
    return _read(file, (stat.st_size, stat.st_mtime_ns, stat.st_ino))


@lru_cache(maxsize=64)  # pages read it at every rerun, and a long history is slow to parse
def _read(file: Path, _stamp: tuple[int, int, int]) -> TrainerState:
    try:
        raw = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(file, f"it cannot be read as JSON: {error}") from None
    if not isinstance(raw, dict):
        raise damaged(file, "it is not a JSON object")
    history = raw.get("log_history") or []
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise damaged(file, "log_history is not a list of objects")
    step, epoch, best = _count(raw, "global_step"), raw.get("epoch"), _count(raw, "best_global_step")
    if step is None:
        raise damaged(file, f"global_step is {json.dumps(raw.get('global_step'))[:40]}, which is not a number of steps")
    best_path = re.search(r"(\d+)[\\/]*$", str(raw.get("best_model_checkpoint") or ""))
    return TrainerState(
        step=step,
        epoch=float(epoch) if isinstance(epoch, int | float) else None,
        best=best if best is not None or best_path is None else int(best_path[1]),
        history=tuple(history),
    )


def damaged(file: Path, reason: str) -> LayershiftError:
    """Return the error of a file that cannot be used."""
    return LayershiftError(f"{file} is damaged ({reason}); copy it again or move it away.")


def _count(raw: dict[str, Any], key: str) -> int | None:
    """Return a whole number >= 0, None for anything else."""
    value = raw.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def numbers(name: str) -> tuple[tuple[str, int], ...]:
    """Return the steps and epochs in a folder's name: `epoch_1-step_200` is (("epoch", 1), ("step", 200)).

    A name of digits alone counts as a step, and so does the number after "checkpoint" or "iter". Fractions such as
    `epoch-0.5` do not count.
    """
    if name.isdecimal():
        return (("step", int(name)),)
    matches = _NUMBERS.findall(name)
    return tuple(("epoch" if word.lower() in _EPOCHS else "step", int(number)) for word, number in matches)


def state_of(place: Path) -> TrainerState | None:
    """Return the state of a checkpoint; None if it is absent or damaged (the training curve reports the damage)."""
    for folder in dict.fromkeys((place, _numbered(place))):
        try:
            state = read_state(folder)
        except LayershiftError:
            state = None
        if state is not None:
            return state
    return None


def step_of(place: Path) -> int | None:
    """Return the optimizer step of a checkpoint from its trainer_state.json or its name; None if unknown."""
    for folder in dict.fromkeys((place, _numbered(place))):
        file = folder / STATE
        try:
            stat = file.stat()
        except OSError:
            continue
        step = _step(file, (stat.st_size, stat.st_mtime_ns, stat.st_ino))
        if step is not None:
            return step
    return stated(place, "step")


@lru_cache(maxsize=4096)  # without the history, which would fill the memory for hundreds of checkpoints
def _step(file: Path, stamp: tuple[int, int, int]) -> int | None:
    try:
        return _read.__wrapped__(file, stamp).step
    except LayershiftError:
        return None


def stated(place: Path, unit: str) -> int | None:
    """Return the number of a checkpoint whose name states this `unit` alone ("step" or "epoch"), else None."""
    found = numbers(_numbered(place).name)
    return found[0][1] if [one for one, _ in found] == [unit] else None


def _numbered(place: Path) -> Path:
    """Return the numbered folder of a checkpoint: its own, or a parent as for actor/huggingface."""
    if numbers(place.name):
        return place
    return next((parent for parent in list(place.parents)[:3] if _PLAIN.fullmatch(parent.name)), place)
