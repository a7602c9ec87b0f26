"""Changes that turn a sound study into an odd one: keys of study.toml, reviews, configs, weights and tokenizers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import rewrite

Change = Callable[[Path], object]
WORDS = 'label_words = ["negative", "positive"]\nseparator = " "'
SAMPLE = "sample = 20"


@dataclass(frozen=True)
class Odd:
    """`change` turns a sound study of a `family` into an odd one; `says` is in the sentence that the `labels` get."""

    change: Change
    says: str
    family: str = "gpt2"
    labels: tuple[str, ...] = ("epoch 2",)


def key(old: str, new: str) -> Change:
    """Another text in study.toml."""
    return lambda folder: rewrite(folder, old, new)


def dataset(line: str) -> Change:
    """A line more in [dataset]."""
    return key(SAMPLE, f"{SAMPLE}\n{line}")


def words(*named: str, separator: str | None = " ", more: str = "") -> Change:
    """Other label words, behind another separator or behind none that is given."""
    line = "" if separator is None else f"\nseparator = {json.dumps(separator)}"
    return key(WORDS, f"label_words = {json.dumps(named)}{line}\n{more}")


def table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    """The reviews changed."""

    def changed(folder: Path) -> None:
        change(pd.read_csv(folder / "reviews.csv")).to_csv(folder / "reviews.csv", index=False)

    return changed


def labelled(*names: str) -> Change:
    """The labels 0 and 1 under these names; more names are given to every third and further review."""
    return table(lambda found: found.assign(label=[names[i % len(names)] for i in range(len(found))]))


def called(*names: str) -> Change:
    """The reviews as a Parquet file whose label column is a ClassLabel of these names."""

    def change(folder: Path) -> None:
        features: dict[str, Any] = {"label": {"names": names, "_type": "ClassLabel"}}
        info = json.dumps({"info": {"features": features}}).encode()
        arrow = pa.Table.from_pandas(pd.read_csv(folder / "reviews.csv"))
        pq.write_table(arrow.replace_schema_metadata({b"huggingface": info}), folder / "reviews.parquet")
        rewrite(folder, 'path = "reviews.csv"\nsample', 'path = "reviews.parquet"\nsample')

    return change


def config(place: str, **changes: object) -> Change:
    """Keys of a checkpoint's config.json."""

    def change(folder: Path) -> None:
        file = folder / place / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def rows(place: str, *names: str) -> Change:
    """Names for the rows of a checkpoint's head."""
    label2id = {name: row for row, name in enumerate(names)}
    return config(place, id2label={str(row): name for name, row in label2id.items()}, label2id=label2id)


def filled(place: str, part: str, value: float) -> Change:
    """One weight of a checkpoint filled with a value."""

    def change(folder: Path) -> None:
        file = folder / place / "model.safetensors"
        held = load_file(file)
        name = next(name for name in held if part in name)
        save_file(held | {name: torch.full_like(held[name], value)}, file, {"format": "pt"})

    return change


def scaled(place: str, part: str, factor: float) -> Change:
    """All weights of a part multiplied, and stored in single precision; 0 for all weights of the checkpoint."""

    def change(folder: Path) -> None:
        file = folder / place / "model.safetensors"
        held = {name: value.float() for name, value in load_file(file).items()}
        changed = {name: value * factor if part in name else value for name, value in held.items()}
        save_file(changed, file, {"format": "pt"})

    return change


def tokenizer(place: str, change: Callable[[dict[str, Any]], object]) -> Change:
    """A checkpoint's tokenizer.json changed in place."""

    def changed(folder: Path) -> None:
        file = folder / place / "tokenizer.json"
        raw = json.loads(file.read_text())
        change(raw)
        file.write_text(json.dumps(raw))

    return changed


def both(*changes: Change) -> Change:
    """One change after the other."""
    return lambda folder: [change(folder) for change in changes]


def beginning(raw: dict[str, Any]) -> None:
    """A token before every text."""
    raw["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<unk>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<unk>": {"id": "<unk>", "ids": [0], "tokens": ["<unk>"]}},
    }


def exchanged(raw: dict[str, Any]) -> None:
    """Two tokens with each other's number."""
    known = raw["model"]["vocab"]
    known[" film"], known[" script"] = known.get(" script"), known.get(" film")
    raw["model"]["vocab"] = {token: number for token, number in known.items() if number is not None}


def copies(*places: str) -> Change:
    """Copies of the first checkpoint."""
    return lambda folder: [shutil.copytree(folder / "checkpoints" / "epoch-1", folder / place) for place in places]
