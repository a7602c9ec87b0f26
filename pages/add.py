"""Create a study from a form that checks every field and previews the prompts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import streamlit as st

from backend import wiring
from backend.errors import LayershiftError
from backend.new_study import asked, fields, inputs
from backend.new_study.data import Data
from backend.new_study.fields import NewStudy
from backend.new_study.from_trainer import Inside
from backend.new_study.preview import preview
from backend.study.paths import DATA_SUFFIXES
from backend.study.tables.arrow_datasets import USUAL_SPLIT
from backend.vocabulary.markdown import plain
from pages.frame import filled, shell, typed
from pages.parts import longest_prompt, trainer_folder

choices = None
"""The page needs no study."""
NEEDED = {"name": "a name", "base": "a base", "checkpoints": "checkpoints", "data": "data"}
Slots = dict[str, Any]
"""The container below each field, for the message about it."""


def draw(_: None) -> None:
    """Draw the page."""
    st.title("Add a study")
    with st.container(width=820):
        st.markdown(
            "A study compares one base model with its fine-tuned checkpoints on texts. Nothing is written "
            f"until you add the study. It becomes a folder with a `study.toml` in `{wiring.studies_folder()}`."
        )
        slots: Slots = {}
        inside, given = _models(slots)
        given |= _data(slots) | _kind()
        fetch = _may_fetch(NewStudy(**given))
        given |= _columns(NewStudy(**given), slots, fetch)
        entered = NewStudy(**given, **_prompt(NewStudy(**given), slots, fetch, inside))
        entered = longest_prompt.settle(entered, slots["max_tokens"], fetch)
        with st.spinner("Checking …", show_time=True):
            problems = fields.problems(entered, wiring.studies_folder(), wiring.open_lab(), fetch)
            _answers(entered, slots, problems, fetch)
        _seen(entered, problems, fetch)
        _write(entered, problems, fetch)


def _field(slots: Slots, name: str, value: Any) -> Any:
    """Return the value of a widget, with a container below it for the message about it."""
    slots[name] = st.container()
    return typed.text(value.strip()) if isinstance(value, str) else value


def _models(slots: Slots) -> tuple[Inside | None, dict[str, Any]]:
    """What the trainer's folder says, and the models as they stand in the fields."""
    st.subheader("Models")
    name = _field(
        slots,
        "name",
        st.text_input("Name", key="new-name", placeholder="my-study", help="The name of the study's folder."),
    )
    title = st.text_input("Title", key="new-title", placeholder="Shown on the pages; the name if empty")
    inside = trainer_folder.ask()
    about = "A folder with config.json and safetensors on this machine, or a repository on the hub."
    base = st.text_input("Base model", key="new-base", placeholder="path/to/base", help=about).strip()
    base = _field(slots, "base", typed.path(base))
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
            help="One folder or pattern per line, PEFT adapters included. They are ordered by their numbers.",
        ),
    )
    lines = tuple(filter(None, map(typed.path, map(str.strip, patterns.splitlines()))))
    found = trainer_folder.named(inside, lines)
    entered = {
        "name": name,
        "title": typed.text(title.strip()) or None,
        "base": base,
        "family": family,
        "checkpoints": lines,
    }
    return inside, entered | {"found_checkpoints": found}


def _data(slots: Slots) -> dict[str, Any]:
    st.subheader("Texts")
    given = st.text_input(
        "Data",
        key="new-data",
        placeholder="path/to/reviews.csv",
        help="A .parquet, .csv or .jsonl file on this machine, or a dataset on the hub. docs/study.md lists more.",
    )
    given = typed.path(given.strip())
    file = st.file_uploader(
        "Or upload a file",
        key="new-upload",
        type=[suffix[1:] for suffix in DATA_SUFFIXES],
        help="Stored in the study's folder.",
    )
    _field(slots, "data", None)
    if file is not None:
        return {"data": file.name, "content": file.getvalue()}
    split: str | None = USUAL_SPLIT
    config: str | None = None
    there: tuple[str, ...] = ()
    with suppress(LayershiftError):  # `problems` says it
        there = Data(given).splits()
    if Data(given).on_hub:
        left, right = st.columns(2)
        split = typed.text(left.text_input("Split of the dataset", value=split, key="new-split").strip())
        only = "the only one"
        config = typed.text(right.text_input("Configuration", key="new-config", placeholder=only).strip())
    elif there:
        start = there.index(split) if split in there else 0
        split = st.selectbox("Split of the dataset", there, index=start, key="new-split")
    return {"data": given, "split": split or None, "config": config or None}


