"""Splits of reviews into parts. Copies of a text stay in one part, so that tests see only new texts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int

from backend.errors import UndefinedError

Labels = Int[np.ndarray, " reviews"]
Groups = Int[np.ndarray, " reviews"]
"""For every review the position of the first copy of its text, its own position included."""


def groups(*keys: Sequence[Hashable]) -> Groups | None:
    """Group the reviews that share any key, directly or through others; None if all differ."""
    reviews = len(keys[0])
    earlier = list(range(reviews))  # a review of the same group, the first of all its own

    def first_of(review: int) -> int:
        while earlier[review] != review:
            earlier[review] = review = earlier[earlier[review]]
        return review

    for key in keys:
        seen: dict[Hashable, int] = {}
        for review, value in enumerate(key):
            one, other = sorted((first_of(review), first_of(seen.setdefault(value, review))))
            earlier[other] = one
    found = np.array([first_of(review) for review in range(reviews)], dtype=np.int64)
    return None if np.array_equal(found, np.arange(reviews)) else found


def repeated(of: Groups | None) -> int:
    """Return the number of reviews that repeat an earlier review."""
    return 0 if of is None else len(of) - len(np.unique(of))


def contradicting(labels: Labels, of: Groups | None) -> int:
    """Return the number of texts with more than one label in the sample."""
    return 0 if of is None else int((np.unique(_texts(labels, of)[:, 0], return_counts=True)[1] > 1).sum())


def fewest(labels: Labels, of: Groups | None) -> int:
    """Return the number of different texts in the smallest class."""
    return int(np.bincount(labels if of is None else _texts(labels, of)[:, 1]).min())


def _texts(labels: Labels, of: Groups) -> Int[np.ndarray, "texts 2"]:
    """Return every text once per label: its group and the label."""
    return np.unique(np.stack([of, labels], axis=1), axis=0)


def folds(labels: Labels, of: Groups | None, most: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return at most `most` stratified folds as (training, test) positions; every class has a text for each fold.

    UndefinedError if a class has a single text, or is missing from a training part because of copies.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # on use: it delays the first page

    count = min(most, fewest(labels, of))
    splitter = StratifiedKFold if of is None else StratifiedGroupKFold
    result = [] if count < 2 else list(splitter(count, shuffle=True, random_state=seed).split(labels, labels, of))
    if not result or any(len(np.unique(labels[train])) < len(np.unique(labels)) for train, _ in result):
        raise UndefinedError("A class has too few different texts to be split; raise dataset.sample or remove copies.")
    return result


def half_splits(
    labels: Labels, classes: int, splits: int, seed: int, of: Groups | None = None
) -> Bool[np.ndarray, "splits reviews"]:
    """Draw random stratified halves: True in half A. The odd review of a class goes to A or B at random.

    With copies, every class is split as evenly as keeping them together allows.
    """
    sizes = np.bincount(labels, minlength=classes)
    rng = np.random.default_rng(seed)
    in_a = np.zeros((splits, len(labels)), dtype=bool)
    if of is not None and sizes.min() > 1:
        return _halves_of_texts(labels.astype(np.int64).tobytes(), splits, seed, of.astype(np.int64).tobytes())
    for c in range(classes):
        ranks = rng.random((splits, sizes[c])).argsort(axis=1).argsort(axis=1)
        half = (sizes[c] + rng.integers(0, 2, size=(splits, 1)) * (sizes[c] % 2)) // 2
        in_a[:, labels == c] = ranks < half
    return in_a


@lru_cache(maxsize=4)  # all layers are split alike, and splitting takes longer than measuring
def _halves_of_texts(of_labels: bytes, splits: int, seed: int, of_groups: bytes) -> Bool[np.ndarray, "splits reviews"]:
    from sklearn.model_selection import StratifiedGroupKFold  # on use, as above

    labels, groups = (np.frombuffer(numbers, dtype=np.int64) for numbers in (of_labels, of_groups))
    rng = np.random.default_rng(seed)
    in_a = np.zeros((splits, len(labels)), dtype=bool)
    for split in in_a:
        either = StratifiedGroupKFold(2, shuffle=True, random_state=int(rng.integers(2**31)))
        split[list(either.split(labels, labels, groups))[int(rng.integers(2))][1]] = True
    in_a.setflags(write=False)
    return in_a
