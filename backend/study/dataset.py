"""Read labelled texts from the hub, a data file or a saved dataset, and draw a balanced, seeded sample."""

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
from backend.study.classes import ClassNames, contrast, order_values, value_key
from backend.study.config import DatasetSpec, TrainingSpec
from backend.study.kinds import ALL_TEXTS
from backend.study.pairs import Input, shown
from backend.study.tables.arrow_datasets import read_hub
from backend.study.tables.columns import (
    find_labels,
    find_texts,
    is_missing,
    label_values,
    listed,
    ordered_values,
)
from backend.study.tables.data_files import read_file
from backend.study.template import columns

LEAST_VALUES = 3
"""Fewest different values of an ordered label; two are classes."""
MOST_CLASSES = 12
"""Most label values that are classes by themselves; of more, dataset.labels lists those to compare."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Every usable row of a dataset: `index` is the source row from 0, `label` the class.

    For pairs of texts, `parts` are the texts of each row, and `text` shows them on separate lines. `values` are the
    numbers of an ordered label, empty without one.
    """

    index: Int64[np.ndarray, " rows"]
    label: Int64[np.ndarray, " rows"]
    text: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...] = ()
    values: tuple[float, ...] = ()

    @property
    def inputs(self) -> Sequence[Input]:
        """What fills the template, row by row: the text, or the texts of the pair."""
        return self.parts or self.text

    def some(self, chosen: Sequence[int]) -> Rows:
        """These rows alone, in this order."""
        at = list(chosen)
        parts = tuple(self.parts[i] for i in at) if self.parts else ()
        values = tuple(self.values[i] for i in at) if self.values else ()
        return Rows(self.index[at], self.label[at], tuple(self.text[i] for i in at), parts, values)


@dataclass(frozen=True, eq=False)
class Sample:
    """The texts of a study: the same number of each class, in source order.

    `index` is the source row from 0, `label` the class (position among the study's label values). For pairs of texts,
    `parts` are the texts of each row, and `text` shows them on separate lines. `values` are the numbers of an ordered
    label, empty without one. `digest` covers all of these.
    """

    digest: str
    index: Int64[np.ndarray, " reviews"] = field(metadata=NOT_IN_KEY)
    label: Int64[np.ndarray, " reviews"] = field(metadata=NOT_IN_KEY)
    text: tuple[str, ...] = field(metadata=NOT_IN_KEY)
    parts: tuple[tuple[str, ...], ...] = field(default=(), metadata=NOT_IN_KEY)
    values: tuple[float, ...] = field(default=(), metadata=NOT_IN_KEY)

    @property
    def inputs(self) -> Sequence[Input]:
        """Return the input of the template for each row: the text, or the texts of the pair."""
        return self.parts or self.text


def make_sample(
    index: Int64[np.ndarray, " reviews"],
    label: Int64[np.ndarray, " reviews"],
    text: Sequence[str],
    parts: Sequence[Sequence[str]] = (),
    values: Sequence[float] = (),
) -> Sample:
    """Return a sample with its digest."""
    content: list[Any] = [index.tolist(), label.tolist(), list(text)]
    if parts:
        content.append([list(texts) for texts in parts])
    if values:
        content.append({"values": list(values)})
    digest = hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()
    return Sample(digest, index, label, tuple(text), tuple(map(tuple, parts)), tuple(values))


