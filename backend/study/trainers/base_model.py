"""Find the base model in a trainer's output: adapters, configs, training arguments, model card. No torch."""

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
"""Keys of the base in the arguments of TRL and LLaMA-Factory, axolotl and unsloth, PEFT, and ms-swift."""
MOST_BYTES = 1_000_000
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*(/(?!checkpoint-\d+$)[A-Za-z0-9][\w.-]*)?")
"""A name on the hub. out/checkpoint-500 is not one: a resumed training started there."""
_QUANTIZED = re.compile(r"(-unsloth)?-bnb-4bit$", re.IGNORECASE)
_ASK = "name the base with --base"


@dataclass(frozen=True)
class Named:
    """A base by its local path or its name on the hub, and the file that names it."""

    base: str
    file: Path


def find_base(folder: Path, checkpoints: Sequence[Path]) -> Named:
    """Return the base that the checkpoints of a training, or the files around them, name.

    A name is a local folder if it holds a config.json, relative to `folder`, its parents or the working directory.
    Raises StudyError, which asks for --base, if no base is named, if several are, or if it is not on this machine.
    """
    above = {parent for place in checkpoints for parent in place.parents if parent.is_relative_to(folder)}
    places = list(dict.fromkeys([*checkpoints, *sorted([folder, *above - {folder}])]))
    own = {place.resolve() for place in places}
    absent: list[Named] = []
    for source in (_adapters, _configs, _arguments, _cards):
        named = [Named(name, file) for place in places for name, file in source(place)]
        usable = [resolved for name in named if (resolved := _resolved(name, folder, own)) is not None]
        bases = sorted({name.base for name in usable})
        if len(bases) > 1:
            raise StudyError(f"{folder} names several bases ({', '.join(bases)}); {_ASK}.")
        if usable:
            return _plain(usable[0])
        absent += [name for name in named if not _is_own(name.base, folder, own)]
    if absent:
        raise StudyError(f"{absent[0].file} names the base {absent[0].base}, which is not on this machine; {_ASK}.")
    raise StudyError(f"No file in {folder} names the base model; {_ASK}.")


def _plain(named: Named) -> Named:
    """Return the base. Raises StudyError for a quantized copy: the user must name its plain weights."""
    if _QUANTIZED.search(named.base) and not Path(named.base).is_dir():
        plain = _QUANTIZED.sub("", named.base)
        raise StudyError(
            f"{named.file} names the quantized base {named.base}; give its plain weights, for example --base {plain}."
        )
    return named


def _places_of(name: str, folder: Path) -> list[Path]:
    """Return the folders that a name may refer to."""
    try:
        path = Path(name).expanduser()
        starts = (folder, *folder.parents, Path.cwd())
        places = [path] if path.is_absolute() else [start / path for start in starts]
        return [place.resolve() for place in places if (place / CONFIG).is_file()]
    except (OSError, ValueError, RuntimeError):  # too long, an invalid character, an unknown user
        return []


def _resolved(named: Named, folder: Path, own: set[Path]) -> Named | None:
    """Return the base as an existing folder, else as a name on the hub; None for anything else or a checkpoint."""
    places = _places_of(named.base, folder)
    if places:
        outside = [place for place in places if place not in own]
        return Named(str(outside[0]), named.file) if outside else None
    return named if _HUB.fullmatch(named.base) else None


def _is_own(name: str, folder: Path, own: set[Path]) -> bool:
    return any(place in own for place in _places_of(name, folder))


def _adapters(place: Path) -> Iterator[tuple[str, Path]]:
    yield from _values(place / ADAPTER_CONFIG, ("base_model_name_or_path",))


def _configs(place: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name in config.json, which transformers writes before version 5."""
    yield from _values(place / CONFIG, ("_name_or_path",))


def _arguments(place: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(file for pattern in ("*.yaml", "*.yml", "*.json") for file in place.glob(pattern)):
        if file.name not in (CONFIG, ADAPTER_CONFIG):
            yield from _values(file, KEYS)


def _cards(place: Path) -> Iterator[tuple[str, Path]]:
    """Yield the names in the header of a model card. Its format: https://huggingface.co/docs/hub/model-cards."""
    head = re.match(r"\s*---\s*\n(.*?)\n---", _text(place / CARD), re.DOTALL)
    for name in _named(_parsed(head[1], json_only=False) if head else None, ("base_model",)):
        yield name, place / CARD


def _values(file: Path, keys: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for name in _named(_parsed(_text(file), file.suffix == ".json"), keys):
        yield name, file


def _named(value: Any, keys: Sequence[str], depth: int = 2) -> Iterator[str]:
    """Yield the texts under the keys, at this level or in nested tables; lists are flattened."""
    for key, inside in value.items() if isinstance(value, dict) else ():
        if key in keys:
            yield from (name.strip() for name in (inside if isinstance(inside, list) else [inside]) if _is_name(name))
        elif depth:
            yield from _named(inside, keys, depth - 1)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _text(file: Path) -> str:
    """Return the text of a small file; an empty text for any other."""
    try:
        return file.read_text(encoding="utf-8-sig") if file.is_file() and file.stat().st_size <= MOST_BYTES else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _parsed(text: str, json_only: bool) -> Any:
    """Return the content of an arguments file; None if it is damaged, since another file may name the base."""
    try:
        return json.loads(text) if json_only else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        return None
