"""A new study from a base, checkpoint folders and labelled texts: `new` on the command line, checked before written."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from backend.dataset import balanced, classify, label_values, read_table
from backend.errors import DatasetError, StudyError
from backend.study import STUDY_FILE, DatasetSpec, parse_study

TEMPLATE = "Review: {text} Sentiment:"
DATA_SUFFIXES = (".parquet", ".csv", ".jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `new`."""
    parser.add_argument("name", metavar="NAME", help="name of the study's folder: letters, digits, - and _")
    parser.add_argument("--base", required=True, help="hub repository or local directory of the base model")
    parser.add_argument("--checkpoints", required=True, nargs="+", help="directories, or a quoted pattern of them")
    parser.add_argument("--data", required=True, help=".parquet, .csv or .jsonl file, or a hub dataset")
    parser.add_argument("--split", default="test", help="split of a hub dataset (default: test)")
    parser.add_argument("--text", default="text", help="column of the texts (default: text)")
    parser.add_argument("--label", default="label", help="column of the labels (default: label)")
    parser.add_argument("--template", default=TEMPLATE, help=f'the prompt (default: "{TEMPLATE}")')
    parser.add_argument("--label-words", help="one word per class, in class order, separated by commas")
    parser.add_argument("--max-tokens", type=int, default=256, help="longest prompt in tokens (default: 256)")
    parser.add_argument("--sample", type=int, help="texts to draw, balanced (default: up to 200)")
    parser.add_argument("--family", choices=("causal", "encoder"), default="causal")
    parser.add_argument("--title", help="title (default: the name)")


def create(options: argparse.Namespace, root: Path) -> Path:
    """Write root/NAME/study.toml and return the folder. Raises StudyError or DatasetError, and then writes nothing."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", options.name):
        raise StudyError(f'"{options.name}" cannot name a study; use letters, digits, - and _.')
    folder = root / options.name
    if folder.exists():
        raise StudyError(f"{folder} exists already; choose another name or remove it.")
    raw = describe(options, folder)
    parse_study(raw, folder)
    try:
        folder.mkdir(parents=True)
        (folder / STUDY_FILE).write_text(to_toml(raw), encoding="utf-8")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise StudyError(f"{folder} cannot be written ({error.strerror}); set LAYERSHIFT_STUDIES elsewhere.") from None
    return folder


def describe(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The mapping that study.toml will hold, with the data read and the checkpoints found."""
    dataset: dict[str, Any] = {**_source(options.data, folder, data=True)}
    if "repo" in dataset:
        dataset["split"] = options.split
    dataset |= {"text": options.text, "label": options.label}
    absolute = {**dataset, "path": str(_local(options.data))} if "path" in dataset else dataset
    table = read_table(DatasetSpec(**absolute))
    words = [word.strip() for word in options.label_words.split(",")] if options.label_words else None
    values = _values(table, options, words)
    words = words or _words(values)
    dataset["labels"] = values
    spec = DatasetSpec(**{**absolute, "labels": tuple(values)})
    rows = classify(table, spec, len(values))
    smallest = min(Counter(rows.label.tolist()).values())
    size = options.sample or min(200 // len(values), smallest) * len(values)
    balanced(rows, size, len(values), 0, options.data)
    dataset |= {"sample": size, "seed": 0}
    return {
        "title": options.title or options.name,
        "family": options.family,
        "base": _source(options.base, folder),
        "checkpoints": [
            {"label": place.name, "path": _relative(place, folder)} for place in _places(options.checkpoints)
        ],
        "dataset": dataset,
        "prompt": {
            "template": options.template,
            "label_words": words,
            "max_tokens": options.max_tokens,
            "keep": "end",
        },
    }


def _local(name: str) -> Path:
    return Path(name).expanduser().resolve()


def _source(name: str, folder: Path, data: bool = False) -> dict[str, str]:
    """A local path where there is one (or where only a path can be meant), else a hub repository."""
    place = _local(name)
    looks_local = name.startswith((".", "/", "~")) or (data and place.suffix in DATA_SUFFIXES)
    if place.exists() or looks_local:
        if not place.exists():
            raise (DatasetError if data else StudyError)(f"{place} does not exist; correct the path.")
        return {"path": _relative(place, folder)}
    return {"repo": name}


def _relative(place: Path, folder: Path) -> str:
    """Relative where the place lies inside the study's folder, absolute elsewhere."""
    return os.path.relpath(place, folder) if place.is_relative_to(folder) else str(place)


def _places(patterns: list[str]) -> list[Path]:
    """The directories that the patterns name, in the order of the numbers in their names."""
    found: list[Path] = []
    for pattern in patterns:
        given = Path(pattern).expanduser()
        anchor = Path(given.anchor) if given.is_absolute() else Path.cwd()
        parts = str(given.relative_to(anchor) if given.is_absolute() else given)
        found += [place.resolve() for place in anchor.glob(parts) if place.is_dir()]
    if not found:
        raise StudyError(
            f"No directory matches {' '.join(patterns)}; name the checkpoint folders or a pattern of them."
        )
    return sorted(set(found), key=lambda place: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", place.name)])


def _values(table: pd.DataFrame, options: argparse.Namespace, words: list[str] | None) -> list[Any]:
    """The label values in class order."""
    if options.label not in table.columns:
        raise DatasetError(
            f'{options.data} has no column "{options.label}"; its columns are: {", ".join(map(str, table.columns))}; '
            f"name the right one with --label."
        )
    found = label_values(table[options.label].tolist())
    if words and set(map(str, found)) == set(words):
        return [next(value for value in found if str(value) == word) for word in words]
    if words and len(words) != len(found):
        raise DatasetError(
            f"{options.data} has {len(found)} label values ({', '.join(map(str, found[:8]))}) for {len(words)} label "
            f"words; give one word per value."
        )
    if not 2 <= len(found) <= 20:
        raise DatasetError(
            f'Column "{options.label}" of {options.data} has {len(found)} different values; use 2 to 20 classes.'
        )
    return found


def _words(values: list[Any]) -> list[str]:
    """Label words to start from: negative and positive for two numbers, else the values themselves."""
    if len(values) == 2 and all(str(value) in ("0", "1", "False", "True") for value in values):
        return ["negative", "positive"]
    return [str(value) for value in values]


def to_toml(raw: dict[str, Any]) -> str:
    """The mapping as TOML: scalars first, then tables, then arrays of tables."""
    lines = [f"{key} = {_toml(value)}" for key, value in raw.items() if not _is_table(value)]
    for key, value in raw.items():
        several = isinstance(value, list)
        tables: list[dict[str, Any]] = [] if not _is_table(value) else value if several else [value]
        for table in tables:
            lines += ["", f"[[{key}]]" if several else f"[{key}]"]
            lines += [f"{name} = {_toml(item)}" for name, item in table.items()]
    return "\n".join(lines) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