def source_stamp(path: str | None) -> tuple[str, int, int, int] | None:
    """Return the state of a local file: path, size, mtime_ns, inode. None for the hub or a missing file.

    For a folder, a digest of the states of its files replaces mtime_ns.
    """
    if path is None:
        return None
    try:
        stat = os.stat(path)
        if not Path(path).is_dir():
            return (path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
        files = [(str(file), file.stat()) for file in sorted(Path(path).rglob("*")) if file.is_file()]
    except OSError:
        return None
    states = [[name, state.st_size, state.st_mtime_ns, state.st_ino] for name, state in files]
    digest = hashlib.sha256(json.dumps(states).encode()).digest()
    return (path, sum(state.st_size for _, state in files), int.from_bytes(digest[:7], "big"), stat.st_ino)


def read_table(spec: DatasetSpec | TrainingSpec, split: str | None = None) -> pd.DataFrame:
    """Read all rows of the source as strings and numbers, in order. Raises DatasetError if it cannot be read."""
    if spec.path is not None:
        return read_file(Path(spec.path), split=split or spec.split)
    if spec.repo is None:
        raise DatasetError("The study names no data; add repo or path to [dataset] or [training].")
    return read_hub(spec.repo, split or spec.split, spec.config)


def classify(table: pd.DataFrame, spec: DatasetSpec, words: Sequence[str]) -> tuple[Rows, tuple[ClassNames, ...]]:
    """Return the rows of the table with a text and one of the study's label values, and the names of its classes.

    Without `words` every label value is a class, and without a label column all texts are one class. Raises
    DatasetError for a missing column, fewer classes than label words, contradicting names, or texts and labels of a
    wrong type.
    """
    source = str(spec.path or spec.repo)
    inputs = list(zip(*(find_texts(table, column, source) for column in columns(spec.text)), strict=True))
    numbers: list[float | None] = []
    if spec.label is not None and spec.ordered:
        numbers = ordered_values(find_labels(table, spec.label, source), spec.label, source)
        raw, classes = [None if one is None else 0 for one in numbers], (ClassNames("0", None, ALL_TEXTS),)
    elif spec.label is None:
        raw, classes = [0] * len(inputs), (ClassNames("0", None, ALL_TEXTS),)
    else:
        raw = find_labels(table, spec.label, source)
        classes = _named(table, spec, words, raw, source)
    place = {names.value: position for position, names in enumerate(classes)}
    if len(place) < len(classes):
        raise DatasetError(
            f"dataset.labels lists a value twice ({', '.join(map(repr, spec.labels or ()))}); list each value once "
            f'(1, 1.0, true and "1" are equal).'
        )
    rows = [
        (row, place[value_key(label)], texts)
        for row, (label, texts) in enumerate(zip(raw, inputs, strict=True))
        if not is_missing(label)
        and value_key(label) in place
        and all(isinstance(text, str) and text.strip() for text in texts)
    ]
    present = {label for _, label, _ in rows}
    if len(present) < len(classes):
        raise _without_texts(source, raw, [names.value for c, names in enumerate(classes) if c not in present], spec)
    index, label, texts = zip(*rows, strict=True)
    whole = tuple(row[0] if len(row) == 1 else shown(row) for row in texts)
    parts = tuple(texts) if len(columns(spec.text)) > 1 else ()
    values = tuple(float(numbers[row] or 0.0) for row in index) if numbers else ()
    return Rows(np.array(index, dtype=np.int64), np.array(label, dtype=np.int64), whole, parts, values), classes


def _named(
    table: pd.DataFrame, spec: DatasetSpec, words: Sequence[str], raw: list[Any], source: str
) -> tuple[ClassNames, ...]:
    """Return the classes in the order of the label words, or of dataset.labels, or of the label values."""
    names = table.attrs.get("class_names", {}).get(spec.label)
    values = spec.labels if spec.labels is not None else _class_values(raw, len(words), source)
    if not words:
        return contrast(values, names, str(spec.label))
    return order_values(values, names, words, spec.labels is not None, source)


def _without_texts(source: str, raw: list[Any], empty: list[str], spec: DatasetSpec) -> DatasetError:
    """Return the error for classes without a usable row."""
    if spec.label is None or spec.ordered:
        return DatasetError(f"{source} has no usable text; name the column of texts in dataset.text.")
    return DatasetError(
        f"{source} has no usable row with label {listed(empty)} (its labels: {listed(label_values(raw))}); a "
        f"study needs texts of every class (dataset.labels lists the label values in class order)."
    )


def _class_values(raw: list[Any], classes: int, source: str) -> tuple[Any, ...]:
    """Return the label values of the data, for a study that does not list them; `classes` is 0 for a contrast."""
    values = label_values(raw)
    if len(values) == 1 and classes != 1:
        raise DatasetError(f"{source} has only one class (label {values[0]}); add texts of the other classes.")
    if not classes and len(values) > MOST_CLASSES:
        raise DatasetError(
            f"{source} has {len(values)} label values ({listed(values)}), more than the {MOST_CLASSES} that can be "
            f"compared; list the values to compare in dataset.labels."
        )
    if classes and len(values) != classes:
        raise DatasetError(
            f"{source} has {len(values)} label values ({listed(values)}) for {classes} label words; "
            f"list the values to use in dataset.labels, in class order."
        )
    return tuple(values)


def balanced(rows: Rows, size: int, classes: int, seed: int, source: str) -> Sample:
    """Draw `size` rows without replacement, the same number of each class, in source order.

    Raises DatasetError if a class has fewer rows than its share.
    """
    share = size // classes
    generator = np.random.default_rng(seed)
    chosen: list[np.ndarray] = []
    for c in range(classes):
        pool = np.flatnonzero(rows.label == c)
        if len(pool) < share:
            of_class = f" of class {c}" if classes > 1 else ""
            raise DatasetError(
                f"{source} has {len(pool)} usable texts{of_class}, fewer than the {share} needed for "
                f"sample = {size}; lower dataset.sample to at most {len(pool) * classes} or add texts."
            )
        chosen.append(generator.choice(pool, share, replace=False))
    order = np.sort(np.concatenate(chosen))
    drawn = rows.some(order.tolist())
    if len(set(drawn.values)) < LEAST_VALUES and drawn.values:
        raise DatasetError(
            f"{source} has {len(set(drawn.values))} different values in the sample of an ordered label; raise "
            f"dataset.sample, or remove dataset.ordered to compare them as classes."
        )
    return make_sample(drawn.index, drawn.label, drawn.text, drawn.parts, drawn.values)


def read_sample(spec: DatasetSpec, words: Sequence[str]) -> tuple[Sample, tuple[ClassNames, ...]]:
    """Read the sample of a study, and its classes in the order of the label words. Raises DatasetError."""
    rows, classes = classify(read_table(spec), spec, words)
    if "sample" in spec.model_fields_set and spec.sample % len(classes):
        raise DatasetError(
            f"dataset.sample is {spec.sample}, which is not divisible by {len(classes)} classes; use a multiple of "
            f"{len(classes)}."
        )
    return balanced(rows, spec.sample, len(classes), spec.seed, str(spec.path or spec.repo)), classes


def text_digest(text: str) -> str:
    """Return a digest that ignores white space and case."""
    return hashlib.sha256(" ".join(text.split()).lower().encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class TrainingTexts:
    """A reference to the training texts of the checkpoints; they are read on demand."""

    digest: str
    spec: TrainingSpec = field(metadata=NOT_IN_KEY, compare=False)
    column: Input = field(metadata=NOT_IN_KEY, compare=False)

    def normalized_digests(self) -> frozenset[str]:
        """Return `text_digest` of every training text. Raises DatasetError if the source cannot be read."""
        return frozenset(map(text_digest, self.texts()))

    def texts(self) -> list[str]:
        """Return every text of the source in order, with pairs as the sample shows them.

        Raises DatasetError if the source is not on this machine or cannot be read.
        """
        if self.spec.path is None and not _on_this_machine(self.spec):
            raise DatasetError(
                f"The training texts ({self.spec.repo}) are not on this machine, so nothing was compared; "
                f"download them with the datasets library, or name a local file in training.path."
            )
        table, source = read_table(self.spec), str(self.spec.path or self.spec.repo)
        rows = zip(*(find_texts(table, column, source) for column in columns(self.column)), strict=True)
        complete = [texts for texts in rows if all(isinstance(text, str) for text in texts)]
        return [texts[0] if len(texts) == 1 else shown(texts) for texts in complete]


def _on_this_machine(spec: TrainingSpec) -> bool:
    """Return whether the repository is in the cache of the datasets library; a picture starts no download."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    folder = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets")
    return (folder / str(spec.repo).replace("/", "___")).is_dir()


def training_texts(spec: TrainingSpec | None, column: Input) -> TrainingTexts | None:
    """Return a reference to the training texts; its digest covers the name and, for a file, its state."""
    if spec is None or (spec.repo is None and spec.path is None):
        return None
    state = source_stamp(spec.path) if spec.path else _on_this_machine(spec)
    content = json.dumps([spec.repo, spec.split, state, column, *filter(None, (spec.config,))])
    return TrainingTexts(hashlib.sha256(content.encode()).hexdigest(), spec, column)
