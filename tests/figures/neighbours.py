"""Neighbours of two tokens, as the figures draw them."""

from __future__ import annotations

import numpy as np

from backend.analyses import token_neighbours

NAMES = ("␣good", "␣bad", "<b>", "␣Good", "ing", "(no token 5)")


def near() -> token_neighbours.Result:
    before = np.array([[1, 3], [0, 4]])
    after = np.array([[1, 2], [0, 4]])
    return token_neighbours.Result(np.array([0, 1]), np.array([0.5, 1.0]), before, after, np.arange(5), NAMES[:5])
