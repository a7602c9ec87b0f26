"""Sentences and words without sentiment, written for this project. No torch.

The sentences in `neutral.txt` measure side effects on texts that are unrelated to a sentiment task.
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
"""Words without sentiment, most of them a single token after a space in a large vocabulary."""


@cache
def sentences() -> tuple[str, ...]:
    """Return neutral statements: weather, directions, recipes, manuals, nature, dates."""
    return tuple(Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines())


@cache
def digest() -> str:
    """Return the digest of sentences and words, for cache keys."""
    return hashlib.sha256("\n".join([*sentences(), *WORDS]).encode()).hexdigest()