def _kind() -> dict[str, Any]:
    """Ask what the texts are, and what the model does with them."""
    kind = st.radio(
        "What do you have?",
        list(asked.KINDS),
        key="new-kind",
        format_func=asked.KINDS.__getitem__,
        help="Answers are needed for accuracy, swaps, patching and attribution; labels for directions and probes.",
    )
    return {"kind": kind}


def _may_fetch(entered: NewStudy) -> bool:
    """Ask whether to fetch hub repositories, which needs a network and may take minutes."""
    names = fields.on_hub(entered)
    if not names:
        return True
    st.info(f"Not found on this machine, so read as hub names: {plain(', '.join(names))}.")
    return st.toggle(
        "Fetch them from the hub", key="new-fetch", help="Downloads everything that is not in the local hub cache."
    )


def _columns(entered: NewStudy, slots: Slots, fetch: bool) -> dict[str, Any]:
    """Offer the columns of texts and labels, once the data is read."""
    results: list[str] = []
    with suppress(LayershiftError):  # `problems` says it
        results = entered.source.columns(fetch) if entered.data else []
    if not results:
        return {}
    left, right = st.columns(2)
    chosen = {}
    asks = [(left, "text", "Column of the texts"), (right, "label", "Column of the labels")]
    for place, key, label in asks[:1] if entered.kind == "texts" else asks:
        with place:
            start = results.index(key) if key in results else 0
            chosen[key] = _field(slots, key, st.selectbox(label, results, index=start, key=f"new-{key}-column"))
    with left:
        others = [name for name in results if name != chosen["text"]]
        about = "For pairs of texts, such as premise and hypothesis: the column of the second text."
        second = st.selectbox(
            "Second text", others, index=None, key="new-second-column", placeholder="none", help=about
        )
    return chosen | ({} if second is None else {"text": (chosen["text"], second)})


def _prompt(entered: NewStudy, slots: Slots, fetch: bool, inside: Inside | None) -> dict[str, Any]:
    st.subheader("Prompt")
    classes: list[Any] = []
    with suppress(LayershiftError):  # `problems` says it
        reads = entered.data and entered.kind in fields.LABELLED and entered.source.columns(fetch)
        classes = fields.values(entered, agreeing=False) if reads else []
    words = _words(slots, classes, inside) if entered.kind == "answers" else ""
    form = _form(entered, inside)
    _field(slots, "template", None)
    left, right = st.columns(2)
    with left:
        most = _field(slots, "max_tokens", longest_prompt.ask())
    with right:
        size = st.number_input(
            "Texts in the sample", value=None, min_value=1, key="new-sample", placeholder="up to 200, balanced"
        )
        _field(slots, "sample", None)
    return {
        "label_words": inputs.split_words(words),
        **form,
        "max_tokens": most,
        "sample": None if size is None else int(size),
    }


def _words(slots: Slots, classes: list[Any], inside: Inside | None) -> str:
    """Ask for the label words, one per class."""
    order = ", ".join(map(str, classes))
    trainer_folder.fill_words(inside, classes)
    return _field(
        slots,
        "label_words",
        st.text_input(
            f"Label words, in the order of the labels {plain(order)}" if order else "Label words",
            key="new-words",
            placeholder=", ".join(inputs.suggest_words(classes)) or "negative, positive",
            help="One word per class, separated by commas: the model's next word for a text of that class.",
        ),
    )


