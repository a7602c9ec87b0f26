"""Resamples of the reviews: null curves of a readout, and intervals of the length of the class direction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from jaxtyping import Float, Int

from backend.stats import metrics
from backend.stats.metrics import Labels, Residuals
from backend.stats.rotation import Rotated
from backend.stats.splits import Groups

LEVEL = 0.95
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
HALVINGS = 30
"""Steps of the bisection, which reach a billionth of the first bracket."""

Counts = Float[np.ndarray, "draws reviews"]


def bootstrap_counts(labels: Labels, draws: int, seed: int) -> Int[np.ndarray, "draws reviews"]:
    """Return how often each review is in each stratified resample; class sizes are fixed."""
    return _counts(np.asarray(labels, dtype=np.int64).tobytes(), draws, seed)


@lru_cache(maxsize=2)  # all layers use the same resamples, and drawing takes longer than using them
def _counts(of_labels: bytes, draws: int, seed: int) -> Int[np.ndarray, "draws reviews"]:
    labels, rng = np.frombuffer(of_labels, dtype=np.int64), np.random.default_rng(seed)
    counts = np.zeros((draws, len(labels)), dtype=np.int64)
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    counts.setflags(write=False)
    return counts


def permuted_labels(labels: Labels, permutations: int, seed: int) -> Int[np.ndarray, "permutations reviews"]:
    """Return the labels in random order, many times."""
    return np.random.default_rng(seed).permuted(np.tile(labels, (permutations, 1)), axis=1)


def null_curves(
    logits: Float[np.ndarray, "layers reviews classes"], labels: Labels, permutations: int, seed: int
) -> dict[str, Float[np.ndarray, "permutations layers"]]:
    """Compute `balanced_accuracy`, `auc` and `gap` under permuted labels, the same at all layers.

    All three are sums of one number per review (is class c predicted, its rank, its logit difference), so one matrix
    product gives all permutations. `metrics` has the definitions, and a test compares the two.
    """
    from scipy.stats import rankdata  # on use: it delays the first page

    layers, reviews, classes = logits.shape
    sizes = metrics.class_sizes(labels, classes)
    permuted = permuted_labels(labels, permutations, seed)
    flat = logits.reshape(-1, classes)
    predicted = metrics.predictions(flat).reshape(layers, reviews).T
    logit_diff = metrics.logit_diff(flat).reshape(layers, reviews, -1)
    ranks = rankdata(logit_diff, axis=1)
    null = {name: np.zeros((permutations, layers)) for name in ("balanced_accuracy", "auc", "gap")}
    for c in range(classes):
        share = (permuted == c) / sizes[c]  # [permutations, reviews]
        null["balanced_accuracy"] += share @ (predicted == c) / classes
        toward = logit_diff @ metrics.contrasts(classes)[:, c] / logit_diff.shape[2]
        null["gap"] += share @ toward.T
        if classes > 2 or c == 1:
            won = share @ ranks[:, :, c if classes > 2 else 0].T - (sizes[c] + 1) / 2
            null["auc"] += won / (reviews - sizes[c]) / logit_diff.shape[2]
    return null


def split_cosines_without(
    base: Residuals, checkpoint: Residuals, labels: Labels, classes: int, groups: Groups | None = None
) -> Float[np.ndarray, "left_out directions layers"]:
    """Compute the limit of `metrics.split_cosine` for many splits, without each of the reviews; NaN if undefined.

    With copies in `groups`, without each of the texts.

    The mean over all splits of <d on one half, d on the other> is <d, d> minus the products of a review with itself,
    like T. Leaving a review out moves one class mean by (mean - review) / (n - 1).
    """
    if groups is not None:
        return _split_cosines_without_texts(base, checkpoint, labels, classes, groups)
    sizes = metrics.class_sizes(labels, classes)
    contrasts = metrics.contrasts(classes)
    without = np.full((len(labels), len(contrasts), base.shape[1]), np.nan)
    if sizes.min() < 3:
        return without
    n = sizes[labels]
    for layer in metrics.varying(base, checkpoint):
        models = [x[:, layer].astype(np.float64) for x in (base, checkpoint)]
        means = [np.stack([x[labels == c].mean(axis=0) for c in range(classes)]) for x in models]
        moves = [(mean[labels] - x) / (n - 1)[:, None] for x, mean in zip(models, means, strict=True)]
        products = {}
        for x, y in ((0, 0), (0, 1), (1, 1)):
            met = np.vecdot(moves[x], moves[y]) * (n - 1) ** 2
            total = np.bincount(labels, met, minlength=classes)  # sum of squares of each class
            noise = np.square(contrasts) @ (total / (sizes * (sizes - 1)))
            # the noise of the review's class mean without the review, minus that with it
            left = (total[labels] - met * n / (n - 1)) / ((n - 1) * (n - 2)) - (total / (sizes * (sizes - 1)))[labels]
            weights = contrasts[:, labels].T
            d_x, d_y = contrasts @ means[x], contrasts @ means[y]
            d_products = (
                weights * (moves[x] @ d_y.T + moves[y] @ d_x.T) + weights**2 * np.vecdot(moves[x], moves[y])[:, None]
            )
            products[x, y] = np.vecdot(d_x, d_y) - noise + d_products - weights**2 * left[:, None]
        positive = (products[0, 0] > 0) & (products[1, 1] > 0)
        both = np.where(positive, products[0, 0] * products[1, 1], 0.0)
        without[..., layer] = metrics.ratio(products[0, 1], np.sqrt(both))
    return without


def _split_cosines_without_texts(
    base: Residuals, checkpoint: Residuals, labels: Labels, classes: int, groups: Groups
) -> Float[np.ndarray, "texts directions layers"]:
    """Compute the same without each text and its copies, which share a half: <d, d> is a mean over other pairs."""
    text = np.unique(groups, return_inverse=True)[1]
    contrasts = metrics.contrasts(classes)
    counts = np.zeros((text.max() + 1, classes))
    np.add.at(counts, (text, labels), 1)
    without = np.full((len(counts), len(contrasts), base.shape[1]), np.nan)

    def pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Sum over pairs of different texts, without each text: [texts, classes, classes]; x, y by text and class."""
        own = np.einsum("tcw,tdw->tcd", x, y)
        return np.einsum("tcw,tdw->tcd", x.sum(axis=0) - x, y.sum(axis=0) - y) - (own.sum(axis=0) - own)

    met = pairs(counts[..., None], counts[..., None])
    for layer in metrics.varying(base, checkpoint):
        sums = np.zeros((2, *counts.shape, base.shape[2]))
        for total, x in zip(sums, (base, checkpoint), strict=True):
            np.add.at(total, (text, labels), x[:, layer] - x[:, layer].mean(axis=0, dtype=np.float64))
        of_base, cross, of_own = (
            np.einsum("kc,tcd,kd->tk", contrasts, metrics.ratio(pairs(sums[a], sums[b]), met), contrasts)
            for a, b in ((0, 0), (0, 1), (1, 1))
        )
        both = np.where((of_base > 0) & (of_own > 0), of_base * of_own, 0.0)
        without[..., layer] = metrics.ratio(cross, np.sqrt(both))
    return without


