"""Sentences and words that say nothing about liking or disliking, written for this project. No torch.

A checkpoint that learned sentiment reads the sentences in `neutral.txt` as it reads any text that was not about it.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

WORDS = (
    "table",
    "window",
    "river",
    "street",
    "kitchen",
    "bridge",
    "paper",
    "stone",
    "garden",
    "winter",
    "summer",
    "morning",
    "evening",
    "Monday",
    "October",
    "north",
    "south",
    "seven",
    "twelve",
    "thousand",
    "water",
    "metal",
    "copper",
    "wood",
    "glass",
    "bread",
    "train",
    "engine",
    "village",
    "island",
    "mountain",
    "forest",
    "library",
    "museum",
    "letter",
    "corner",
    "square",
    "yellow",
    "brown",
    "temperature",
)
"""Words without sentiment, most of them one token behind a space in a large vocabulary."""


@cache
def sentences() -> tuple[str, ...]:
    """Plain statements, each complete in itself: weather, directions, recipes, manuals, nature, dates."""
    return tuple(Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines())


@cache
def digest() -> str:
    """Of sentences and words: a result that used others has another key."""
    return hashlib.sha256("\n".join([*sentences(), *WORDS]).encode()).hexdigest()
