"""What the statistics of a large model cost, as ratios to one float64 SVD of every layer in the same run.

python -m benchmarks.statistics [--layers 5] [--reviews 400] [--width 4096] [--only direction similarity]

Random residuals of a base and a checkpoint: a spectrum that decays, a shared mean, three massive dimensions and a class
direction. The unit is `numpy.linalg.svd` of each layer, without the full matrices. All times are CPU seconds with one
thread on one core, which other programs on the machine hardly change. Ratios hardly depend on the number of
layers; `--layers 33` is the size of an 8 B model. Intervals are those of 300 rows, set against the SVD of 33 layers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int
from threadpoolctl import threadpool_limits

from backend.analyses import direction, linear_probes, projection, similarity, steering, swaps
from backend.stats import intervals
from backend.study.pinned import PinnedStudy
from tests.fakes import FakeModels, fake_lab, fake_study

LAYERS, ROWS, BLOCKS = 33, 300, 32
MOST = {"direction": 1.0, "similarity": 3.0, "linear probes": 6.0, "projections": 1.2, "swaps": 1.0, "steering": 1.0}
Residuals = Float32[np.ndarray, "reviews layers width"]


@dataclass(frozen=True)
class World:
    """Residuals of a base and a checkpoint, and the labels of their reviews."""

    base: Residuals
    checkpoint: Residuals
    labels: Int[np.ndarray, " reviews"]
    models: FakeModels
    study: PinnedStudy


def world(reviews: int, layers: int, width: int) -> World:
    """Draw the residuals of both models."""
    rng = np.random.default_rng(0)
    labels = np.arange(reviews) % 2
    scale = np.linspace(1, 20, width) ** -1.5 * 10
    scale[:3] *= 30  # massive dimensions
    base = rng.normal(size=(reviews, layers, width)) * scale + rng.normal(size=width) * scale * 3
    checkpoint = base + 0.3 * rng.normal(size=base.shape) * scale
    checkpoint += 0.2 * labels[:, None, None] * rng.normal(size=width) * scale
    models = FakeModels(layers=layers - 1, width=width)
    models.residuals = lambda *_: checkpoint.astype(np.float32)
    study = fake_study(models=models, reviews=reviews, epochs=1)
    return World(base.astype(np.float32), checkpoint.astype(np.float32), labels, models, study)


def decomposed(given: World) -> float:
    """Return the seconds of one SVD of every layer of one model."""
    total = 0.0
    for layer in range(given.base.shape[1]):
        x = given.base[:, layer].astype(np.float64)
        started = time.process_time()
        np.linalg.svd(x, full_matrices=False)
        total += time.process_time() - started
    return total


def of_direction(given: World) -> None:
    """Run the class direction of the checkpoint with its chance level; the base's is computed once for a study."""
    prompts = given.study.prompts
    level = intervals.chance(given.checkpoint, prompts.labels, prompts.classes)
    direction.direction(given.checkpoint, given.base, prompts, (level, level))


def of_similarity(given: World) -> None:
    """Run cosine, CKA and Procrustes with their chance levels."""
    similarity.similarity(given.checkpoint, given.base, given.labels)


def of_probes(given: World) -> None:
    """Run the probes of the checkpoint on real and on shuffled labels."""
    query = linear_probes.FitQuery(given.study.base, given.study.prompts, 0)
    with tempfile.TemporaryDirectory() as folder:
        linear_probes.fitted(query, fake_lab(Path(folder), given.models))


def of_projections(given: World) -> None:
    """Project the checkpoint in all three bases; the shared one is that of base and checkpoint."""
    bases: tuple[projection.Basis, ...] = ("own", "base", "shared")
    for basis in bases:
        pool = () if basis == "own" else (given.base, given.checkpoint)
        projection.projection(given.checkpoint, given.base, pool, given.labels, 2, basis)


def logits(reviews: int, rows: int) -> Float[np.ndarray, "rows reviews classes"]:
    """Draw label logits that tell the classes apart somewhat."""
    drawn = np.random.default_rng(1).normal(size=(rows, reviews, 2))
    drawn[..., 1] += np.arange(reviews) % 2
    return drawn


def of_swaps(given: World) -> None:
    """Measure 300 swaps with their intervals."""
    drawn = logits(len(given.labels), ROWS + 2)
    between = tuple((i % BLOCKS, i % BLOCKS) for i in range(ROWS))
    swaps.swaps(drawn[2:], drawn[0], drawn[1], given.labels, between)


def of_steering(given: World) -> None:
    """Measure 300 coefficients with their intervals."""
    drawn = logits(len(given.labels), ROWS + 1)
    undefined = np.full(ROWS, np.nan)
    steering.steering(drawn[1:].reshape(1, ROWS, 1, -1, 2), drawn[0], given.labels, undefined, undefined)


SIDES: dict[str, Callable[[World], None]] = {
    "direction": of_direction,
    "similarity": of_similarity,
    "linear probes": of_probes,
    "projections": of_projections,
    "swaps": of_swaps,
    "steering": of_steering,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print seconds and ratios; 1 if a ratio misses its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--reviews", type=int, default=400)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(SIDES), default=list(SIDES))
    given = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with threadpool_limits(1):
        return compare(given)


def compare(given: argparse.Namespace) -> int:
    """Print each side beside its target."""
    data = world(given.reviews, given.layers, given.width)
    decomposed(data)
    of_swaps(data)  # draws the resamples that all intervals share
    print(f"{given.reviews} reviews x {given.layers} layers x {given.width}, best of {given.repeats}")
    missed = 0
    small = world(12, 2, 8)
    for name in given.only:
        SIDES[name](small)  # imports what it needs
        units, seconds = [decomposed(data)], []
        for _ in range(given.repeats):
            started = time.process_time()
            SIDES[name](data)
            seconds.append(time.process_time() - started)
            units.append(decomposed(data))
        layers = LAYERS if name in ("swaps", "steering") else given.layers
        unit = min(units) / given.layers * layers
        ratio = min(seconds) / unit
        missed += ratio > MOST[name]
        late = " MISSED" if ratio > MOST[name] else ""
        print(
            f"{name:>14} {min(seconds):7.2f} s, SVD {unit:6.2f} s: {ratio:6.2f} (at most {MOST[name]}){late}",
            flush=True,
        )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