@dataclass(frozen=True, eq=False)
class Resampled:
    """Bootstrap of one layer: its classes, and the errors of their means and spreads in every resample.

    `errors[c]` is the resample's class mean minus the sample's and `spread[c]` its tr S. Deviations from the class
    mean are lengthened by sqrt(n / (n - 1)), so that resamples vary as much as samples do.
    """

    sizes: Int[np.ndarray, " classes"]
    means: Float[np.ndarray, "classes rotated"]
    deviations: tuple[Float[np.ndarray, "_ rotated"], ...]
    errors: Float[np.ndarray, "classes draws rotated"]
    spread: Float[np.ndarray, "classes draws"]

    @classmethod
    def of(cls, x: Rotated, labels: Labels, classes: int, counts: Counts) -> Resampled:
        """Resample `x`; every class needs at least two reviews."""
        sizes = metrics.class_sizes(labels, classes)
        means, deviations, errors, spread = [], [], [], []
        for c, n in enumerate(sizes):
            means.append(x[labels == c].mean(axis=0))
            deviations.append((x[labels == c] - means[c]) * np.sqrt(n / (n - 1)))
            share = counts[:, labels == c] / n
            errors.append(share @ deviations[c])
            around = share @ metrics.squared_norm(deviations[c]) - metrics.squared_norm(errors[c])
            spread.append(np.maximum(0.0, around) * n / (n - 1))
        return cls(sizes, np.stack(means), tuple(deviations), np.stack(errors), np.stack(spread))

    @property
    def within(self) -> Float[np.ndarray, " draws"]:
        """The trace of each resample's pooled within-class covariance over the sample's; NaN if that is zero."""
        sample = sum(
            metrics.squared_norm(d).sum() * (n - 1) / n for d, n in zip(self.deviations, self.sizes, strict=True)
        )
        return metrics.ratio((self.sizes - 1) @ self.spread, np.asarray(sample))

    def lengths(
        self, contrast: Float[np.ndarray, " classes"], t: float, scales: Float[np.ndarray, "scales draws"]
    ) -> Float[np.ndarray, "scales 2"]:
        """Find the shortest and longest population norm that go with the observed T: a test-inversion bootstrap.

        A population whose direction is d_theta, of norm theta, would give T* = theta^2 + 2 <d_theta, e> + <e, e> -
        noise, e the error of the direction in a resample; theta is in the interval while T, times `scales` for
        a ratio of T to something that varies too, lies between the 2.5 % and 97.5 % points of T*. d_theta is the
        sample's direction moved the way that its errors make most likely, along covariance x direction (least
        favourable family): where errors lie mostly along the direction, T comes out low together with its apparent
        variance, which makes a plain bootstrap interval miss above. Carpenter 1999, J. R. Statist. Soc. B 61; Efron
        1987, JASA 82.
        """
        d = contrast @ self.means
        norm = np.sqrt(d @ d)
        u = d / norm if norm > 0 else d
        v = sum((w / n) ** 2 * (u @ x.T) @ x for w, n, x in zip(contrast, self.sizes, self.deviations, strict=True))
        v = v / (u @ v) if u @ v > 0 else u
        widen = scipy.special.stdtrit(self.sizes.sum() - len(self.sizes), TAILS[1]) / scipy.special.ndtri(TAILS[1])
        e = np.tensordot(contrast, self.errors, axes=1)
        along, aside, stretch = widen * (e @ u), widen * (e @ v), v @ v
        squares = metrics.squared_norm(e) - np.square(contrast) / self.sizes @ self.spread
        squares *= widen * self._excess(contrast)
        start = max(np.sqrt(max(0.0, t)), norm / 10)
        reach = widen * np.sqrt(metrics.squared_norm(e).max())
        low = np.zeros((len(scales), 2))
        high = np.full(low.shape, 2 * reach + np.sqrt(max(0.0, (t * scales - squares).max())))
        for _ in range(HALVINGS):
            theta = (low + high) / 2
            move = theta / start - 1 if start > 0 else theta
            length = np.sqrt(np.maximum(1 + 2 * move + move**2 * stretch, 1e-12))
            linear = (along + move[..., None] * aside) / length[..., None]
            drawn = np.square(theta)[..., None] + 2 * theta[..., None] * linear + squares
            longer = (drawn <= (t * scales)[:, None]).mean(axis=-1) > TAILS[::-1]
            low, high = np.where(longer, theta, low), np.where(longer, high, theta)
        return low

    def _excess(self, contrast: Float[np.ndarray, " classes"]) -> float:
        """Return how much less <e, e> varies in samples than in resamples: sqrt of tr A^2 over its plug-in, 0..1.

        A is the covariance of the direction; with few reviews in many dimensions its tr A^2 is too large. Unbiased
        for normal residuals: Bai and Saranadasa 1996, Statistica Sinica 6.
        """
        plug_in = unbiased = 0.0
        parts = list(zip(contrast, self.sizes, self.deviations, strict=True))
        for i, (w, n, x) in enumerate(parts):
            for other_w, other_n, y in parts[i:]:
                product = _inner_squares(x, y) * (w * other_w / (n * other_n)) ** 2
                plug_in += product if x is y else 2 * product
                if x is y:
                    squared_trace = np.square(metrics.squared_norm(x).sum() / n * w**2 / n)
                    product = (n - 1) ** 2 / ((n - 2) * (n + 1)) * (product - squared_trace / (n - 1)) if n > 2 else 0.0
                unbiased += product if x is y else 2 * product
        return float(np.sqrt(np.clip(unbiased / plug_in, 0.0, 1.0))) if plug_in > 0 else 0.0


def _inner_squares(x: Float[np.ndarray, "reviews width"], y: Float[np.ndarray, "others width"]) -> float:
    """Return the sum of squared inner products of all pairs, from the smaller of both products."""
    if x.shape[1] < min(len(x), len(y)):
        return float(np.vdot(x.T @ x, y.T @ y))
    return float(np.square(x @ y.T).sum())
