"""Kinds of studies: labels with answers, labels alone (a contrast), or texts alone; and what each lacks."""

from __future__ import annotations

from typing import Literal

Kind = Literal["answers", "contrast", "texts"]
Need = Literal["answers", "classes"]
"""A requirement of an analysis: answers of the models in label words, or classes of texts."""

NAMES: dict[Kind, str] = {
    "answers": "labels with answers",
    "contrast": "labels only (a contrast)",
    "texts": "texts only",
}
ALL_TEXTS = "all texts"
"""The single class of a study of texts only."""

UNASKED = "This needs the model's answers, and the study asks for none; add prompt.label_words to study.toml."
UNLABELLED = "This needs classes of texts, and the study has no labels; add dataset.label to study.toml."


def lacks(kind: Kind, need: Need) -> str | None:
    """Return what to add to study.toml so that a study of this kind has what an analysis needs; None if it has it."""
    if kind == "answers" or (kind == "contrast" and need == "classes"):
        return None
    if need == "classes":
        return UNLABELLED
    return UNASKED if kind == "contrast" else UNASKED.replace("add ", "add dataset.label and ")
