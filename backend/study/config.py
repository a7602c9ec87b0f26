"""The study and its parts, read from study.toml. Frozen, without weights, no torch."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt, StringConstraints, ValidationError

from backend.errors import StudyError
from backend.study import conditions, patterns, template
from backend.study.kinds import Kind
from backend.study.tables.text_files import NotUnicode, decode
from backend.study.toml import tuples
from backend.study.wrong_keys import UNKNOWN, sentence

P = TypeVar("P", "CheckpointRef", "DatasetSpec", "TrainingSpec")
BASE = "base"
STUDY_FILE = "study.toml"

Text = Annotated[str, StringConstraints(min_length=1)]
Line = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\r\n]+$")]
Dtype = Literal["float32", "float16", "bfloat16"]
Family = Literal["causal", "encoder"]
Position = Literal["last", "text_end", "text_mean", "generated"]
"""Where residuals are read: the prompt's last token (`[CLS]`), the text's last, its mean, or the first written one."""


class Part(BaseModel, frozen=True, extra="forbid", strict=True):
    """A part of study.toml: frozen, and unknown keys are errors."""


class CheckpointRef(Part, frozen=True):
    """The location of weights: a hub repository, or a local directory as an absolute path.

    `seed_of` is the label of the checkpoint that this checkpoint repeats with another seed. `step` counts the optimizer
    steps of the training; None: see `backend.study.steps`. `steps` makes several checkpoints of one entry of the file.
    """

    label: Line = BASE
    repo: Text | None = None
    revision: Text | None = None
    subfolder: Text | None = None
    path: Text | None = None
    seed_of: Text | None = None
    step: NonNegativeInt | None = None
    steps: tuple[NonNegativeInt, ...] | None = None

    @property
    def place(self) -> str:
        """Return the location as text, for messages and tables."""
        if self.path is not None:
            return self.path
        return "/".join(filter(None, (self.repo, self.subfolder))) + (f"@{self.revision}" if self.revision else "")


class DatasetSpec(Part, frozen=True):
    """Texts: a hub repository with a split, a local data file, or a folder written by save_to_disk.

    `label` is the column of labels (None: texts alone), `ordered` whether its values are ordered numbers.
    """

    repo: Text | None = None
    path: Text | None = None
    config: Text | None = None
    split: Text = "test"
    text: Text | Annotated[tuple[Text, ...], Field(min_length=2)] = "text"
    label: Text | None = "label"
    labels: tuple[int | str | bool, ...] | None = Field(default=None, min_length=2)
    ordered: bool | None = None
    sample: PositiveInt = 200
    seed: NonNegativeInt = 0


class Message(Part, frozen=True):
    """One message of a chat, whose content may hold the place of a text."""

    role: Text
    content: str


class PromptSpec(Part, frozen=True):
    """The template around a text or the messages of a chat, one label word per class, and how long texts are cut.

    Without `label_words` the study asks for no answers. `separator` is the text between prompt and label word; None:
    " " or "", whichever is likelier for the checkpoints. `tokenizer` selects the token ids, and the chat template, if
    base and checkpoints have different ones. `position` is where residuals are read. `fields` are the placeholders of
    the template, named in dataset.text.
    """

    template: Text = ""
    messages: tuple[Message, ...] = Field(default=(), min_length=1)
    label_words: tuple[Text, ...] = Field(default=(), min_length=2)
    separator: str | None = None
    tokenizer: Literal["own", "base"] | None = None
    position: Position = "last"
    max_tokens: PositiveInt = 256
    keep: Literal["start", "end"] = "end"
    fields: tuple[Text, ...] = Field(default=("text",), exclude=True, validation_alias="dataset.text")

    @property
    def pieces(self) -> tuple[str, ...]:
        """Return the parts of the template before, between and after its fields."""
        return template.split(self.template, self.fields)


class TrainingSpec(Part, frozen=True):
    """Data and settings of `finetune`, which saves a checkpoint after each of `save_steps` and after each epoch."""

    repo: Text | None = None
    path: Text | None = None
    config: Text | None = None
    split: Text = "train"
    recipe: Literal["sound", "as-published"] = "sound"
    epochs: PositiveInt = 3
    save_steps: tuple[PositiveInt, ...] = ()
    batch_size: PositiveInt = 16
    learning_rate: PositiveFloat = 5e-5
    sample: PositiveInt | None = None
    held_out: PositiveInt = 500
    seed: NonNegativeInt = 0


class DifferenceSpec(Part, frozen=True):
    """Own texts for the Difference page: a .txt file with a text a line, or a data file with a `column` of texts."""

    texts: Text
    column: Text = "text"


class Study(Part, frozen=True):
    """One base model, its checkpoints in order, a labelled dataset and a prompt.

    `folder` is the absolute path of the folder with study.toml, `name` its last component. Loading makes all paths
    absolute and finds the checkpoints of patterns; `notes` are sentences on these.
    """

    name: Text
    folder: Path
    title: Text
    family: Family
    dtype: Dtype | None = None
    device_map: Literal["auto"] | None = None
    base: CheckpointRef
    checkpoints: tuple[CheckpointRef, ...] = ()
    dataset: DatasetSpec
    prompt: PromptSpec
    lexicon: dict[str, tuple[str, ...]] | None = None
    training: TrainingSpec | None = None
    difference: DifferenceSpec | None = None
    notes: tuple[str, ...] = Field(default=(), exclude=True)

    @property
    def refs(self) -> tuple[CheckpointRef, ...]:
        """Return the base, then the checkpoints in order."""
        return (self.base, *self.checkpoints)

    @property
    def epochs(self) -> tuple[CheckpointRef, ...]:
        """Return the checkpoints of the training in order, without repeats with another seed."""
        return tuple(ref for ref in self.checkpoints if ref.seed_of is None)

    @property
    def kind(self) -> Kind:
        """Return what the study can ask for: answers, classes alone, an order alone, or nothing of these."""
        if self.dataset.ordered:
            return "ordered"
        if self.prompt.label_words:
            return "answers"
        return "texts" if self.dataset.label is None else "contrast"

    @property
    def classes(self) -> int:
        """Return the number of classes that study.toml names; 0 if the data decides it."""
        return len(self.prompt.label_words or self.dataset.labels or ())


def load_study(folder: Path) -> Study:
    """Read `folder`/study.toml.

    Raises StudyError, which names the file, the key and the expected value, for keys that are missing, unknown,
    of the wrong type or contradictory.
    """
    folder = folder.expanduser().resolve()
    file = folder / STUDY_FILE
    try:
        raw = tomllib.loads(decode(file.read_bytes(), str(file)))
    except (FileNotFoundError, NotADirectoryError):
        raise StudyError(f"{file} does not exist; name a folder that holds a {STUDY_FILE}.") from None
    except NotUnicode as error:
        raise StudyError(str(error)) from None
    except (tomllib.TOMLDecodeError, OSError) as error:
        raise StudyError(f"{file} cannot be read as TOML ({error}); correct the file.") from None
    return parse_study(raw, folder)


def parse_study(raw: dict[str, Any], folder: Path) -> Study:
    """Return the study of a parsed study.toml, with paths relative to `folder`."""
    file = folder / STUDY_FILE
    for key in ("name", "folder", "notes"):
        if key in raw:
            raise StudyError(f"{file}: {key} {UNKNOWN}.")
    try:
        study = Study.model_validate(tuples({**raw, "name": folder.name, "folder": folder}))
    except ValidationError as error:
        raise StudyError(f"{file}: {sentence(error)}.") from None
    if study.kind in ("contrast", "texts") and not {"label", "labels"} & raw["dataset"].keys():
        study = study.model_copy(update={"dataset": study.dataset.model_copy(update={"label": None})})
    fields = ("text",) if isinstance(study.dataset.text, str) else study.dataset.text
    prompt = study.prompt.model_copy(update={"fields": fields})
    study = study.model_copy(update={"prompt": prompt})
    if problem := conditions.problem(study):
        raise StudyError(f"{file}: {problem}")
    base = _absolute(study.base, folder)
    checkpoints, notes = _found(study.checkpoints, folder, base)
    return study.model_copy(
        update={
            "base": base,
            "checkpoints": checkpoints,
            "notes": notes,
            "dataset": _absolute(study.dataset, folder),
            "training": study.training and _absolute(study.training, folder),
        }
    )


def _found(
    entries: tuple[CheckpointRef, ...], folder: Path, base: CheckpointRef
) -> tuple[tuple[CheckpointRef, ...], tuple[str, ...]]:
    """Return the checkpoints of all entries with absolute paths, and notes on those of patterns."""
    checkpoints: list[tuple[int, CheckpointRef]] = []
    notes: list[str] = []
    for i, ref in enumerate(entries, 1):
        label = ref.label if "label" in ref.model_fields_set else None
        try:
            if ref.path is not None and patterns.is_pattern(ref.path, folder):
                _check_several(ref)
                found = patterns.in_folders(ref.path, label, folder, Path(base.path) if base.path else None)
            else:
                places = {"revision": ref.revision, "subfolder": ref.subfolder}
                found = patterns.on_hub(places, ref.steps, label)
                if found is not None:
                    _check_several(ref)
        except StudyError as error:
            raise StudyError(f"{folder / STUDY_FILE}: checkpoints[{i}].{error}") from None
        if found is None and label is None:
            raise StudyError(
                f"{folder / STUDY_FILE}: checkpoints[{i}].label is missing; give every checkpoint a unique label."
            )
        several = [ref] if found is None else [ref.model_copy(update=one) for one in found.checkpoints]
        checkpoints += [(i, _absolute(one, folder)) for one in several]
        notes += () if found is None else found.notes
    _check_labels(checkpoints, folder / STUDY_FILE)
    return tuple(ref for _, ref in checkpoints), tuple(notes)


def _check_several(ref: CheckpointRef) -> None:
    """Check the keys of an entry that makes several checkpoints. StudyError, which begins with the key."""
    for key in ("seed_of", "step"):
        if getattr(ref, key) is not None:
            raise StudyError(f"{key} belongs to a single checkpoint; remove it, or list that checkpoint by itself.")
    if ref.path is not None and ref.steps is not None:
        raise StudyError("steps belongs to a repo; a pattern of folders finds its steps itself, so remove it.")


def _check_labels(checkpoints: list[tuple[int, CheckpointRef]], file: Path) -> None:
    """Check that labels are unique, and that each seed_of names a checkpoint without; each with its entry's number."""
    seen = {BASE}
    for i, ref in checkpoints:
        if ref.label in seen:
            what = "is reserved for the base" if ref.label == BASE else "is used twice"
            raise StudyError(f'{file}: checkpoints[{i}].label "{ref.label}" {what}; labels must be unique.')
        seen.add(ref.label)
    labels = [ref.label for _, ref in checkpoints if ref.seed_of is None]
    for i, ref in checkpoints:
        if ref.seed_of is not None and ref.seed_of not in labels:
            choices = f"choose from {', '.join(labels)}" if labels else "this study has none"
            raise StudyError(
                f'{file}: checkpoints[{i}].seed_of "{ref.seed_of}" must be the label of a checkpoint without '
                f"seed_of; {choices}."
            )


def _absolute(part: P, folder: Path) -> P:
    """Return `part` with an absolute path."""
    if part.path is None:
        return part
    return part.model_copy(update={"path": str((folder / Path(part.path).expanduser()).resolve())})


def find_studies(root: Path) -> dict[str, Study | StudyError]:
    """Return the study of every folder in `root` with a study.toml, by name, or the error of reading it."""
    studies: dict[str, Study | StudyError] = {}
    for file in sorted(root.glob(f"*/{STUDY_FILE}")):
        try:
            studies[file.parent.name] = load_study(file.parent)
        except StudyError as error:
            studies[file.parent.name] = error
    return studies