def _form(entered: NewStudy, inside: Inside | None) -> dict[str, Any]:
    """Ask for a template or a chat; the template begins with the usual one for the columns and the model."""
    form = st.radio("Prompt", list(asked.FORMS), key="new-form", format_func=asked.FORMS.__getitem__)
    chat, system = form == "chat", ""
    if chat:
        system = typed.text(st.text_input("System message", key="new-system", placeholder="none"))
    heads = inside is not None and inside.template is not None
    usual = inputs.usual_template(entered.text, plain=heads or entered.kind != "answers")
    if filled.once("template", usual, lambda: usual)[1]:
        filled.fill("new-template", usual, inputs.TEMPLATE)
    names = ("text",) if isinstance(entered.text, str) else entered.text
    about = " and ".join(f"{{{name}}}" for name in names)
    template = st.text_input("User message" if chat else "Template", key="new-template", help=f"{about} once.")
    template = typed.text(template)
    return {"template": template, "chat": chat, "system": system}


def _answers(entered: NewStudy, slots: Slots, problems: Mapping[str, str], fetch: bool) -> None:
    """Show below each filled field its error, or what was found."""
    for name, slot in slots.items():
        with slot:
            if name in problems and getattr(entered, name):
                st.error(plain(problems[name]))
            elif name not in problems and (results := _found(name, entered, fetch)):
                st.caption(f":material/check: {plain(results)}")


def _found(name: str, entered: NewStudy, fetch: bool) -> str:
    """Describe what a valid field refers to."""
    if name == "base" and entered.base:
        facts = fields.facts(entered, wiring.studies_folder(), wiring.open_lab(), fetch)
        return f"{facts.architecture}, {facts.layers} blocks, width {facts.width}" if facts else ""
    if name == "checkpoints":
        results = fields.checkpoints(entered)
        return f"{len(results)} found, in this order: {', '.join(one.label for one in results)}"
    if name == "data" and (columns := entered.source.columns(fetch)):
        stored = " It will be stored in the study's folder." if entered.content is not None else ""
        return f"Read; its columns are {', '.join(columns)}.{stored}"
    return ""


def _seen(entered: NewStudy, problems: Mapping[str, str], fetch: bool) -> None:
    """Preview three prompts as the model will see them."""
    st.subheader("Prompt preview")
    if problems or _lacking(entered) or (fields.on_hub(entered) and not fetch):
        st.info("Fill in everything above to see three prompts.")
        return
    with st.spinner("Reading the tokenizer …", show_time=True):
        study = fields.draft(entered, wiring.studies_folder())
        shown = preview(study, fields.draw_sample(entered), wiring.open_lab())
    for prompt, cut, length in zip(shown.prompts, shown.cut, shown.lengths, strict=True):
        st.code(prompt, language=None, wrap_lines=True)
        st.caption(f"{length} tokens" + (", after the text was cut to fit" if cut else ""))
    if shown.words:
        st.caption("The answer is read from the tokens " + ", ".join(f"“{plain(word)}”" for word in shown.words) + ".")


def _lacking(entered: NewStudy) -> list[str]:
    return [words for key, words in NEEDED.items() if not getattr(entered, key)]


def _write(entered: NewStudy, problems: Mapping[str, str], fetch: bool) -> None:
    """Show the button that writes the study and opens it."""
    lacking = _lacking(entered)
    waits = bool(problems or lacking or (fields.on_hub(entered) and not fetch))
    pressed = st.button("Add the study", key="new-add", disabled=waits, icon=":material/add:")
    if lacking:
        st.caption(f"Still needed: {', '.join(lacking)}.")
    elif problems:
        st.caption("Fix the errors above first.")
    if not pressed:
        return
    with st.spinner("Checking the weights and writing the study …", show_time=True):
        fields.create(entered, wiring.studies_folder(), wiring.open_lab())
    st.switch_page(str(Path(__file__).with_name("overview.py")), query_params={"study": entered.name})


if __name__ == "__main__":
    shell.page(draw, needs_study=False)
