"""Create a study from a base, checkpoint folders and labelled texts, and check every field before writing."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit

from backend.errors import CheckpointError, DatasetError, StudyError
from backend.lab.lab import Lab
from backend.lab.pinning import pin
from backend.new_study.asked import Asked
from backend.new_study.data import Data
from backend.new_study.inputs import TEMPLATE, suggest_words
from backend.new_study.label_choice import choose
from backend.study import patterns, template
from backend.study.config import STUDY_FILE, CheckpointRef, DatasetSpec, Family, PromptSpec, Study, parse_study
from backend.study.dataset import Sample, balanced, classify
from backend.study.facts import Facts, Reading, reading
from backend.study.keys import sentences, try_keys
from backend.study.kinds import Kind
from backend.study.pairs import Input
from backend.study.paths import is_hub, new_folder, relative, source, stored_name
from backend.study.prompts import make_prompts
from backend.study.reader import plain_reader
from backend.study.tables.columns import find_labels, find_texts, label_values, listed
from backend.study.trainers.order import FoundCheckpoint, named

LABELLED = ("answers", "contrast")
MOST_CLASSES = 20
USUAL_SAMPLE = 200


@dataclass(frozen=True)
class NewStudy:
    """The fields of a new study as the user entered them, unchecked.

    `base` and `data` are local paths or names on the hub; `checkpoints` are directories or patterns of directories. The
    output `folder` of a trainer may replace both; `found_checkpoints` are those in it. `text` is the column of the
    texts, or the columns of a pair. `content` is an uploaded data file, stored in the study under the name `data`.
    `labels` are the values to use, in class order (None: all). `label_words` has one word per class (None: suggested).
    `sample` is the number of texts (None: up to 200). `split` names one split of a dataset (None: "test", or the only
    one), `config` one configuration on the hub (None: the only one). `max_tokens` limits a prompt (None: 256). With
    `chat`, `template` is the user's message, after `system`.
    """

    name: str
    base: str
    checkpoints: tuple[str, ...]
    data: str
    folder: str = ""
    found_checkpoints: tuple[FoundCheckpoint, ...] | None = None
    split: str | None = None
    config: str | None = None
    text: Input = "text"
    label: str = "label"
    labels: tuple[str, ...] | None = None
    label_words: tuple[str, ...] | None = None
    template: str = TEMPLATE
    separator: str | None = None
    tokenizer: str | None = None
    max_tokens: int | None = None
    sample: int | None = None
    family: Family = "causal"
    title: str | None = None
    kind: Kind = "answers"
    chat: bool = False
    system: str = ""
    content: bytes | None = field(default=None, repr=False)

    @property
    def source(self) -> Data:
        """Return where the texts come from."""
        return Data(self.data, self.split, self.config, self.content)

    @property
    def asked(self) -> Asked:
        """Return the kind of the study and the form of its prompt."""
        return Asked(self.kind, self.template, self.chat, self.system)


def create(new: NewStudy, root: Path, lab: Lab) -> Path:
    """Write root/NAME/study.toml and return the folder.

    Raises a LayershiftError for everything that `problems` reports, and if base, data or prompts cannot be used; the
    folder is then removed. Unusable checkpoints stay in the study; opening it reports the reason.
    """
    folder = new_folder(new.name, root)
    raw = describe(new, folder)
    study = parse_study(raw, folder)
    written = False
    try:
        folder.mkdir(parents=True)
        try:
            if new.content is not None:
                (folder / stored_name(new.data)).write_bytes(new.content)
            pin(study, lab)
            (folder / STUDY_FILE).write_text(tomlkit.dumps(raw), encoding="utf-8")
            written = True
        finally:
            if not written:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise StudyError(f"{folder} cannot be written ({error.strerror}); set LAYERSHIFT_STUDIES elsewhere.") from None
    return folder


def draft(new: NewStudy, root: Path) -> Study:
    """Return the study that would be created, without reading weights. Raises StudyError or DatasetError."""
    folder = new_folder(new.name, root)
    return parse_study(describe(new, folder), folder)


def describe(new: NewStudy, folder: Path) -> dict[str, Any]:
    """Return the content of study.toml, with the data read and the checkpoints found."""
    sample = draw_sample(new)
    labels, separator = values(new) if new.kind in LABELLED else [], new.separator if new.kind == "answers" else None
    return {
        "title": new.title or new.name,
        "family": new.family,
        "base": source(new.base, folder),
        "checkpoints": entries(new, folder),
        "dataset": {
            **new.source.keys(folder),
            "text": new.text if isinstance(new.text, str) else list(new.text),
            **({"label": new.label, "labels": labels} if labels else {}),
            **({"label": new.label, "ordered": True} if new.kind == "ordered" else {}),
            "sample": new.sample or len(sample.text),
            "seed": 0,
        },
        "prompt": new.asked.prompt(
            new.label_words or suggest_words(labels),
            {"separator": separator, "tokenizer": new.tokenizer, "max_tokens": new.max_tokens, "keep": "end"},
        ),
    }


def entries(new: NewStudy, folder: Path) -> list[dict[str, str]]:
    """Return the entries of study.toml: a pattern, which later checkpoints join, or each checkpoint by itself.

    A pattern is written if it finds these checkpoints in this order, and was entered or gives them the same labels.
    """
    found = checkpoints(new)
    base = source(new.base, folder).get("path")
    pattern = patterns.finding([item.path for item in found], folder / base if base else None, new.checkpoints)
    entered = any(patterns.is_pattern(one, Path()) for one in new.checkpoints)
    if pattern is not None and (entered or all(item.label == f"step {item.step}" for item in found)):
        return [{"path": relative(Path(pattern), folder)}]
    return [{"label": item.label, "path": relative(item.path, folder)} for item in found]


def checkpoints(new: NewStudy) -> tuple[FoundCheckpoint, ...]:
    """Return the checkpoints in order, with their labels. Raises StudyError if there are none."""
    return named(new.checkpoints).checkpoints if new.found_checkpoints is None else new.found_checkpoints


def problems(new: NewStudy, root: Path, lab: Lab, fetch: bool = True) -> dict[str, str]:
    """Return the error of each field, one sentence each; without `fetch`, the hub is not accessed.

    Opens no model and reads no weights; `create` reports the errors that need them.
    """
    words = list(new.label_words or ("a", "b")) if new.kind == "answers" else ["a", "b"]
    fitting = {"label_words": words} if new.kind == "answers" else {"label_words": None}
    texts = template.columns(new.text)
    errors = sentences(
        {
            "name": lambda: new_folder(new.name, root),
            "base": lambda: facts(new, root, lab, fetch),
            "checkpoints": lambda: checkpoints(new),
            "data": lambda: new.source.columns(fetch),
            "label_words": lambda: try_keys({"label_words": words}),
            "template": lambda: try_keys(new.asked.form, {"text": list(texts) if texts[1:] else "text"}),
            "max_tokens": lambda: try_keys({} if new.max_tokens is None else {"max_tokens": new.max_tokens}),
            "sample": lambda: try_keys(fitting, {"sample": new.sample or len(words)}),
        }
    )
    if "data" in errors or not new.source.columns(fetch):
        return errors
    errors |= sentences({"label": lambda: values(new, agreeing=False)} if new.kind in LABELLED else {})
    errors |= sentences({"text": lambda: [find_texts(new.source.table(), column, new.data) for column in texts]})
    if new.kind == "answers" and not errors.keys() & {"label", "text", "label_words"}:
        errors |= sentences({"label_words": lambda: values(new)})
    if not errors.keys() & {"label", "text", "label_words", "sample"}:
        errors |= sentences({"sample": lambda: draw_sample(new)})
    if new.kind == "answers" and not new.chat and not errors and facts(new, root, lab, fetch):
        errors |= sentences({"label_words": lambda: _tokens(new, root, lab)})
    return errors


def base_ref(new: NewStudy, root: Path) -> CheckpointRef:
    """Return the location of the base. Raises StudyError for a path that does not exist."""
    place = source(new.base, root)
    return CheckpointRef(path=str(root / place["path"])) if "path" in place else CheckpointRef(repo=place["repo"])


def facts(new: NewStudy, root: Path, lab: Lab, fetch: bool = True) -> Facts | None:
    """Return the facts of the base; None if it is on the hub without `fetch`. StudyError or CheckpointError."""
    base = base_ref(new, root)
    return None if base.repo and not fetch else lab.models.facts(base, base)


def _tokens(new: NewStudy, root: Path, lab: Lab) -> None:
    """Whether the label words are tokens that can be told apart. Raises PromptError."""
    base = base_ref(new, root)
    words = new.label_words or tuple(suggest_words(values(new)))
    texts = ("text",) if isinstance(new.text, str) else new.text
    spec = PromptSpec(template=new.template, label_words=words, separator=new.separator)
    spec = spec.model_copy(update={"fields": texts})
    refs = [CheckpointRef(label=one.label, path=str(one.path)) for one in checkpoints(new)]
    reader = plain_reader(lab.models.tokenizer(base, base), spec, reading_of(new.family, base, refs, lab))
    make_prompts(reader, [("",) * len(texts) if texts[1:] else ""], np.zeros(1, dtype=np.int64))


def reading_of(family: Family, base: CheckpointRef, refs: Sequence[CheckpointRef], lab: Lab) -> Reading:
    """What answers in the study, as far as its checkpoints can be read."""
    known = []
    for ref in (base, *refs):
        with suppress(CheckpointError):
            known.append(lab.models.facts(ref, base))
    return reading(family, known)


def on_hub(new: NewStudy) -> list[str]:
    """Return those of base and data that are, or may be, names on the hub."""
    base = [new.base] if new.base.strip() and is_hub(new.base) else []
    return base + ([new.data] if new.source.on_hub else [])


def values(new: NewStudy, agreeing: bool = True) -> list[Any]:
    """Return the label values in class order: the order of the label words if these equal the values.

    Raises DatasetError for a missing column, one class or too many classes, or values that contradict the words.
    """
    try:
        label_set = label_values(find_labels(new.source.table(), new.label, new.data))
    except DatasetError as error:
        if new.label in new.source.columns():
            raise
        raise DatasetError(f"{error} Name the column of the labels, or choose texts only (--kind texts).") from None
    if new.labels is not None:
        label_set = choose(new.labels, label_set, new.label_words, f'Column "{new.label}" of {new.data}')
    if not 2 <= len(label_set) <= MOST_CLASSES:
        raise DatasetError(
            f'Column "{new.label}" of {new.data} has {len(label_set)} distinct '
            f"{'value' if len(label_set) == 1 else 'values'}; use 2 to {MOST_CLASSES} classes (choose with --labels)."
        )
    words = new.label_words if agreeing and new.kind == "answers" else None
    if words and new.labels is None and set(map(str, label_set)) == set(words):
        return [next(value for value in label_set if str(value) == word) for word in words]
    if words and len(words) != len(label_set):
        raise DatasetError(
            f"{new.data} has {len(label_set)} label values ({listed(label_set)}) for {len(words)} label "
            f"words; give one word per value."
        )
    return label_set


def draw_sample(new: NewStudy) -> Sample:
    """Draw the sample of the study. Raises DatasetError."""
    labels = values(new) if new.kind in LABELLED else []
    label, ordered = (None if new.kind == "texts" else new.label), new.kind == "ordered"
    spec = DatasetSpec(
        repo=new.data or "-", text=new.text, label=label, labels=tuple(labels) or None, ordered=ordered or None
    )
    words = new.label_words or suggest_words(labels)
    rows, classes = classify(new.source.table(), spec, words if new.kind == "answers" else ())
    smallest, count = min(Counter(rows.label.tolist()).values()), len(classes)
    return balanced(rows, new.sample or min(USUAL_SAMPLE // count, smallest) * count, count, 0, new.data)
