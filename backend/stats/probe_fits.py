"""Logistic regressions on the training parts of nested folds, with features standardized inside each part.

`Wide` is for two classes and more features than reviews, where inner products suffice; `Narrow` for everything else.
Both find the same minimum. Logits are relative: those of class 0 are zero with two classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int

from backend.stats import logistic

Features = Float[np.ndarray, "reviews width"]
Labels = Int[np.ndarray, " reviews"]
Rows = Int[np.ndarray, " _"]
Weights = tuple[Float[np.ndarray, "classes width"], Float[np.ndarray, " classes"]]
CONSTANT = 1e-13
"""Variance of a feature, relative to its mean square, that is rounding errors of a constant."""


class Fold(NamedTuple):
    """Reviews of an outer training part, and its split into inner training and test parts."""

    outer: Rows
    inner: tuple[tuple[Rows, Rows], ...]


class Fits(Protocol):
    """The regressions of one fold."""

    def held_out(self, strengths: tuple[float, ...]) -> Iterator[Float[np.ndarray, "strengths tested classes"]]:
        """Yield the logits of each inner test part for each C."""
        ...

    def weights(self, strength: float) -> Weights:
        """Fit the outer training part: weights and offsets in units of the raw features."""
        ...


def fits(features: Features, labels: Labels, folds: list[Fold]) -> Iterator[Fits]:
    """Yield the regressions of each fold."""
    x = features.astype(np.float64)
    if labels.max() < 2 and x.shape[1] > min(len(fold.outer) for fold in folds):
        parts = Standardized(x, [rows for fold in folds for rows in (fold.outer, *(train for train, _ in fold.inner))])
        first = 0
        for fold in folds:
            yield Wide(parts, first, labels, fold)
            first += 1 + len(fold.inner)
    else:
        yield from (Narrow(x, labels, fold) for fold in folds)


class Standardized:
    """Features with their means and standard deviations on parts of the reviews; a constant feature becomes zero."""

    def __init__(self, x: Features, parts: list[Rows]) -> None:
        self.middle = x.mean(axis=0)
        self.x = x - self.middle
        members = np.zeros((len(parts), len(x)))
        for member, rows in zip(members, parts, strict=True):
            member[rows] = 1 / len(rows)
        self.means, squares = members @ self.x, members @ np.square(self.x)
        variance = squares - np.square(self.means)
        self.spreads = np.sqrt(np.where(variance > CONSTANT * squares, variance, 1.0))


class Wide:
    """Fits on the inner products of reviews; `first` is the outer part's place in `parts`, the inner ones follow."""

    def __init__(self, parts: Standardized, first: int, labels: Labels, fold: Fold) -> None:
        self._parts, self._first, self._labels, self._fold = parts, first, labels, fold
        self._x = parts.x[fold.outer]
        self._scaled = np.empty_like(self._x)

    def held_out(self, strengths: tuple[float, ...]) -> Iterator[Float[np.ndarray, "strengths tested classes"]]:
        """Yield the logits of each inner test part for each C."""
        for part, (train, test) in enumerate(self._fold.inner, self._first + 1):
            seen, new = (np.searchsorted(self._fold.outer, rows) for rows in (train, test))
            k = self._products(part, seen)
            known, across = k[np.ix_(seen, seen)], k[np.ix_(new, seen)]
            logits = [across @ a + b for a, b in logistic.path(known, self._labels[train], strengths)]
            yield np.stack([np.zeros_like(logits), logits], axis=-1)

    def weights(self, strength: float) -> Weights:
        """Fit the outer training part."""
        rows, mean, spread = self._fold.outer, self._parts.means[self._first], self._parts.spreads[self._first]
        k = self._products(self._first, np.arange(len(rows)))
        ((a, b),) = logistic.path(k, self._labels[rows], (strength,))
        w = a @ self._scaled / spread  # a sums to zero, so the mean needs no subtraction
        offset = b - w @ (mean + self._parts.middle)
        return np.stack([np.zeros_like(w), w]), np.array([0.0, offset])

    def _products(self, part: int, seen: Rows) -> Float[np.ndarray, "rows rows"]:
        """Return inner products of the outer part's reviews, standardized on those `seen`."""
        np.multiply(self._x, 1 / self._parts.spreads[part], out=self._scaled)
        products = self._scaled @ self._scaled.T
        to_mean = products[:, seen].mean(axis=1)
        return products - to_mean[:, None] - to_mean + to_mean[seen].mean()


class Narrow:
    """Fits by scikit-learn, in at most as many dimensions as there are reviews.

    The solution lies in the span of the training reviews (Hastie and Tibshirani 2004, Biostatistics 5).
    """

    def __init__(self, x: Features, labels: Labels, fold: Fold) -> None:
        self._x, self._labels, self._fold = x, labels, fold

    def held_out(self, strengths: tuple[float, ...]) -> Iterator[Float[np.ndarray, "strengths tested classes"]]:
        """Yield the logits of each inner test part for each C."""
        for train, test in self._fold.inner:
            found = self._path(train, strengths)
            yield np.stack([self._x[test] @ w.T + b for w, b in found])

    def weights(self, strength: float) -> Weights:
        """Fit the outer training part."""
        (found,) = self._path(self._fold.outer, (strength,))
        return found

    def _path(self, rows: Rows, strengths: tuple[float, ...]) -> Iterator[Weights]:
        """Yield weights and offsets in units of the raw features for each C; each fit starts from the previous one."""
        from sklearn import config_context  # on use: it delays the first page
        from sklearn.linear_model import LogisticRegression

        x = self._x[rows]
        mean, spread = x.mean(axis=0), x.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        standard = (x - mean) / spread
        rotation = np.linalg.qr(standard.T)[0] if x.shape[1] > len(x) else np.eye(x.shape[1])
        rotated = standard @ rotation
        model = LogisticRegression(solver="newton-cholesky", tol=1e-6, warm_start=True)
        for strength in strengths:
            with config_context(assume_finite=True, skip_parameter_validation=True):  # half of the time of a small fit
                model.set_params(C=strength).fit(rotated, self._labels[rows])
            w, b = model.coef_ @ rotation.T / spread, np.asarray(model.intercept_)
            if len(w) == 1:
                w, b = np.stack([np.zeros_like(w[0]), w[0]]), np.array([0.0, b[0]])
            yield w, b - w @ mean
