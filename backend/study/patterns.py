"""Find the checkpoints of a pattern of folders, or of a list of hub revisions, in the order of steps. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from backend.errors import StudyError
from backend.study.trainers.complete import is_unfinished
from backend.study.trainers.state import stated, step_of

STEP = "{n}"
"""The step in a revision or subfolder of the hub."""
_WILD = re.compile(r"[*?\[]")
_NUMBERED = re.compile(r"(?i)((?:checkpoint|step|epoch)[-_]?)\d+")


@dataclass(frozen=True)
class Found:
    """The checkpoints of one entry of study.toml, each as the values that differ from the entry, and notes on them."""

    checkpoints: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()


def is_pattern(path: str, folder: Path) -> bool:
    """Return whether a path has wildcards; a folder whose own name holds such signs is no pattern."""
    try:
        return _WILD.search(path) is not None and not (folder / Path(path).expanduser()).exists()
    except (OSError, RuntimeError):
        return True


def in_folders(pattern: str, label: str | None, folder: Path, base: Path | None) -> Found:
    """Return the folders that match a pattern, relative to `folder`, labelled by step or epoch and in that order.

    Their names or their trainer_state.json state the step. `label` stands before it. The folder of the base is left
    out, and so are folders without a model and checkpoints that are still being written, with a note. StudyError,
    which begins with the key, if the pattern is wrong, a step is unknown, or two folders have the same step.
    """
    places = [place for place in _matches(pattern, folder) if place != base]
    saved = {place: is_unfinished(place) for place in places}
    notes = [
        f"{place} is left out until its weights and config are complete; remove it if no training is writing it."
        for place, unfinished in saved.items()
        if unfinished and _is_numbered(place)
    ]
    done = [place for place, unfinished in saved.items() if not unfinished]
    if not done:
        notes.append(f"No complete checkpoint matches {pattern} yet; checkpoints appear here once they are saved.")
    unit, numbers = _numbers(done)
    order = sorted(done, key=numbers.__getitem__)
    for left, right in pairwise(order):
        if numbers[left] == numbers[right]:
            raise StudyError(
                f"path matches {left} and {right}, which are both {unit} {numbers[left]}; narrow the pattern, or move "
                f"one of them away."
            )
    checkpoints = tuple(
        {"label": _label(label, unit, numbers[place]), "path": str(place), "step": step_of(place)} for place in order
    )
    return Found(checkpoints, tuple(notes))


def finding(places: Sequence[Path], base: Path | None, entered: Sequence[str] = ()) -> str | None:
    """Return the pattern that finds these folders in this order and no others, such as /out/checkpoint-*; None if none.

    A study with the pattern also has the checkpoints that the training saves later. What the user `entered`, if it has
    wildcards, is the only pattern to try: a wider one would let in what the user left out.
    """
    paths = [place.resolve() for place in places]
    if any(is_pattern(one, Path()) for one in entered):
        candidates = [str(Path(entered[0]).expanduser().absolute())] if len(entered) == 1 else []
    else:
        candidates = list(_siblings(paths[0])) if paths else []
    for pattern in candidates:
        with suppress(StudyError):
            found = in_folders(pattern, None, Path(), base).checkpoints
            if [one["path"] for one in found] == list(map(str, paths)):
                return pattern
    return None


def _siblings(path: Path) -> Iterator[str]:
    """Yield the patterns of the folders that differ from `path` in the number of one part, the last part first."""
    for depth, part in reversed(list(enumerate(path.parts))):
        if numbered := _NUMBERED.fullmatch(part):
            yield str(Path(*path.parts[:depth], f"{numbered[1]}*", *path.parts[depth + 1 :]))


def _is_numbered(place: Path) -> bool:
    return any(stated(place, unit) is not None for unit in ("step", "epoch"))


def _numbers(places: Sequence[Path]) -> tuple[str, dict[Path, int]]:
    """Return what the folders count, and the number of each: epochs if every name states one, else steps."""
    epochs = {place: number for place in places if (number := stated(place, "epoch")) is not None}
    if places and len(epochs) == len(places):
        return "epoch", epochs
    steps = {place: number for place in places if (number := step_of(place)) is not None}
    unknown = [place for place in places if place not in steps]
    if unknown:
        raise StudyError(
            f"path matches {unknown[0]}, whose step is unknown; narrow the pattern (such as checkpoint-*), or list "
            f"that folder with a label of its own."
        )
    return "step", steps


def _label(label: str | None, unit: str, number: int) -> str:
    return f"{unit} {number}" if label is None else f"{label} {unit} {number}"


def _matches(pattern: str, folder: Path) -> list[Path]:
    """Return the folders that match, each once. StudyError if the folder before the first wildcard does not exist."""
    try:
        path = Path(pattern).expanduser()
        start = Path(path.anchor) if path.is_absolute() else folder
        parts = path.relative_to(start).parts if path.is_absolute() else path.parts
        fixed = next(i for i, part in enumerate(parts) if _WILD.search(part))
        around = start.joinpath(*parts[:fixed])
        if not around.is_dir():
            raise StudyError(f'path is "{pattern}", but {around.resolve()} is not a folder; correct the path.')
        found = [place.resolve() for place in around.glob(str(Path(*parts[fixed:]))) if place.is_dir()]
    except (RuntimeError, ValueError, OSError) as error:
        raise StudyError(f'path is "{pattern}", which is not a valid pattern of folders ({error}).') from None
    return [place for place in dict.fromkeys(found) if not place.name.startswith(".")]


def on_hub(places: dict[str, str | None], steps: Sequence[int] | None, label: str | None) -> Found | None:
    """Return the checkpoints of `steps` on the hub; None for an entry of one checkpoint.

    `places` are `revision` and `subfolder`, of which one or both hold {n}. StudyError, which begins with the key, if
    {n} or the steps are missing, or the steps do not rise.
    """
    templates = {key: value for key, value in places.items() if value is not None and STEP in value}
    if steps is None:
        if templates:
            raise StudyError(f"{next(iter(templates))} holds {STEP}, so it needs steps, such as steps = [0, 1, 1000].")
        return None
    if not templates:
        raise StudyError(
            f'steps needs a repo whose revision or subfolder holds {STEP}, such as revision = "step{STEP}".'
        )
    if not steps or any(left >= right for left, right in pairwise(steps)):
        raise StudyError("steps must be rising steps, such as [0, 1, 1000].")
    return Found(
        tuple(
            {"label": _label(label, "step", step), "step": step, "steps": None}
            | {key: value.replace(STEP, str(step)) for key, value in templates.items()}
            for step in steps
        )
    )
