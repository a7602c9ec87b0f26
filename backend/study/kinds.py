"""Kinds of studies: labels with answers, labels alone (a contrast), ordered values, or texts; and what each lacks."""

from __future__ import annotations

from typing import Literal

Kind = Literal["answers", "contrast", "ordered", "texts"]
Need = Literal["answers", "classes", "order"]
"""A requirement of an analysis: answers of the models, classes of texts, or a label of ordered values."""

NAMES: dict[Kind, str] = {
    "answers": "labels with answers",
    "contrast": "labels only (a contrast)",
    "ordered": "ordered values",
    "texts": "texts only",
}
ALL_TEXTS = "all texts"
"""The single class of a study of texts only, or of ordered values."""

UNASKED = "This needs the model's answers, and the study asks for none; add prompt.label_words to study.toml."
UNLABELLED = "This needs classes of texts, and the study has no labels; add dataset.label to study.toml."
ORDERED = (
    "This needs classes of texts, and the label has ordered values; remove dataset.ordered from study.toml to compare "
    "its values as classes."
)
UNORDERED = "This needs a label of ordered values; set dataset.ordered = true in study.toml if it is one."


def lacks(kind: Kind, need: Need) -> str | None:
    """Return what to add to study.toml so that a study of this kind has what an analysis needs; None if it has it."""
    if need == "order":
        return None if kind == "ordered" else UNORDERED
    if kind == "answers" or (kind == "contrast" and need == "classes"):
        return None
    if kind == "ordered":
        return ORDERED if need == "classes" else UNASKED.replace("add ", "remove dataset.ordered and add ")
    if need == "classes":
        return UNLABELLED
    return UNASKED if kind == "contrast" else UNASKED.replace("add ", "add dataset.label and ")
