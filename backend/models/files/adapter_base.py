"""Compare the base that an adapter's folder names with the base of the study, without torch."""

from __future__ import annotations

import re
from pathlib import Path

from backend.caching.cache import Cache
from backend.errors import CheckpointError
from backend.models.files.fingerprint import digests
from backend.models.files.locate import ADAPTER_CONFIG, CONFIG, Located, locate, read_json
from backend.study.config import CheckpointRef

_QUANTIZED = re.compile(
    r"[-_.](?:unsloth[-_])?(?:bnb|gptq|awq|hqq|aqlm|exl2|nf4|fp4|fp8|int[48]|[48][-_]?bits?|w[48]a\d+|quantized)(?=[-_.]|$)",
    re.I,
)
_IN_NOTES = re.compile(
    r"^[\s*-]*(?:_?load_in_(?P<bits>[48])bit[\"']?\s*[:=]\s*true|adapter\s*:\s*[\"']?(?P<qlora>qlora)\b"
    r"|quantization_bit\s*:\s*(?P<bit>[48])\b)",
    re.I | re.M,
)
_NOTES = ("README.md", "*.yaml", "*.yml", "training_args.json", "args.json")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST_NOTES = 1_000_000


def doubts(located: Located, place: str, base: CheckpointRef, base_located: Located, cache: Cache) -> tuple[str, ...]:
    """Return a sentence if the adapter names another base than the study's, and one if its base was quantized.

    Raises CheckpointError for a config that cannot be read.
    """
    config = read_json(located.folder / ADAPTER_CONFIG)
    named = config.get("base_model_name_or_path")
    named = named if isinstance(named, str) and named.strip() else None
    sentences = []
    if named and not _same(named, base, base_located, cache):
        sentences.append(
            f'{place} says that it was trained on "{named}", and the base of this study is {base.place}; unless they '
            f"are the same model its numbers are meaningless, so name the base that it was trained on."
        )
    if evidence := _quantized(located, named):
        sentences.append(
            f"{place} was trained on a quantized base ({evidence}) and is merged onto the plain one here, so its "
            f"numbers differ a little from those of the training."
        )
    return tuple(sentences)


def _same(named: str, base: CheckpointRef, base_located: Located, cache: Cache) -> bool:
    """Return whether both are one model: by content if both folders exist here, else by name."""
    folder = Path(named)
    if folder.is_absolute() and folder.is_dir() and not _QUANTIZED.search(_last(named)):
        try:
            return folder.samefile(base_located.folder) or _content(
                locate(CheckpointRef(path=named)), cache
            ) == _content(base_located, cache)
        except CheckpointError:  # the folder no longer holds a checkpoint, so only its name is left
            pass
    config = read_json(base_located.folder / CONFIG)
    names = (base.repo, base.path, str(base_located.folder), config.get("_name_or_path"))
    return _model(named) in {_model(name) for name in names if isinstance(name, str) and name.strip()}


def _content(located: Located, cache: Cache) -> list[str]:
    return sorted(digests(located.weights, cache))


def _last(name: str) -> str:
    """Return the last part of a path or repository; for a folder in the hub's cache, its repository's."""
    parts = [part for part in re.split(r"[/\\]+", name.strip()) if part]
    kept = next((part for part in reversed(parts) if part.startswith("models--")), None)
    if kept is not None:
        return kept.split("--")[-1]
    return next((part for part in reversed(parts) if not _COMMIT.fullmatch(part)), "")


def _model(name: str) -> str:
    """Return a model's name in lower case, without its owner and without the suffix of a quantized copy."""
    return re.split(_QUANTIZED, _last(name), maxsplit=1)[0].lower()


def _quantized(located: Located, named: str | None) -> str:
    """Return the evidence that the base was quantized during training; empty if there is none."""
    if named and _QUANTIZED.search(_last(named)):
        return f"its config names {named}"
    if located.present((CONFIG,)) and read_json(located.folder / CONFIG).get("quantization_config"):
        return f"quantization_config in the {CONFIG} beside it"
    loftq = read_json(located.folder / ADAPTER_CONFIG).get("init_lora_weights") == "loftq"
    if loftq:
        return 'init_lora_weights = "loftq"'
    for folder in (located.folder, located.folder.parent)[: 1 if located.commit else 2]:
        for file in sorted(file for pattern in _NOTES for file in folder.glob(pattern)):
            if file.stat().st_size <= _MOST_NOTES and (
                hit := _IN_NOTES.search(file.read_text(encoding="utf-8", errors="replace"))
            ):
                return f"{hit.group().strip(' *-')} in {file.name}"
    return ""
