"""A new study from a form: every field is checked as it is filled, and prompts are shown as the model will see them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import streamlit as st

from backend import wiring
from backend.errors import LayershiftError
from backend.new_study import fields
from backend.new_study.fields import NewStudy
from backend.new_study.from_trainer import Inside
from backend.new_study.preview import preview
from backend.study.paths import DATA_SUFFIXES
from backend.vocabulary.markdown import plain
from pages.frame import filled, shell
from pages.parts import trainer_folder

TITLE = "Add a study"
choices = None
"""The page needs no study."""
NEEDED = {"name": "a name", "base": "a base", "checkpoints": "checkpoints", "data": "data"}
Slots = dict[str, Any]
"""Where the sentence about each field goes: below it."""


def draw(_: None) -> None:
    """The page."""
    st.title(TITLE)
    with st.container(width=820):
        st.markdown(
            "A study compares one base model with its fine-tuned checkpoints on labelled texts. Nothing is written "
            f"until you say so; then it is a folder with a `study.toml` in `{wiring.studies_folder()}`."
        )
        slots: Slots = {}
        inside, typed = _models(slots)
        typed |= _data(slots)
        fetch = _may_fetch(NewStudy(**typed))
        typed |= _columns(NewStudy(**typed), slots, fetch)
        wanted = NewStudy(**typed, **_prompt(NewStudy(**typed), slots, fetch, inside))
        with st.spinner("Checking …", show_time=True):
            said = fields.problems(wanted, wiring.studies_folder(), wiring.open_lab(), fetch)
            _answers(wanted, slots, said, fetch)
        _seen(wanted, said, fetch)
        _write(wanted, said, fetch)


def _field(slots: Slots, name: str, value: Any) -> Any:
    """The value of a widget just made, with a place for the sentence about it below."""
    slots[name] = st.container()
    return value.strip() if isinstance(value, str) else value


def _models(slots: Slots) -> tuple[Inside | None, dict[str, Any]]:
    """What the trainer's folder says, and the models as they stand in the fields."""
    st.subheader("Models")
    name = _field(slots, "name", st.text_input("Name", key="new-name", placeholder="my-study", help="Of the folder."))
    title = st.text_input("Title", key="new-title", placeholder="What the pages call it; the name if left empty")
    inside = trainer_folder.ask()
    about = "A folder with config.json and safetensors on this machine, or a repository on the hub."
    base = _field(slots, "base", st.text_input("Base model", key="new-base", placeholder="path/to/base", help=about))
    families = {"causal": "Causal (GPT-2, Llama, …)", "encoder": "Encoder (BERT, …)"}
    filled.begin("new-family", trainer_folder.FIRST_FAMILY)
    family = st.segmented_control(
        "Family", list(families), key="new-family", format_func=families.__getitem__, required=True
    )
    patterns = _field(
        slots,
        "checkpoints",
        st.text_area(
            "Checkpoint folders",
            key="new-checkpoints",
            height=68,
            placeholder="out/checkpoint-*",
            help="A folder or a pattern of folders a line; PEFT adapters count. They are ordered by their numbers.",
        ),
    )
    lines = tuple(line.strip() for line in patterns.splitlines() if line.strip())
    found = trainer_folder.named(inside, lines)
    typed = {"name": name, "title": title.strip() or None, "base": base, "family": family, "checkpoints": lines}
    return inside, typed | {"found_checkpoints": found}


def _data(slots: Slots) -> dict[str, Any]:
    st.subheader("Labelled texts")
    given = st.text_input(
        "Data",
        key="new-data",
        placeholder="path/to/reviews.csv",
        help="A .parquet, .csv or .jsonl file on this machine, or a dataset on the hub; others are in docs/study.md.",
    ).strip()
    file = st.file_uploader(
        "Or upload a file",
        key="new-upload",
        type=[one[1:] for one in DATA_SUFFIXES],
        help="Stored in the study's folder.",
    )
    _field(slots, "data", None)
    if file is not None:
        return {"data": file.name, "content": file.getvalue()}
    split: str | None = fields.USUAL_SPLIT
    there: tuple[str, ...] = ()
    with suppress(LayershiftError):  # `problems` says it
        there = fields.splits(given)
    if given in fields.on_hub(NewStudy("", "", (), given)):
        split = st.text_input("Split of the dataset", value=split, key="new-split").strip()
    elif there:
        start = there.index(split) if split in there else 0
        split = st.selectbox("Split of the dataset", there, index=start, key="new-split")
    return {"data": given, "split": split or None}


def _may_fetch(wanted: NewStudy) -> bool:
    """Whether names on the hub may be looked at, which takes a network and may take minutes."""
    names = fields.on_hub(wanted)
    if not names:
        return True
    st.info(f"Not on this machine, so taken for names on the hub: {plain(', '.join(names))}.")
    return st.toggle("Fetch them from the hub", key="new-fetch", help="Downloads what is not in the local hub cache.")


