"""Find the checkpoints in a trainer's output folder, in training order, labelled. No torch; opens no model.

Layouts: `checkpoint-N` (Trainer, TRL, axolotl, LLaMA-Factory, unsloth), `epoch_1` and `step-100` (accelerate,
torchtune), `global_step_N/actor/huggingface` (verl), a last model in the folder itself, `merged` (axolotl), `lora` and
`merged_16bit` (unsloth), adapters in folders named after them (PEFT).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backend.errors import StudyError
from backend.study.paths import natural
from backend.study.trainers.order import BEST, BY_HAND, LAST, FoundCheckpoint, Training, with_best, with_last
from backend.study.trainers.state import TrainerState, numbers, state_of

ADAPTER = "adapter_config.json"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", ADAPTER)
MOST_DEPTH = 4
WHOLE = 0.005
"""Tolerance for a whole epoch: an incomplete last batch gives 2.998."""
_SKIPPED = {"critic", "runs", "wandb", "logs", "tensorboard", "optimizer", "__pycache__"}
_MERGED = re.compile(r"(?<![a-z])merged(?![a-z])", re.IGNORECASE)
_TUNED = re.compile(r"(?<![a-z])(lora|adapters?)(?![a-z])", re.IGNORECASE)
_BEFORE = re.compile(r"(?<![a-z])base(?![a-z])", re.IGNORECASE)


def find(folder: Path) -> Training:
    """Return the checkpoints inside a trainer's output folder, or the folder itself if it is a checkpoint.

    Raises StudyError if the folder is ambiguous: several trainings, or several models without an order.
    """
    places = _places(folder, MOST_DEPTH)
    saves = {place: _inside(place, MOST_DEPTH) for place in places if _is_save(place)}
    runs = sorted({place.parent for place, models in saves.items() if models}, key=natural)
    if len(runs) > 1:
        names = ", ".join(str(run.relative_to(folder)) for run in runs[:4])
        raise StudyError(f"{folder} holds several trainings ({names}); point to one of them.")
    run = runs[0] if runs else folder
    training = _numbered(run, [model for place, models in saves.items() for model in _several(place, models)])
    near = [place for place in places if not _is_save(place) and (not runs or place.parent in (run, folder))]
    training = _with_other_models(training, run, folder, near)
    if training.checkpoints and numbers(folder.name) and not runs:
        return training  # folders inside a checkpoint, such as DeepSpeed's shards, are not checkpoints
    unusable = tuple(place for place, models in saves.items() if not models and place.parent == run)
    return replace(training, unusable=unusable or (() if training.checkpoints else (folder,)))


def holds_model(folder: Path) -> bool:
    """Return whether the folder itself holds weights or an adapter."""
    return any(next(folder.glob(pattern), None) for pattern in WEIGHTS)


def _folders(folder: Path) -> list[Path]:
    """Return the subfolders that may hold checkpoints, in the order of their numbers."""
    try:
        inside = [child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")]
    except OSError as error:
        raise StudyError(f"{folder} cannot be read ({error.strerror}); check its permissions.") from None
    return sorted((child for child in inside if child.name.lower() not in _SKIPPED), key=natural)


def _is_save(place: Path) -> bool:
    """Return whether the name states a step or an epoch; the best checkpoint is handled separately."""
    return bool(numbers(place.name)) and not BEST.search(place.name)


def _places(folder: Path, depth: int) -> list[Path]:
    """Return all folders inside that are named like a checkpoint or hold a model, each once."""
    places: list[Path] = []
    for child in _folders(folder) if depth else ():
        if numbers(child.name) or BEST.search(child.name) or LAST.search(child.name):
            places.append(child)
            continue
        inner = _places(child, depth - 1)
        if holds_model(child):  # subfolders of a model belong to it, except checkpoints and merged models
            inner = [child, *(place for place in inner if numbers(place.name) or _MERGED.search(place.name))]
        places += inner
    real = {place.resolve() for place in places if not place.is_symlink()}
    return [place for place in places if not (place.is_symlink() and place.resolve() in real)]


def _inside(place: Path, depth: int) -> list[Path]:
    """Return the model folders of a checkpoint's folder: itself, or the nearest ones inside."""
    if holds_model(place):
        return [place]
    return [model for child in _folders(place) for model in _inside(child, depth - 1)] if depth else []


def _several(place: Path, models: Sequence[Path]) -> Sequence[Path]:
    """Return the models of a checkpoint's folder. Raises StudyError for several models without numbers."""
    if len(models) > 1 and not all(_stated(place, model) for model in models):
        names = ", ".join(str(model.relative_to(place)) for model in models[:4])
        first = models[0].relative_to(place)
        raise StudyError(
            f"{place} holds several models ({names}); choose one, for example --checkpoints '{place.parent}/*/{first}'."
        )
    return models


