"""Labelled texts: a hub repository, a data file or a saved dataset becomes a balanced, seeded sample."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int64

from backend.caching.serialize import NOT_IN_KEY
from backend.errors import DatasetError
from backend.study.classes import ClassNames, order_values, value_key
from backend.study.config import DatasetSpec, TrainingSpec
from backend.study.pairs import Input, shown
from backend.study.tables.arrow_datasets import read_hub
from backend.study.tables.columns import find_labels, find_texts, is_missing, label_values, listed
from backend.study.tables.data_files import read_file
from backend.study.template import columns


@dataclass(frozen=True, eq=False)
class Rows:
    """Every usable row of a dataset: `index` is the source row from 0, `label` the class.

    `parts` are the texts of each row where a row is a pair of them, and `text` then shows them on a line each.
    """

    index: Int64[np.ndarray, " rows"]
    label: Int64[np.ndarray, " rows"]
    text: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...] = ()

    @property
    def inputs(self) -> Sequence[Input]:
        """What fills the template, row by row: the text, or the texts of the pair."""
        return self.parts or self.text

    def some(self, chosen: Sequence[int]) -> Rows:
        """These rows alone, in this order."""
        at = list(chosen)
        parts = tuple(self.parts[i] for i in at) if self.parts else ()
        return Rows(self.index[at], self.label[at], tuple(self.text[i] for i in at), parts)


@dataclass(frozen=True, eq=False)
class Sample:
    """The texts that a study looks at: the same number of each class, in source order.

    `index` is the source row from 0, `label` the class (position among the study's label values). `parts` are the texts
    of each row where a row is a pair of them, and `text` then shows them on a line each. `digest` covers all of these.
    """

    digest: str
    index: Int64[np.ndarray, " reviews"] = field(metadata=NOT_IN_KEY)
    label: Int64[np.ndarray, " reviews"] = field(metadata=NOT_IN_KEY)
    text: tuple[str, ...] = field(metadata=NOT_IN_KEY)
    parts: tuple[tuple[str, ...], ...] = field(default=(), metadata=NOT_IN_KEY)

    @property
    def inputs(self) -> Sequence[Input]:
        """What fills the template, row by row: the text, or the texts of the pair."""
        return self.parts or self.text


def make_sample(
    index: Int64[np.ndarray, " reviews"],
    label: Int64[np.ndarray, " reviews"],
    text: Sequence[str],
    parts: Sequence[Sequence[str]] = (),
) -> Sample:
    """A sample with its digest."""
    content: list[Any] = [index.tolist(), label.tolist(), list(text)]
    if parts:
        content.append([list(one) for one in parts])
    digest = hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()
    return Sample(digest, index, label, tuple(text), tuple(map(tuple, parts)))


def source_stamp(path: str | None) -> tuple[str, int, int, int] | None:
    """What tells one state of a local file from another: path, size, mtime_ns, inode. None for the hub or no file.

    For a folder, a digest of the states of its files takes the place of the time.
    """
    if path is None:
        return None
    try:
        stat = os.stat(path)
        if not Path(path).is_dir():
            return (path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
        inside = [(str(one), one.stat()) for one in sorted(Path(path).rglob("*")) if one.is_file()]
    except OSError:
        return None
    states = [[name, one.st_size, one.st_mtime_ns, one.st_ino] for name, one in inside]
    known = hashlib.sha256(json.dumps(states).encode()).digest()
    return (path, sum(one.st_size for _, one in inside), int.from_bytes(known[:7], "big"), stat.st_ino)


def read_table(spec: DatasetSpec | TrainingSpec, split: str | None = None) -> pd.DataFrame:
    """All rows of the source as strings and numbers, in order; DatasetError when it cannot be read."""
    if spec.path is not None:
        return read_file(Path(spec.path), split=split or spec.split)
    if spec.repo is None:
        raise DatasetError("The study names no data; give [dataset] or [training] a repo or a path.")
    return read_hub(spec.repo, split or spec.split)


def classify(table: pd.DataFrame, spec: DatasetSpec, words: Sequence[str]) -> tuple[Rows, tuple[ClassNames, ...]]:
    """The rows of the table that have a text and one of the study's label values, and what its classes are called.

    Raises DatasetError for a missing column, fewer classes than label words, names that contradict one another, or
    texts and labels of another kind.
    """
    source = str(spec.path or spec.repo)
    inputs = list(zip(*(find_texts(table, column, source) for column in columns(spec.text)), strict=True))
    raw = find_labels(table, spec.label, source)
    values = spec.labels if spec.labels is not None else _class_values(raw, len(words), source)
    names = table.attrs.get("class_names", {}).get(spec.label)
    classes = order_values(values, names, words, spec.labels is not None, source)
    place = {one.value: position for position, one in enumerate(classes)}
    if len(place) < len(values):
        raise DatasetError(
            f'dataset.labels lists one value twice ({", ".join(map(repr, values))}); 1, 1.0, true and "1" are '
            f"the same label."
        )
    rows = [
        (row, place[value_key(label)], texts)
        for row, (label, texts) in enumerate(zip(raw, inputs, strict=True))
        if not is_missing(label)
        and value_key(label) in place
        and all(isinstance(one, str) and one.strip() for one in texts)
    ]
    present = {label for _, label, _ in rows}
    if len(present) < len(words):
        empty = [one.value for c, one in enumerate(classes) if c not in present]
        raise DatasetError(
            f"{source} has no usable row with label {listed(empty)} (its labels: {listed(label_values(raw))}); a "
            f"study needs texts of every class (dataset.labels lists the label values in class order)."
        )
    index, label, texts = zip(*rows, strict=True)
    whole = tuple(one[0] if len(one) == 1 else shown(one) for one in texts)
    parts = tuple(texts) if len(columns(spec.text)) > 1 else ()
    return Rows(np.array(index, dtype=np.int64), np.array(label, dtype=np.int64), whole, parts), classes


def _class_values(raw: list[Any], classes: int, source: str) -> tuple[Any, ...]:
    """The label values in class order, when the study does not list them."""
    found = label_values(raw)
    if len(found) == 1 and classes > 1:
        raise DatasetError(f"{source} has one class only (label {found[0]}); a study needs texts of every class.")
    if len(found) != classes:
        raise DatasetError(
            f"{source} has {len(found)} label values ({listed(found)}) for {classes} label words; "
            f"list the values to use in dataset.labels, in class order."
        )
    return tuple(found)


def balanced(rows: Rows, size: int, classes: int, seed: int, source: str) -> Sample:
    """`size` rows, the same number of each class, drawn without replacement with the seed, in source order.

    Raises DatasetError when a class has fewer rows than its share.
    """
    share = size // classes
    generator = np.random.default_rng(seed)
    chosen: list[np.ndarray] = []
    for c in range(classes):
        pool = np.flatnonzero(rows.label == c)
        if len(pool) < share:
            raise DatasetError(
                f"{source} has {len(pool)} usable texts of class {c}, fewer than the {share} that sample = {size} asks "
                f"for; lower dataset.sample to at most {len(pool) * classes} or add texts."
            )
        chosen.append(generator.choice(pool, share, replace=False))
    order = np.sort(np.concatenate(chosen))
    drawn = rows.some(order.tolist())
    return make_sample(drawn.index, drawn.label, drawn.text, drawn.parts)


def read_sample(spec: DatasetSpec, words: Sequence[str]) -> tuple[Sample, tuple[ClassNames, ...]]:
    """The study's sample, read from its source, and its classes in the order of the label words. DatasetError."""
    rows, classes = classify(read_table(spec), spec, words)
    return balanced(rows, spec.sample, len(words), spec.seed, str(spec.path or spec.repo)), classes


def text_digest(text: str) -> str:
    """Two texts have the same digest if they differ in white space and case only."""
    return hashlib.sha256(" ".join(text.split()).lower().encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class TrainingTexts:
    """The texts that the checkpoints were trained on, by reference; they are read only when asked for."""

    digest: str
    spec: TrainingSpec = field(metadata=NOT_IN_KEY, compare=False)
    column: Input = field(metadata=NOT_IN_KEY, compare=False)

    def normalized_digests(self) -> frozenset[str]:
        """`text_digest` of every training text; DatasetError when the source cannot be reached."""
        return frozenset(map(text_digest, self.texts()))

    def texts(self) -> list[str]:
        """Every text of the source, in its order, a pair as the sample shows it.

        DatasetError when the source is not on this machine or cannot be read.
        """
        if self.spec.path is None and not _on_this_machine(self.spec):
            raise DatasetError(
                f"The training texts ({self.spec.repo}) are not on this machine, so nothing was compared; fetch them "
                f"once with the datasets library, or name a local file with training.path."
            )
        table, source = read_table(self.spec), str(self.spec.path or self.spec.repo)
        rows = zip(*(find_texts(table, column, source) for column in columns(self.column)), strict=True)
        whole = [texts for texts in rows if all(isinstance(text, str) for text in texts)]
        return [texts[0] if len(texts) == 1 else shown(texts) for texts in whole]


def _on_this_machine(spec: TrainingSpec) -> bool:
    """Whether the datasets library has the hub repository in its own cache; a picture is no reason to download it."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    folder = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets")
    return (folder / str(spec.repo).replace("/", "___")).is_dir()


def training_texts(spec: TrainingSpec | None, column: Input) -> TrainingTexts | None:
    """A reference to the training texts, its digest made of the source's name and, for a file, its state."""
    if spec is None or (spec.repo is None and spec.path is None):
        return None
    state = source_stamp(spec.path) if spec.path else _on_this_machine(spec)
    content = json.dumps([spec.repo, spec.split, state, column])
    return TrainingTexts(hashlib.sha256(content.encode()).hexdigest(), spec, column)
