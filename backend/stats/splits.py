"""How reviews are split into parts. Copies of a text stay in one part, or a test sees what was fitted."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Int
from scipy.cluster.hierarchy import DisjointSet
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from backend.errors import UndefinedError

Labels = Int[np.ndarray, " reviews"]
Groups = Int[np.ndarray, " reviews"]
"""For every review the position of the first of its copies: its own where it has none before it."""


def groups(*keys: Sequence[Hashable]) -> Groups | None:
    """Group the reviews that share any of their keys, directly or through others; None where all differ."""
    reviews = len(keys[0])
    joined = DisjointSet(range(reviews))
    for key in keys:
        first: dict[Hashable, int] = {}
        for review, value in enumerate(key):
            joined.merge(review, first.setdefault(value, review))
    if joined.n_subsets == reviews:
        return None
    first_copy = np.arange(reviews, dtype=np.int64)
    for subset in joined.subsets():
        first_copy[list(subset)] = min(subset)
    return first_copy


def repeated(of: Groups | None) -> int:
    """How many reviews repeat an earlier one."""
    return 0 if of is None else len(of) - len(np.unique(of))


def contradicting(labels: Labels, of: Groups | None) -> int:
    """How many texts stand in the sample under more than one label."""
    return 0 if of is None else int((np.unique(_texts(labels, of)[:, 0], return_counts=True)[1] > 1).sum())


def fewest(labels: Labels, of: Groups | None) -> int:
    """How many different texts the class with the fewest has."""
    return int(np.bincount(labels if of is None else _texts(labels, of)[:, 1]).min())


def _texts(labels: Labels, of: Groups) -> Int[np.ndarray, "texts 2"]:
    """Every text once per label: its group and the label."""
    return np.unique(np.stack([of, labels], axis=1), axis=0)


def folds(labels: Labels, of: Groups | None, most: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stratified folds, at most so many, as positions fitted on and tested: every class has a text for each fold.

    UndefinedError where a class has a single text, or the copies leave it out of a part that is fitted on.
    """
    count = min(most, fewest(labels, of))
    splitter = StratifiedKFold if of is None else StratifiedGroupKFold
    result = [] if count < 2 else list(splitter(count, shuffle=True, random_state=seed).split(labels, labels, of))
    if not result or any(len(np.unique(labels[train])) < len(np.unique(labels)) for train, _ in result):
        raise UndefinedError("A class has too few different texts to be split; raise dataset.sample or remove copies.")
    return result


def half_splits(
    labels: Labels, classes: int, splits: int, seed: int, of: Groups | None = None
) -> Bool[np.ndarray, "splits reviews"]:
    """Random stratified halves: True in half A. An odd review more of a class falls to half A or B by chance.

    With copies, every class is as near to halved as keeping them together allows.
    """
    sizes = np.bincount(labels, minlength=classes)
    rng = np.random.default_rng(seed)
    in_a = np.zeros((splits, len(labels)), dtype=bool)
    if of is not None and sizes.min() > 1:
        for split in in_a:
            either = StratifiedGroupKFold(2, shuffle=True, random_state=int(rng.integers(2**31)))
            split[list(either.split(labels, labels, of))[int(rng.integers(2))][1]] = True
        return in_a
    for c in range(classes):
        ranks = rng.random((splits, sizes[c])).argsort(axis=1).argsort(axis=1)
        half = (sizes[c] + rng.integers(0, 2, size=(splits, 1)) * (sizes[c] % 2)) // 2
        in_a[:, labels == c] = ranks < half
    return in_a
