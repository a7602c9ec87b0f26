"""Logistic regression with an L2 penalty from inner products: as many unknowns as reviews, however wide the features.

Minimizes C x sum of log losses + |w|^2 / 2 over w and the intercept b, which is not penalized. The solution is
w = sum of a_i x_i, so the inner products K of the reviews suffice. Newton's method on a, with one Cholesky
factor of I + S K S per step (S^2: the curvature of the losses). Rasmussen and Williams 2006, Gaussian Processes for
Machine Learning, algorithm 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import scipy
from jaxtyping import Float, Int

from backend.stats.rotation import lapack

Products = Float[np.ndarray, "reviews reviews"]
PerReview = Float[np.ndarray, " reviews"]
STEP = 1e-6
"""Change of the logits below which a step was the last: the error that remains is about its square."""
MOST_STEPS, MOST_HALVINGS = 100, 30
FLATTEST = 1e-12
"""Least curvature of a loss, that of a logit of 27."""


def path(
    k: Products, y: Int[np.ndarray, " reviews"], strengths: tuple[float, ...]
) -> Iterator[tuple[PerReview, float]]:
    """Yield the weights a of the reviews and the intercept b for each C; each fit starts from the previous one.

    The logit of class 1 is sum of a_i <x_i, x> + b.
    """
    signs = np.where(y == 1, 1.0, -1.0)
    a, b = np.zeros(len(k)), 0.0
    for strength in strengths:
        a, b = _fit(k, signs, strength, a, b)
        yield a, b


def _fit(k: Products, signs: PerReview, strength: float, a: PerReview, b: float) -> tuple[PerReview, float]:
    pull = k @ a
    for _ in range(MOST_STEPS):
        new_a, new_b = _newton(k, signs, strength, pull + b)
        ahead, pulled, up = new_a - a, k @ new_a - pull, new_b - b

        def at(share: float, a=a, pull=pull, b=b, ahead=ahead, pulled=pulled, up=up) -> float:
            return _objective(signs, strength, a + share * ahead, pull + share * pulled, b + share * up)

        share = _share(at)
        a, pull, b = a + share * ahead, pull + share * pulled, b + share * up
        if np.abs(pulled + up).max() < STEP:
            break
    return a, b


def _share(objective_at: Callable[[float], float]) -> float:
    """Return the share of a step that lowers the objective: all of it, unless the step goes too far."""
    before, share = objective_at(0.0), 1.0
    for _ in range(MOST_HALVINGS):
        if objective_at(share) <= before + 1e-12 * abs(before):
            break
        share /= 2
    return share


def _newton(k: Products, signs: PerReview, strength: float, logits: PerReview) -> tuple[PerReview, float]:
    """Solve (K + 1 / curvature) a + b = logits - slope / curvature with sum(a) = 0."""
    wrong = scipy.special.expit(-signs * logits)
    slope, curvature = -strength * signs * wrong, strength * np.maximum(wrong * (1 - wrong), FLATTEST)
    root = np.sqrt(curvature)
    system = k * root
    system *= root[:, None]
    system.flat[:: len(k) + 1] += 1.0
    lower, _ = lapack().dpotrf(system.T, lower=1, clean=0, overwrite_a=1)
    right = np.stack([root * logits - slope / root, root], axis=1)
    solved = root[:, None] * lapack().dpotrs(lower, right, lower=1)[0]
    b = float(solved[:, 0].sum() / solved[:, 1].sum())
    return solved[:, 0] - b * solved[:, 1], b


def _objective(signs: PerReview, strength: float, a: PerReview, pull: PerReview, b: float) -> float:
    return float(strength * np.logaddexp(0.0, -signs * (pull + b)).sum() + a @ pull / 2)
