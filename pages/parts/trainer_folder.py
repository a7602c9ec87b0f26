"""A trainer's output folder, which fills in the base, the checkpoints and the prompt of a new study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from backend import wiring
from backend.errors import LayershiftError
from backend.new_study import fields, from_trainer, inputs
from backend.new_study.fields import NewStudy
from backend.new_study.from_trainer import Inside
from backend.study.paths import confine
from backend.study.trainers.order import FoundCheckpoint
from backend.vocabulary.markdown import plain
from pages.frame import filled, typed

FIRST_FAMILY = "causal"


@dataclass(frozen=True)
class Looked:
    """What a folder says, or why it says nothing."""

    inside: Inside | None = None
    error: str = ""


def ask() -> Inside | None:
    """The field of the folder; what is found fills in the fields below, and is said here with what was left out."""
    folder = st.text_input(
        "Output folder of a trainer",
        key="new-folder",
        placeholder="path/to/out",
        help="What Trainer, TRL, PEFT, axolotl, unsloth or LLaMA-Factory wrote. It fills in the fields below, where "
        "you can change everything; leave it empty to fill them in yourself.",
    )
    folder = typed.path(folder.strip())
    fetch, base = bool(filled.current("new-fetch")), filled.typed("new-base").strip()
    with st.spinner("Looking into the folder …", show_time=True):
        looked, new = filled.once("folder", (folder, base, fetch, _changed(folder)), lambda: _look(folder, base, fetch))
    if looked.error:
        st.error(plain(looked.error))
    if looked.inside is None:
        return None
    if new:
        _fill(looked.inside)
    for sentence in _said(looked.inside):
        st.caption(f":material/check: {plain(sentence)}")
    return looked.inside


def named(inside: Inside | None, lines: tuple[str, ...]) -> tuple[FoundCheckpoint, ...] | None:
    """The folder's checkpoints with their labels, where the lines name no others; None where labels are to be made."""
    known = {str(one.path): one for one in inside.checkpoints} if inside else {}
    return tuple(known[line] for line in lines) if lines and all(line in known for line in lines) else None


def fill_words(inside: Inside | None, labels: list[Any]) -> None:
    """Fill in the names of a head's rows as label words, where the labels are the numbers of these rows."""
    if inside is None or not from_trainer.are_rows(labels, inside.words):
        return
    words = ", ".join(inside.words)
    _, new = filled.once("words", (inside, tuple(labels)), lambda: words)
    if new and inputs.split_words(words) == inside.words:
        filled.fill("new-words", words)


def _changed(folder: str) -> int:
    """When the folder's list of files changed; 0 where there is no such folder."""
    place = Path(folder)
    try:
        return place.stat().st_mtime_ns if folder else 0
    except OSError:
        return 0


def _look(folder: str, base: str, fetch: bool) -> Looked:
    """Search the folder, with the base that the user typed if there is one; an unknown one is said at its own field."""
    if not folder:
        return Looked()
    wanted = NewStudy("", base, (), "", folder=folder)
    if base:
        try:
            confine(base, wiring.open_folders())
            fields.base_ref(wanted, wiring.studies_folder())
        except LayershiftError:
            return Looked()
    try:
        return Looked(from_trainer.look(wanted, wiring.studies_folder(), wiring.open_lab(), fetch))
    except LayershiftError as error:
        return Looked(error=_below(str(error)))


def _below(sentence: str) -> str:
    """The sentence with the fields of the form in place of the options of the command line."""
    for option in ("--base", "--checkpoints"):
        sentence = sentence.replace(f"with {option}", "below").replace(f"as in {option} ", "as in ")
    return sentence


def _fill(inside: Inside) -> None:
    filled.fill("new-base", inside.base)
    filled.fill("new-checkpoints", "\n".join(str(one.path) for one in inside.checkpoints))
    if inside.family is not None:
        filled.fill("new-family", inside.family, FIRST_FAMILY)


def _said(inside: Inside) -> list[str]:
    """The base and where its name was found, the checkpoints in order, and what was left out."""
    named_by = "" if inside.base_file is None else f", named by {inside.base_file.name}"
    labels = ", ".join(one.label for one in inside.checkpoints)
    left = [_below(f"{note[0].upper()}{note[1:]}") for note in inside.notes]
    return [f"Base {inside.base}{named_by}; checkpoints in this order: {labels}.", *left]
