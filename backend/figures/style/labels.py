"""Place names beside points so that none covers another; names without space appear on pointing only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIDES = {
    "middle right": (1, 0),
    "middle left": (-1, 0),
    "top center": (0, 1),
    "bottom center": (0, -1),
    "top right": (1, 1),
    "top left": (-1, 1),
    "bottom right": (1, -1),
    "bottom left": (-1, -1),
}
"""Where plotly puts a text, and the way there from the point."""
LETTER, LINE, GAP = 7.0, 14.0, 8.0
"""Size of a letter, height of a line and distance from the point, in pixels, of text of size 11."""


def place(points: np.ndarray, names: Sequence[str], order: Sequence[int]) -> dict[int, str]:
    """Return where each name goes, the first of `order` first, without names that do not fit; `points` are pixels."""
    placed: dict[int, str] = {}
    boxes = np.empty((0, 4))
    for i in order:
        size = np.array([LETTER * len(names[i]), LINE])
        for side, way in SIDES.items():
            box = _box(points[i], size, np.array(way))
            if _is_free(box, boxes) and not _covers(box, points, i):
                placed[i] = side
                boxes = np.vstack([boxes, box])
                break
    return placed


def _box(point: np.ndarray, size: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Left, bottom, right and top of a name beside its point."""
    centre = point + way * (size / 2 + GAP)
    return np.concatenate([centre - size / 2, centre + size / 2])


def _is_free(box: np.ndarray, others: np.ndarray) -> bool:
    apart = (box[:2] >= others[:, 2:]) | (box[2:] <= others[:, :2])
    return bool(apart.any(axis=1).all())


def _covers(box: np.ndarray, points: np.ndarray, own: int) -> bool:
    inside = (points > box[:2] - 2).all(axis=1) & (points < box[2:] + 2).all(axis=1)
    return bool(np.delete(inside, own).any())