def _columns(wanted: NewStudy, slots: Slots, fetch: bool) -> dict[str, Any]:
    """Which column holds what, offered once the data is read."""
    found: list[str] = []
    with suppress(LayershiftError):  # `problems` says it
        found = fields.columns(wanted, fetch) if wanted.data else []
    if not found:
        return {}
    left, right = st.columns(2)
    chosen = {}
    for place, key, label in ((left, "text", "Column of the texts"), (right, "label", "Column of the labels")):
        with place:
            start = found.index(key) if key in found else 0
            chosen[key] = _field(slots, key, st.selectbox(label, found, index=start, key=f"new-{key}-column"))
    return chosen


def _prompt(wanted: NewStudy, slots: Slots, fetch: bool, inside: Inside | None) -> dict[str, Any]:
    st.subheader("Prompt")
    classes: list[Any] = []
    with suppress(LayershiftError):  # `problems` says it
        classes = fields.values(wanted, agreeing=False) if wanted.data and fields.columns(wanted, fetch) else []
    order = ", ".join(map(str, classes))
    trainer_folder.fill_words(inside, classes)
    words = _field(
        slots,
        "label_words",
        st.text_input(
            f"Label words, in the order of the labels {plain(order)}" if order else "Label words",
            key="new-words",
            placeholder=", ".join(fields.suggest_words(classes)) or "negative, positive",
            help="One word per class, separated by commas: what the model would say next for a text of that class.",
        ),
    )
    filled.begin("new-template", fields.TEMPLATE)
    template = st.text_input("Template", key="new-template", help="{text} once.")
    _field(slots, "template", None)
    left, right = st.columns(2)
    with left:
        about = "A longer text loses its beginning; the template always survives."
        most = st.number_input("Longest prompt, in tokens", value=256, min_value=1, key="new-tokens", help=about)
        _field(slots, "max_tokens", None)
    with right:
        size = st.number_input(
            "Texts in the sample", value=None, min_value=1, key="new-sample", placeholder="up to 200, balanced"
        )
        _field(slots, "sample", None)
    return {
        "label_words": fields.split_words(words),
        "template": template,
        "max_tokens": int(most),
        "sample": None if size is None else int(size),
    }


def _answers(wanted: NewStudy, slots: Slots, said: Mapping[str, str], fetch: bool) -> None:
    """Below each field that is filled: what is wrong with it, or what was found."""
    for name, slot in slots.items():
        with slot:
            if name in said and getattr(wanted, name):
                st.error(plain(said[name]))
            elif name not in said and (found := _found(name, wanted, fetch)):
                st.caption(f":material/check: {plain(found)}")


def _found(name: str, wanted: NewStudy, fetch: bool) -> str:
    """What a sound field led to, in words."""
    if name == "base" and wanted.base:
        facts = fields.facts(wanted, wiring.studies_folder(), wiring.open_lab(), fetch)
        return f"{facts.architecture}, {facts.layers} blocks, width {facts.width}" if facts else ""
    if name == "checkpoints":
        found = fields.checkpoints(wanted)
        return f"{len(found)} found, in this order: {', '.join(one.label for one in found)}"
    if name == "data" and (columns := fields.columns(wanted, fetch)):
        stored = " It will be stored in the study's folder." if wanted.content is not None else ""
        return f"Read; its columns are {', '.join(columns)}.{stored}"
    return ""


def _seen(wanted: NewStudy, said: Mapping[str, str], fetch: bool) -> None:
    """Three prompts as the model will see them."""
    st.subheader("As the model will see it")
    if said or _lacking(wanted) or (fields.on_hub(wanted) and not fetch):
        st.info("Three prompts appear here once everything above is filled in.")
        return
    with st.spinner("Reading the tokenizer …", show_time=True):
        study = fields.draft(wanted, wiring.studies_folder())
        shown = preview(study, fields.draw_sample(wanted), wiring.open_lab())
    for prompt, cut, length in zip(shown.prompts, shown.cut, shown.lengths, strict=True):
        st.code(prompt, language=None, wrap_lines=True)
        st.caption(f"{length} tokens" + (", after the text was cut to fit" if cut else ""))
    if shown.words:
        st.caption("The answer is read at the tokens " + ", ".join(f"“{plain(word)}”" for word in shown.words) + ".")


def _lacking(wanted: NewStudy) -> list[str]:
    return [words for key, words in NEEDED.items() if not getattr(wanted, key)]


def _write(wanted: NewStudy, said: Mapping[str, str], fetch: bool) -> None:
    """The button that writes the study, and a link to it."""
    lacking = _lacking(wanted)
    waits = bool(said or lacking or (fields.on_hub(wanted) and not fetch))
    pressed = st.button("Add the study", key="new-add", disabled=waits, icon=":material/add:")
    if lacking:
        st.caption(f"Still needed: {', '.join(lacking)}.")
    elif said:
        st.caption("Mend what is said above first.")
    if not pressed:
        return
    with st.spinner("Checking the weights and writing the study …", show_time=True):
        folder = fields.create(wanted, wiring.studies_folder(), wiring.open_lab())
    st.success(f"{plain(str(folder / fields.STUDY_FILE))} is written.")
    st.page_link(
        str(Path(__file__).with_name("overview.py")),
        label=f"Open {plain(wanted.title or wanted.name)}",
        icon=":material/arrow_forward:",
        query_params={"study": wanted.name},
    )


if __name__ == "__main__":
    shell.page(draw, needs_study=False)
