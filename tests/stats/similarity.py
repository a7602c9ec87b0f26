"""Similarity measures of two sets of residuals in one call, or by scipy."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from backend.stats import cka
from backend.stats.rotation import rotated


def cka_of(x: np.ndarray, y: np.ndarray) -> cka.Left:
    return cka.cka(rotated(x), rotated(y))


def procrustes(x: np.ndarray, y: np.ndarray) -> cka.Left:
    return cka.procrustes(rotated(x), rotated(y))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.asarray(spearmanr(pdist(x), pdist(y)))[0])
