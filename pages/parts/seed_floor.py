"""Choose the twins whose difference is the floor of a second seed, or say how to have one."""

from __future__ import annotations

import streamlit as st

from backend.figures.style import seed_floor
from backend.study.checkpoint import PinnedCheckpoint
from backend.vocabulary.markdown import plain
from pages.frame import shell


def twins(view: shell.View) -> list[tuple[PinnedCheckpoint, PinnedCheckpoint]]:
    """Return each checkpoint of another seed with its twin, where both read the same token ids."""
    return [pair for pair in view.study.seeds if view.study.same_ids(*pair)]


def names(pairs: list[tuple[PinnedCheckpoint, PinnedCheckpoint]]) -> list[str]:
    """Return the names of the floors in a legend."""
    return [seed_floor.named(one.label, twin.label) for one, twin in pairs]


def called(pair: tuple[PinnedCheckpoint, PinnedCheckpoint]) -> tuple[str, str]:
    """Return the labels of the twin and of the checkpoint that repeats it, for a sentence."""
    one, twin = pair
    return plain(twin.label), plain(one.label)


def hint() -> None:
    """Say how to measure what a change of seed does."""
    st.caption(
        "The effect of the seed alone was not measured. Add a checkpoint trained with another seed, and "
        '`seed_of = "its twin\'s label"` in study.toml.'
    )
