"""Which base a trainer's output folder names: in adapters, configs, training arguments or a model card. No torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from backend.errors import StudyError

ADAPTER_CONFIG, CONFIG, CARD = "adapter_config.json", "config.json", "README.md"
KEYS = ("model_name_or_path", "base_model", "base_model_name_or_path", "model_id_or_path")
"""How TRL and LLaMA-Factory, axolotl and unsloth, PEFT, and ms-swift call the base in their arguments."""
MOST_BYTES = 1_000_000
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*(/(?!checkpoint-\d+$)[A-Za-z0-9][\w.-]*)?")
"""A name on the hub; out/checkpoint-500 is where a resumed training began."""
_QUANTIZED = re.compile(r"(-unsloth)?-bnb-4bit$", re.IGNORECASE)
_ASK = "name the base with --base"


@dataclass(frozen=True)
class Named:
    """A base by its local path or its name on the hub, and the file that names it."""

    base: str
    file: Path


def find_base(folder: Path, checkpoints: Sequence[Path]) -> Named:
    """The base that the checkpoints of a training, or what lies around them, name.

    A name that is a folder with a config.json, seen from `folder`, those above it or the working directory, means that
    folder. Raises StudyError, which asks for --base, where no base is named, several are, or the one is not there.
    """
    around = [folder, *{one for place in checkpoints for one in place.parents if one.is_relative_to(folder)} - {folder}]
    places = list(dict.fromkeys([*checkpoints, *sorted(around)]))
    own = {place.resolve() for place in places}
    absent: list[Named] = []
    for source in (_adapters, _configs, _arguments, _cards):
        named = [Named(name, file) for place in places for name, file in source(place)]
        there = [one for name in named if (one := _resolved(name, folder, own)) is not None]
        if len({one.base for one in there}) > 1:
            raise StudyError(
                f"{folder} names several bases ({', '.join(sorted({one.base for one in there}))}); {_ASK}."
            )
        if there:
            return _plain(there[0])
        absent += [one for one in named if not _is_own(one.base, folder, own)]
    if absent:
        raise StudyError(f"{absent[0].file} names the base {absent[0].base}, which is not on this machine; {_ASK}.")
    raise StudyError(f"Nothing in {folder} says which base was trained; {_ASK}.")


def _plain(named: Named) -> Named:
    """The base unless it is a quantized copy: its plain weights are another repository, which the user must name."""
    if _QUANTIZED.search(named.base) and not Path(named.base).is_dir():
        plain = _QUANTIZED.sub("", named.base)
        raise StudyError(
            f"{named.file} names the quantized base {named.base}; give its plain weights, as in --base {plain}."
        )
    return named


def _places_of(name: str, folder: Path) -> list[Path]:
    """The folders that a name may mean."""
    try:
        given = Path(name).expanduser()
        every = [given] if given.is_absolute() else [one / given for one in (folder, *folder.parents, Path.cwd())]
        return [one.resolve() for one in every if (one / CONFIG).is_file()]
    except (OSError, ValueError, RuntimeError):  # too long, a sign that no path has, an unknown user
        return []


def _resolved(named: Named, folder: Path, own: set[Path]) -> Named | None:
    """The base as a folder that is there, else as a name on the hub; None where it is neither, or a checkpoint."""
    places = _places_of(named.base, folder)
    if places:
        other = [place for place in places if place not in own]
        return Named(str(other[0]), named.file) if other else None
    return named if _HUB.fullmatch(named.base) else None


def _is_own(name: str, folder: Path, own: set[Path]) -> bool:
    return any(place in own for place in _places_of(name, folder))


def _adapters(place: Path) -> Iterator[tuple[str, Path]]:
    yield from _values(place / ADAPTER_CONFIG, ("base_model_name_or_path",))


def _configs(place: Path) -> Iterator[tuple[str, Path]]:
    """Only transformers before version 5 writes it."""
    yield from _values(place / CONFIG, ("_name_or_path",))


def _arguments(place: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(one for pattern in ("*.yaml", "*.yml", "*.json") for one in place.glob(pattern)):
        if file.name not in (CONFIG, ADAPTER_CONFIG):
            yield from _values(file, KEYS)


def _cards(place: Path) -> Iterator[tuple[str, Path]]:
    """The head of a model card. Its form: https://huggingface.co/docs/hub/model-cards."""
    head = re.match(r"\s*---\s*\n(.*?)\n---", _text(place / CARD), re.DOTALL)
    for name in _named(_parsed(head[1], json_only=False) if head else None, ("base_model",)):
        yield name, place / CARD


def _values(file: Path, keys: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for name in _named(_parsed(_text(file), file.suffix == ".json"), keys):
        yield name, file


def _named(value: Any, keys: Sequence[str], depth: int = 2) -> Iterator[str]:
    """Texts under the keys, here or in tables inside; a list of one text is that text."""
    for key, inside in value.items() if isinstance(value, dict) else ():
        if key in keys:
            yield from (one.strip() for one in (inside if isinstance(inside, list) else [inside]) if _is_name(one))
        elif depth:
            yield from _named(inside, keys, depth - 1)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _text(file: Path) -> str:
    """The text of a small file, nothing for any other."""
    try:
        return file.read_text(encoding="utf-8-sig") if file.is_file() and file.stat().st_size <= MOST_BYTES else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _parsed(text: str, json_only: bool) -> Any:
    """What a file of arguments holds, None where it is damaged: another may name the base."""
    try:
        return json.loads(text) if json_only else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        return None