def _stated(above: Path, model: Path) -> tuple[tuple[str, int], ...]:
    """Return the steps and epochs in the folder names between `above` and the model."""
    return tuple(number for part in model.relative_to(above).parts for number in numbers(part))


def _numbered(run: Path, models: Sequence[Path]) -> Training:
    """Return the checkpoints in the order of the steps or epochs in their names; StudyError if these are mixed."""
    stated = {model: _stated(run, model) for model in models}
    adapters = {stated[model] for model in models if (model / ADAPTER).is_file()}
    merged = [model for model in models if stated[model] in adapters and not (model / ADAPTER).is_file()]
    notes = [f"left out {model.relative_to(run)}: it has the step of an adapter, merged." for model in merged]
    states = {model: state_of(model) for model in models if model not in merged}
    steps = {model: _step(state, stated[model]) for model, state in states.items()}
    units = {tuple(unit for unit, _ in stated[model]) for model in states}
    if len(units) > 1 and None in steps.values():
        names = ", ".join(str(model.relative_to(run)) for model in list(states)[:4])
        raise StudyError(f"{run} names some checkpoints by steps and some by epochs ({names}); {BY_HAND}, in order.")

    def place_of(model: Path) -> list[int]:
        step = steps[model]
        return [number for _, number in stated[model]] if None in steps.values() or step is None else [step]

    order = sorted(states, key=place_of)
    epochs = [_whole_epoch(states[model]) for model in order]
    by_epoch = None not in epochs and len(set(epochs)) == len(epochs)
    checkpoints: list[FoundCheckpoint] = []
    for model, epoch in zip(order, epochs, strict=True):
        label = f"epoch {epoch}" if by_epoch else _label(stated[model])
        taken = label in [checkpoint.label for checkpoint in checkpoints]
        checkpoints.append(
            FoundCheckpoint(f"{label} ({model.relative_to(run)})" if taken else label, model, steps[model])
        )
    return Training(tuple(checkpoints), notes=tuple(notes))


def _label(stated: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{unit} {number}" for unit, number in stated)


def _step(state: TrainerState | None, stated: Sequence[tuple[str, int]]) -> int | None:
    if state is not None:
        return state.step
    return stated[0][1] if [unit for unit, _ in stated] == ["step"] else None


def _whole_epoch(state: TrainerState | None) -> int | None:
    if state is None or state.epoch is None or round(state.epoch) < 1:
        return None
    return round(state.epoch) if abs(state.epoch - round(state.epoch)) <= WHOLE else None


def _with_other_models(training: Training, run: Path, folder: Path, near: Sequence[Path]) -> Training:
    """Add the models next to the checkpoints: the best model, the last one, and its merged copy."""
    names = {place: place.name for place in near}
    names |= {place: _label(numbers(place.name)) or "final" for place in (folder, run)}
    models = {place: _several(place, _inside(place, MOST_DEPTH))[:1] for place in near}
    models |= {place: [place] for place in (folder, run) if holds_model(place)}
    model_of = {place: inside[0] for place, inside in models.items() if inside}
    label_of = {model: names[place] for place, model in model_of.items()}
    inner = {item.path.name for item in training.checkpoints if not numbers(item.path.name)}
    best = [place for place in model_of if BEST.search(place.name) and place in near]
    merged = [place for place in model_of if _MERGED.search(place.name) and place in near and place not in best]
    rest = [
        place
        for place in model_of
        if place not in (*best, *merged) and not (_BEFORE.search(place.name) and place in near)
    ]
    known = [
        place
        for place in rest
        if place not in near or LAST.search(place.name) or _TUNED.search(place.name) or place.name in inner
    ]
    last = known or (rest if not training.checkpoints and not best else [])
    by_epoch = all(checkpoint.label.startswith("epoch ") for checkpoint in training.checkpoints)

    def best_label(model: Path, step: int | None) -> str:
        epoch = _whole_epoch(state_of(model)) if by_epoch else None
        return label_of[model] if step is None else f"best (epoch {epoch})" if epoch else f"best (step {step})"

    training = with_best(training, [model_of[place] for place in best], best_label)
    before = len(training.checkpoints)
    training = with_last(training, [model_of[place] for place in sorted(last, key=natural)], label_of.__getitem__)
    added = training.checkpoints[before:]
    if len(added) > 1:
        shown = ", ".join(str(checkpoint.path.relative_to(folder)) for checkpoint in added[:4])
        raise StudyError(f"{folder} holds several models ({shown}) in unknown order; {BY_HAND}, in order.")
    unknown = [place for place in rest if place not in last]
    notes = [f"left out {place.name}: its place in the order is unknown; {BY_HAND}." for place in unknown]
    training = training.with_notes(*notes)
    if any((model_of[place] / ADAPTER).is_file() for place in last):
        return training.with_notes(*(f"left out {place.name}: it is the last adapter, merged." for place in merged))
    return with_last(training, [model_of[place] for place in merged], label_of.__getitem__)
