"""A new study from a base, checkpoint folders and labelled texts, checked field by field before anything is written."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backend.errors import CheckpointError, DatasetError, StudyError
from backend.lab.lab import Lab
from backend.lab.pinning import pin
from backend.new_study.label_choice import choose
from backend.study.config import STUDY_FILE, CheckpointRef, DatasetSpec, Family, PromptSpec, Study, parse_study, to_toml
from backend.study.dataset import Sample, balanced, classify, read_table, source_stamp
from backend.study.facts import Facts, Reading, reading
from backend.study.keys import sentences, try_keys
from backend.study.paths import is_hub, new_folder, relative, source, stored_name
from backend.study.prompts import make_prompts, plain_reader
from backend.study.tables import arrow_datasets
from backend.study.tables.arrow_datasets import USUAL_SPLIT
from backend.study.tables.columns import find_labels, find_texts, label_values, listed
from backend.study.tables.data_files import read_file
from backend.study.trainers.order import Found, named

TEMPLATE = "Review: {text} Sentiment:"
MOST_CLASSES = 20
USUAL_SAMPLE = 200


@dataclass(frozen=True)
class NewStudy:
    """What somebody says a new study is made of, unchecked.

    `base` and `data` are local paths or names on the hub, `checkpoints` directories or patterns of them. A trainer's
    output `folder` may stand for base and checkpoints; `found` are the checkpoints that it led to. `content` is a data
    file that was handed over; it is then stored in the study's folder under the name `data`. `labels` are the label
    values to use, in class order (None: all), `label_words` has one word per class (None: a suggestion), `sample`
    counts texts (None: up to 200). `split` is one of a dataset of several (None: "test", or the only one).
    """

    name: str
    base: str
    checkpoints: tuple[str, ...]
    data: str
    folder: str = ""
    found: tuple[Found, ...] | None = None
    split: str | None = None
    text: str = "text"
    label: str = "label"
    labels: tuple[str, ...] | None = None
    label_words: tuple[str, ...] | None = None
    template: str = TEMPLATE
    separator: str | None = None
    tokenizer: str | None = None
    max_tokens: int = 256
    sample: int | None = None
    family: Family = "causal"
    title: str | None = None
    content: bytes | None = field(default=None, repr=False)


def create(wanted: NewStudy, root: Path, lab: Lab) -> Path:
    """Write root/NAME/study.toml and return the folder.

    Raises a LayershiftError, and then leaves nothing behind, for whatever `problems` finds, and when the base, the data
    or the prompts cannot be used. Checkpoints that cannot be used stay in the study, which says why when it is opened.
    """
    folder = new_folder(wanted.name, root)
    raw = describe(wanted, folder)
    study = parse_study(raw, folder)
    written = False
    try:
        folder.mkdir(parents=True)
        try:
            if wanted.content is not None:
                (folder / stored_name(wanted.data)).write_bytes(wanted.content)
            pin(study, lab)
            (folder / STUDY_FILE).write_text(to_toml(raw), encoding="utf-8")
            written = True
        finally:
            if not written:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise StudyError(f"{folder} cannot be written ({error.strerror}); set LAYERSHIFT_STUDIES elsewhere.") from None
    return folder


def draft(wanted: NewStudy, root: Path) -> Study:
    """The study as it would be, weights and tokens unseen. Raises StudyError or DatasetError."""
    folder = new_folder(wanted.name, root)
    return parse_study(describe(wanted, folder), folder)


def describe(wanted: NewStudy, folder: Path) -> dict[str, Any]:
    """The mapping that study.toml will hold, with the data read and the checkpoints found."""
    found, sample = values(wanted), draw_sample(wanted)
    data, split = _data_source(wanted, folder), _split(wanted)
    return {
        "title": wanted.title or wanted.name,
        "family": wanted.family,
        "base": source(wanted.base, folder),
        "checkpoints": [{"label": one.label, "path": relative(one.path, folder)} for one in checkpoints(wanted)],
        "dataset": {
            **data,
            **({} if split is None else {"split": split}),
            "text": wanted.text,
            "label": wanted.label,
            "labels": found,
            "sample": wanted.sample or len(sample.text),
            "seed": 0,
        },
        "prompt": {
            "template": wanted.template,
            "label_words": list(wanted.label_words or suggest_words(found)),
            **{key: said for key in ("separator", "tokenizer") if (said := getattr(wanted, key)) is not None},
            "max_tokens": wanted.max_tokens,
            "keep": "end",
        },
    }


def checkpoints(wanted: NewStudy) -> tuple[Found, ...]:
    """The checkpoints in order, with their labels. Raises StudyError if there is none."""
    return named(wanted.checkpoints).checkpoints if wanted.found is None else wanted.found


def problems(wanted: NewStudy, root: Path, lab: Lab, fetch: bool = True) -> dict[str, str]:
    """What is wrong with each field, one sentence each; without `fetch`, nothing on the hub is looked at.

    Opens no model and reads no weights: what only these can tell, `create` finds.
    """
    words = list(wanted.label_words or ("a", "b"))
    said = sentences(
        {
            "name": lambda: new_folder(wanted.name, root),
            "base": lambda: facts(wanted, root, lab, fetch),
            "checkpoints": lambda: checkpoints(wanted),
            "data": lambda: columns(wanted, fetch),
            "label_words": lambda: try_keys({"label_words": words}),
            "template": lambda: try_keys({"template": wanted.template}),
            "max_tokens": lambda: try_keys({"max_tokens": wanted.max_tokens}),
            "sample": lambda: try_keys({"label_words": words}, {"sample": wanted.sample or len(words)}),
        }
    )
    if "data" in said or not columns(wanted, fetch):
        return said
    said |= sentences({"label": lambda: values(wanted, agreeing=False)})
    said |= sentences({"text": lambda: find_texts(_table(wanted), wanted.text, wanted.data)})
    if not said.keys() & {"label", "text", "label_words"}:
        said |= sentences({"label_words": lambda: values(wanted)})
    if not said.keys() & {"label", "text", "label_words", "sample"}:
        said |= sentences({"sample": lambda: draw_sample(wanted)})
    if not said and facts(wanted, root, lab, fetch):
        said |= sentences({"label_words": lambda: _tokens(wanted, root, lab)})
    return said


def base_ref(wanted: NewStudy, root: Path) -> CheckpointRef:
    """Where the base is. Raises StudyError for a path that does not exist."""
    place = source(wanted.base, root)
    return CheckpointRef(**(place | {"path": str(root / place["path"])} if "path" in place else place))


def facts(wanted: NewStudy, root: Path, lab: Lab, fetch: bool = True) -> Facts | None:
    """What the base is, None if it is on the hub and there is no `fetch`. StudyError or CheckpointError."""
    base = base_ref(wanted, root)
    return None if base.repo and not fetch else lab.models.facts(base, base)


def _tokens(wanted: NewStudy, root: Path, lab: Lab) -> None:
    """Whether the label words are tokens that can be told apart. Raises PromptError."""
    base = base_ref(wanted, root)
    words = wanted.label_words or tuple(suggest_words(values(wanted)))
    spec = PromptSpec(template=wanted.template, label_words=words, separator=wanted.separator)
    refs = [CheckpointRef(label=one.label, path=str(one.path)) for one in checkpoints(wanted)]
    reader = plain_reader(lab.models.tokenizer(base, base), spec, reading_of(wanted.family, base, refs, lab))
    make_prompts(reader, [""], np.zeros(1, dtype=np.int64))


def reading_of(family: Family, base: CheckpointRef, refs: Sequence[CheckpointRef], lab: Lab) -> Reading:
    """What answers in the study, as far as its checkpoints can be read."""
    known = []
    for ref in (base, *refs):
        with suppress(CheckpointError):
            known.append(lab.models.facts(ref, base))
    return reading(family, known)


def on_hub(wanted: NewStudy) -> list[str]:
    """Which of base and data are names on the hub, or may be."""
    given = ((wanted.base, False), ("" if wanted.content else wanted.data, True))
    return [name for name, data in given if name.strip() and is_hub(name, data)]


def _data_source(wanted: NewStudy, folder: Path) -> dict[str, str]:
    if wanted.content is not None:
        return {"path": stored_name(wanted.data)}
    return source(wanted.data, folder, data=True)


def columns(wanted: NewStudy, fetch: bool = True) -> list[str]:
    """The columns of the data, none for data on the hub without `fetch`. DatasetError when it cannot be read."""
    if not fetch and "repo" in _data_source(wanted, Path("/")):
        return []
    return [str(column) for column in _table(wanted).columns]


def _table(wanted: NewStudy) -> pd.DataFrame:
    place = _data_source(wanted, Path("/"))
    path = str(Path("/") / place["path"]) if "path" in place else None
    return _read(path, place.get("repo"), _split(wanted), wanted.content, source_stamp(path))


def splits(data: str) -> tuple[str, ...]:
    """The splits of a saved dataset on this machine, none for all other data. Raises DatasetError."""
    path = source(data, Path("/"), data=True).get("path")
    return () if path is None else arrow_datasets.splits(Path("/") / path)


def _split(wanted: NewStudy) -> str | None:
    """The split that is read, None where the data has none. Raises DatasetError where one must be named."""
    place = _data_source(wanted, Path("/"))
    if "repo" in place:
        return wanted.split or USUAL_SPLIT
    return None if wanted.content else arrow_datasets.choose_split(Path("/") / place["path"], wanted.split)


@lru_cache(maxsize=2)  # a form asks for its data whenever one of its fields changes
def _read(path: str | None, repo: str | None, split: str | None, content: bytes | None, _stamp: object) -> pd.DataFrame:
    if path is not None and content is not None:
        return read_file(Path(path), content)
    return read_table(DatasetSpec(repo=repo, path=path, split=split or USUAL_SPLIT))


def values(wanted: NewStudy, agreeing: bool = True) -> list[Any]:
    """The label values in class order, that of the label words if these are the values.

    Raises DatasetError for a missing column, a single class or too many, or values that do not agree with the words.
    """
    found = label_values(find_labels(_table(wanted), wanted.label, wanted.data))
    if wanted.labels is not None:
        found = choose(wanted.labels, found, wanted.label_words, f'Column "{wanted.label}" of {wanted.data}')
    if not 2 <= len(found) <= MOST_CLASSES:
        raise DatasetError(
            f'Column "{wanted.label}" of {wanted.data} has {len(found)} different '
            f"{'value' if len(found) == 1 else 'values'}; use 2 to {MOST_CLASSES} classes (--labels chooses)."
        )
    words = wanted.label_words if agreeing else None
    if words and wanted.labels is None and set(map(str, found)) == set(words):
        return [next(value for value in found if str(value) == word) for word in words]
    if words and len(words) != len(found):
        raise DatasetError(
            f"{wanted.data} has {len(found)} label values ({listed(found)}) for {len(words)} label "
            f"words; give one word per value."
        )
    return found


def split_words(text: str) -> tuple[str, ...] | None:
    """Label words separated by commas; None for no word at all."""
    return tuple(word.strip() for word in text.split(",")) if text.strip() else None


def suggest_words(found: list[Any]) -> list[str]:
    """Label words to start from: negative and positive for two numbers, else the values themselves."""
    if len(found) == 2 and all(str(value) in ("0", "1", "False", "True") for value in found):
        return ["negative", "positive"]
    return [str(value) for value in found]


def draw_sample(wanted: NewStudy) -> Sample:
    """The sample that the study would have. Raises DatasetError."""
    found = values(wanted)
    spec = DatasetSpec(repo=wanted.data or "-", text=wanted.text, label=wanted.label, labels=tuple(found))
    rows, _ = classify(_table(wanted), spec, wanted.label_words or suggest_words(found))
    smallest = min(Counter(rows.label.tolist()).values())
    size = wanted.sample or min(USUAL_SAMPLE // len(found), smallest) * len(found)
    return balanced(rows, size, len(found), 0, wanted.data)
