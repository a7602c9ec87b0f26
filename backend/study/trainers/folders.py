"""What a trainer left in its output folder: checkpoints in the order of training, labelled. No torch, no model opened.

Layouts: `checkpoint-N` (Trainer, TRL, axolotl, LLaMA-Factory, unsloth), `epoch_1` and `step-100` (accelerate,
torchtune), `global_step_N/actor/huggingface` (verl), a last model in the folder itself, `merged` (axolotl), `lora` and
`merged_16bit` (unsloth), adapters in folders of their own name (PEFT).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backend.errors import StudyError
from backend.study.paths import natural
from backend.study.trainers.order import BEST, BY_HAND, LAST, Found, Training, with_best, with_last
from backend.study.trainers.state import TrainerState, numbers, state_of

ADAPTER = "adapter_config.json"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", ADAPTER)
MOST_DEPTH = 4
WHOLE = 0.005
"""How far an epoch may be from a whole number: a last batch that is not full leaves 2.998."""
_ASIDE = {"critic", "runs", "wandb", "logs", "tensorboard", "optimizer", "__pycache__"}
_MERGED = re.compile(r"(?<![a-z])merged(?![a-z])", re.IGNORECASE)
_TUNED = re.compile(r"(?<![a-z])(lora|adapters?)(?![a-z])", re.IGNORECASE)
_BEFORE = re.compile(r"(?<![a-z])base(?![a-z])", re.IGNORECASE)


def find(folder: Path) -> Training:
    """The checkpoints below a trainer's output folder, or the folder itself where it is one.

    Raises StudyError, one sentence, where the folder can be read in two ways: several trainings, several models in no
    order.
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
    training = _with_the_rest(training, run, folder, near)
    if training.checkpoints and numbers(folder.name) and not runs:
        return training  # what lies in a checkpoint's own folder, such as DeepSpeed's shards, is no other checkpoint
    unusable = tuple(place for place, models in saves.items() if not models and place.parent == run)
    return replace(training, unusable=unusable or (() if training.checkpoints else (folder,)))


def holds_model(folder: Path) -> bool:
    """Whether weights or an adapter lie in the folder itself."""
    return any(next(folder.glob(pattern), None) for pattern in WEIGHTS)


def _folders(folder: Path) -> list[Path]:
    """The folders inside that may hold checkpoints, in the order of their numbers."""
    try:
        inside = [one for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")]
    except OSError as error:
        raise StudyError(f"{folder} cannot be read ({error.strerror}); check its permissions.") from None
    return sorted((one for one in inside if one.name.lower() not in _ASIDE), key=natural)


def _is_save(place: Path) -> bool:
    """Whether the name states a step or an epoch; the best checkpoint is placed apart."""
    return bool(numbers(place.name)) and not BEST.search(place.name)


def _places(folder: Path, depth: int) -> list[Path]:
    """Folders below that are named like a checkpoint or hold a model, each once."""
    found: list[Path] = []
    for one in _folders(folder) if depth else ():
        if numbers(one.name) or BEST.search(one.name) or LAST.search(one.name):
            found.append(one)
            continue
        inner = _places(one, depth - 1)
        if holds_model(one):  # what lies in a model's folder belongs to it, but for what training left there
            inner = [one, *(place for place in inner if numbers(place.name) or _MERGED.search(place.name))]
        found += inner
    real = {place.resolve() for place in found if not place.is_symlink()}
    return [place for place in found if not (place.is_symlink() and place.resolve() in real)]


def _inside(place: Path, depth: int) -> list[Path]:
    """The folders of models in a checkpoint's folder: itself, or the nearest ones below."""
    if holds_model(place):
        return [place]
    return [model for one in _folders(place) for model in _inside(one, depth - 1)] if depth else []


def _several(place: Path, models: Sequence[Path]) -> Sequence[Path]:
    """The models of one checkpoint's folder, which must be one, or be numbered themselves."""
    if len(models) > 1 and not all(_stated(place, model) for model in models):
        names = ", ".join(str(model.relative_to(place)) for model in models[:4])
        first = models[0].relative_to(place)
        raise StudyError(
            f"{place} holds several models ({names}); choose, as in --checkpoints '{place.parent}/*/{first}'."
        )
    return models


def _stated(above: Path, model: Path) -> tuple[tuple[str, int], ...]:
    """Steps and epochs that the names of the folders between state."""
    return tuple(one for part in model.relative_to(above).parts for one in numbers(part))


def _numbered(run: Path, models: Sequence[Path]) -> Training:
    """Checkpoints whose names state steps or epochs, in that order; StudyError where these cannot be compared."""
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
    found: list[Found] = []
    for model, epoch in zip(order, epochs, strict=True):
        label = f"epoch {epoch}" if by_epoch else _label(stated[model])
        taken = label in [one.label for one in found]
        found.append(Found(f"{label} ({model.relative_to(run)})" if taken else label, model, steps[model]))
    return Training(tuple(found), notes=tuple(notes))


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


def _with_the_rest(training: Training, run: Path, folder: Path, near: Sequence[Path]) -> Training:
    """The checkpoints, and what lies beside them: the best, the last model, and what it was merged to."""
    names = {place: place.name for place in near}
    names |= {place: _label(numbers(place.name)) or "final" for place in (folder, run)}
    models = {place: _several(place, _inside(place, MOST_DEPTH))[:1] for place in near}
    models |= {place: [place] for place in (folder, run) if holds_model(place)}
    path = {place: inside[0] for place, inside in models.items() if inside}
    called = {model: names[place] for place, model in path.items()}
    inner = {one.path.name for one in training.checkpoints if not numbers(one.path.name)}
    best = [place for place in path if BEST.search(place.name) and place in near]
    merged = [place for place in path if _MERGED.search(place.name) and place in near and place not in best]
    rest = [
        place for place in path if place not in (*best, *merged) and not (_BEFORE.search(place.name) and place in near)
    ]
    known = [
        one for one in rest if one not in near or LAST.search(one.name) or _TUNED.search(one.name) or one.name in inner
    ]
    last = known or (rest if not training.checkpoints and not best else [])
    by_epoch = all(one.label.startswith("epoch ") for one in training.checkpoints)

    def of_best(model: Path, step: int | None) -> str:
        epoch = _whole_epoch(state_of(model)) if by_epoch else None
        return called[model] if step is None else f"best (epoch {epoch})" if epoch else f"best (step {step})"

    training = with_best(training, [path[place] for place in best], of_best)
    before = len(training.checkpoints)
    training = with_last(training, [path[place] for place in sorted(last, key=natural)], called.__getitem__)
    added = training.checkpoints[before:]
    if len(added) > 1:
        shown = ", ".join(str(one.path.relative_to(folder)) for one in added[:4])
        raise StudyError(f"{folder} holds several models ({shown}) and nothing says their order; {BY_HAND}, in order.")
    unknown = [place for place in rest if place not in last]
    training = training.noting(*(f"left out {one.name}: nothing says where it belongs; {BY_HAND}." for one in unknown))
    if any((path[place] / ADAPTER).is_file() for place in last):
        return training.noting(*(f"left out {one.name}: it is the last adapter, merged." for one in merged))
    return with_last(training, [path[place] for place in merged], called.__getitem__)
