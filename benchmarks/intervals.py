"""Do the 95 % intervals cover, and does the chance level hold? 10,000 simulations of each setting, truth known.

    python -m benchmarks.intervals [--simulations 10000] [--draws 500] [--permutations 300] [--into docs/intervals.md]

Prints Markdown tables, and writes them between the marks of a document too. One process, about half an hour on a
free core at 10,000.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri
from tqdm import tqdm

from backend.stats import cka as measures
from backend.stats import intervals, metrics
from backend.stats.rotation import rotated

SIDE_BY_SIDE = 25
"""Samples that share their resamples, as layers do: faster, and coverage is the same on average."""
MARKS = ("<!-- simulated: start -->", "<!-- simulated: end -->")
PLAIN = "norm by the plain basic bootstrap"
Rates = dict[str, float]


@dataclass(frozen=True)
class Reviews:
    """A population of residuals: two classes, `signal` apart in units of what noise alone gives the norm.

    The variance of dimension j is j ** -decay, times `massive` in the first; `along` says whether the direction prefers
    dimensions of large variance. Class 1 has `unequal` times the covariance of class 0, `tail` is the standard
    deviation of the log of a factor that each review's deviation is multiplied by.
    """

    name: str
    reviews: int
    width: int
    decay: float = 1.0
    signal: float = 0.0
    massive: float = 1.0
    along: bool = True
    unequal: float = 1.0
    tail: float = 0.0

    @property
    def size(self) -> str:
        """Reviews x width."""
        return f"{self.reviews} x {self.width}"

    @property
    def labels(self) -> np.ndarray:
        """Half the reviews in each class."""
        return np.repeat([0, 1], self.reviews // 2)

    @property
    def deviation(self) -> Float[np.ndarray, " width"]:
        """Standard deviation of each dimension in class 0; the trace of the covariance is 1."""
        variance = np.arange(1, self.width + 1.0) ** -self.decay
        variance[0] *= self.massive
        return np.sqrt(variance / variance.sum())

    @property
    def norm(self) -> float:
        """Norm of the population's direction."""
        return self.signal * np.sqrt((1 + self.unequal) / (self.reviews / 2))

    def draw(self, rng: np.random.Generator, samples: int, reviews: int | None = None) -> Float[np.ndarray, "r s w"]:
        """Independent samples side by side, each with a direction of its own."""
        labels = np.repeat([0, 1], (reviews or self.reviews) // 2)
        x = rng.normal(size=(len(labels), samples, self.width)) * self.deviation
        x *= np.exp(self.tail * rng.normal(size=(len(labels), samples, 1)) - self.tail**2)
        x[labels == 1] *= np.sqrt(self.unequal)
        direction = rng.normal(size=(samples, self.width)) * (self.deviation if self.along else 1.0)
        x[labels == 1] += self.norm * direction / np.linalg.norm(direction, axis=1, keepdims=True)
        return x


def covers(low: np.ndarray, truth: float | np.ndarray, high: np.ndarray) -> int:
    """How many intervals hold the truth."""
    return int(((low <= truth + 1e-12) & (truth - 1e-12 <= high)).sum())


def basic(x: np.ndarray, labels: np.ndarray, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the plain basic bootstrap of T, recentred with the plug-in, for comparison: low, high [samples]."""
    t = metrics.unbiased_squared_norm(x, labels, 2)[0]
    errors = np.empty((draws, len(t)))
    counts = intervals.bootstrap_counts(labels, draws, seed) / (len(labels) / 2)
    for sample in metrics.varying(x):
        y = rotated(x[:, sample])
        means = [counts[:, labels == c] @ y[labels == c] for c in (0, 1)]
        spreads = [
            counts[:, labels == c] @ metrics.squared_norm(y[labels == c]) - metrics.squared_norm(mean)
            for c, mean in enumerate(means)
        ]
        drawn = metrics.squared_norm(means[1] - means[0]) - sum(spreads) / (len(labels) / 2 - 1)
        errors[:, sample] = drawn - metrics.squared_norm(y[labels == 1].mean(axis=0) - y[labels == 0].mean(axis=0))
    below, above = intervals.percentiles(errors)
    return np.sqrt(np.maximum(0.0, t - above)), np.sqrt(np.maximum(0.0, t - below))


def direction(population: Reviews, simulations: int, seed: int = 0, draws: int = 1000) -> Rates:
    """Coverage of the norm, its relative and separation, and of the plain basic bootstrap."""
    rng = np.random.default_rng(seed)
    large = population.draw(rng, 1, 10_000)
    truths = {
        "norm": population.norm,
        "relative": population.norm / float(metrics.mean_norm(large)[0]),
        "separation": population.norm / np.sqrt((1 + population.unequal) / 2),
    }
    hits = dict.fromkeys([*truths, PLAIN], 0)
    for batch in batches(simulations, f"{population.size}, {population.name}"):
        x = population.draw(rng, batch)
        bootstrap_seed = int(rng.integers(2**32))
        found = intervals.direction_intervals(x, population.labels, 2, draws, bootstrap_seed)
        for name, truth in truths.items():
            low, high = getattr(found, name)
            hits[name] += covers(low[0], truth, high[0])
        low, high = basic(x, population.labels, draws, bootstrap_seed)
        hits[PLAIN] += covers(low, population.norm, high)
    return {name: hit / simulations for name, hit in hits.items()}


def split_cosine(reviews: int, cosine: float, simulations: int, seed: int = 0) -> Rates:
    """Coverage of the split-half cosine of two models that share half of their noise."""
    population = Reviews("", reviews, 96, signal=4.0)
    rng, labels, hit, defined = np.random.default_rng(seed), population.labels, 0, 0
    for batch in batches(simulations, f"{reviews}, split-half cosine {cosine}"):
        shared, own, other = (Reviews("", reviews, 96).draw(rng, batch) for _ in range(3))
        base, checkpoint = (shared + own) / np.sqrt(2), (shared + other) / np.sqrt(2)
        plane = np.linalg.qr(population.deviation[:, None] * rng.normal(size=(batch, population.width, 2)))[0]
        base[labels == 1] += population.norm * plane[..., 0]
        checkpoint[labels == 1] += population.norm * (cosine * plane[..., 0] + np.sqrt(1 - cosine**2) * plane[..., 1])
        low, high = intervals.split_cosine_interval(base, checkpoint, labels, 2, 50, int(rng.integers(2**32)))
        hit += covers(low, cosine, high)
        defined += int(np.isfinite(low).sum())
    return {"split-half cosine": hit / max(1, defined)}


def similarity(reviews: int, width: int, decay: float, shared: float, simulations: int, seed: int = 0) -> Rates:
    """Coverage of CKA, and of Procrustes: of its mean over samples of as many reviews, and of the whole population's.

    Variance j ** -decay of dimension j in the base; the checkpoint has `shared` times the base's deviations, others
    beside them whose spectrum is shifted by a third of the width, and other axes.
    """
    rng, labels = np.random.default_rng(seed), np.arange(reviews) % 2
    variance = np.arange(1, width + 1.0) ** -decay
    other = np.roll(variance, width // 3)
    own = shared**2 * variance + (1 - shared**2) * other
    crossed = shared * variance
    truth = np.square(crossed).sum() / np.sqrt(np.square(variance).sum() * np.square(own).sum())
    disparity = 1 - crossed.sum() ** 2 / (variance.sum() * own.sum())
    axes = np.linalg.qr(rng.normal(size=(width, width)))[0]
    hit, estimates, limits = 0, [], []
    for _ in tqdm(range(simulations), f"{reviews} x {width}, CKA {truth:.2f}", leave=False, file=sys.stderr):
        base = rng.normal(size=(reviews, width)) * np.sqrt(variance)
        noise = rng.normal(size=base.shape) * np.sqrt(other)
        x, y = (rotated(one) for one in (base, (shared * base + np.sqrt(1 - shared**2) * noise) @ axes))
        left = measures.cka(x, y)
        low, high = intervals.jackknife_interval(np.array(left.estimate), left.without, labels)
        hit += covers(low, truth, high)
        left = measures.procrustes(x, y)
        estimates.append(left.estimate)
        limits.append(intervals.jackknife_interval(np.array(left.estimate), left.without, labels))
    low, high = np.array(limits).T
    return {
        "CKA": hit / simulations,
        "Procrustes of as many reviews": covers(low, float(np.mean(estimates)), high) / simulations,
        "Procrustes of the population": covers(low, disparity, high) / simulations,
    }


def logit_diff(
    reviews: int, auc: float, simulations: int, seed: int = 0, unequal: float = 0.4, draws: int = 1000
) -> Rates:
    """Coverage of AUC, gap and mean logit difference of normal values, class 1 with `unequal` times the deviation."""
    rng, labels = np.random.default_rng(seed), np.repeat([0, 1], reviews // 2)
    gap = float(ndtri(auc)) * np.sqrt(1 + unequal**2)
    hits = {"AUC": 0, "gap": 0, "mean logit difference": 0}
    for _ in tqdm(range(simulations), f"{reviews}, AUC {auc}", leave=False, file=sys.stderr):
        values = rng.normal(size=(reviews, 1)) * np.where(labels == 1, unequal, 1.0)[:, None] + gap * labels[:, None]
        draw = int(rng.integers(2**32))
        for name, truth, (low, high) in (
            ("AUC", auc, intervals.auc_interval(values, labels, draws, draw)),
            ("gap", gap, intervals.gap_interval(values, labels, draws, draw)),
            ("mean logit difference", gap / 2, intervals.mean_interval(values, labels, draws, draw)),
        ):
            hits[name] += covers(np.asarray(low), truth, np.asarray(high))
    return {name: hit / simulations for name, hit in hits.items()}


def proportions(reviews: int, recalls: tuple[float, ...], simulations: int, seed: int = 0) -> Rates:
    """Coverage of the first recall (Wilson) and of balanced accuracy (MOVER)."""
    sizes = np.full(len(recalls), reviews // len(recalls))
    right = np.random.default_rng(seed).binomial(sizes, recalls, size=(simulations, len(recalls)))
    low, high = intervals.wilson(right[:, 0], sizes[:1])
    balanced = [intervals.balanced_accuracy_interval(row / sizes, sizes) for row in right]
    truth = float(np.mean(recalls))
    return {
        "recall": covers(low, recalls[0], high) / simulations,
        "balanced accuracy": sum(bottom <= truth <= top for bottom, top in balanced) / simulations,
    }


def curves(population: Reviews, rng: np.random.Generator, samples: int) -> Float[np.ndarray, "r s layers=13 w"]:
    """Signal-free residuals of 13 layers: layer 0 constant, then a stream that grows and keeps most of itself."""
    stream = np.zeros((population.reviews, samples, population.width))
    layers = [stream]
    for layer in range(12):
        stream = stream + 1.15**layer * population.draw(rng, samples)
        layers.append(stream)
    return np.stack(layers, axis=2)


def chance(population: Reviews, simulations: int, permutations: int, seed: int = 0) -> Rates:
    """How often a signal-free curve crosses its chance level, leaves it for good, or crosses a pointwise 95 %."""
    rng, labels = np.random.default_rng(seed), population.labels
    alarms = {"some layer exceeds": 0, "leaves chance": 0, "some layer exceeds a pointwise 95 %": 0}
    for batch in batches(simulations, f"{population.size}, chance, {population.name}", 5):
        x = curves(population, rng, batch)
        layers = x.reshape(len(labels), -1, population.width)
        norm = np.sqrt(metrics.squared_norm(metrics.directions(layers, labels, 2))).reshape(batch, 13)
        null = intervals.null_norms(layers, labels, 2, permutations, int(rng.integers(2**32)))
        for values, permuted in zip(norm, null.reshape(permutations, batch, 13).swapaxes(0, 1), strict=True):
            threshold = intervals.familywise(permuted[:, None])[0]
            alarms["some layer exceeds"] += bool((values > threshold).any())
            alarms["leaves chance"] += intervals.leaves_chance(values, threshold) is not None
            pointwise = np.quantile(permuted, 0.95, axis=0)
            alarms["some layer exceeds a pointwise 95 %"] += bool((values > pointwise).any())
    return {name: alarm / simulations for name, alarm in alarms.items()}


def batches(simulations: int, name: str, size: int = SIDE_BY_SIDE) -> Iterator[int]:
    """Sizes of the batches that make up `simulations`, with a progress bar."""
    with tqdm(total=simulations, desc=name, leave=False, file=sys.stderr) as bar:
        for start in range(0, simulations, size):
            yield min(size, simulations - start)
            bar.update(size)


NONE = (
    Reviews("none, covariances 1 : 3", 60, 96, unequal=3.0),
    Reviews("none, flat spectrum", 60, 8, 0.0),
    Reviews("none, spectrum 1/j^1.5", 200, 96, 1.5),
)
SIGNAL = (
    Reviews("1, flat spectrum", 60, 96, 0.0, 1.0),
    Reviews("4, flat spectrum, skewed lengths", 60, 96, 0.0, 4.0, tail=0.2),
    Reviews("2, spectrum 1/j, covariances 1 : 3", 60, 768, 1.0, 2.0, unequal=3.0),
    Reviews("1, spectrum 1/j^1.5", 60, 96, 1.5, 1.0),
    Reviews("4, spectrum 1/j^1.5", 60, 96, 1.5, 4.0),
    Reviews("2, spectrum 1/j, skewed lengths", 60, 8, 1.0, 2.0, tail=0.2),
    Reviews("2, spectrum 1/j^1.5", 200, 96, 1.5, 2.0),
    Reviews("4, spectrum 1/j^1.5, covariances 1 : 3", 200, 96, 1.5, 4.0, unequal=3.0),
)
DOUBTFUL = (
    Reviews("8, one massive dimension apart from it", 200, 96, 0.0, 8.0, 400.0, along=False),
    Reviews("2, one massive dimension apart from it", 60, 96, 0.0, 2.0, 400.0, along=False),
    Reviews("4, flat spectrum, very skewed lengths", 60, 96, 0.0, 4.0, tail=0.4),
)
CURVES = (
    Reviews("flat spectrum", 60, 96, 0.0),
    Reviews("spectrum 1/j, covariances 1 : 3", 60, 96, unequal=3.0),
    Reviews("spectrum 1/j, skewed lengths", 60, 8, tail=0.2),
    Reviews("spectrum 1/j^1.5, covariances 1 : 3", 200, 96, 1.5, unequal=3.0),
)
LENSES = ((60, 0.8), (60, 0.97), (200, 0.99))
RECALLS = ((60, (0.455, 0.96)), (60, (0.5, 0.5)), (200, (0.9, 0.7)), (240, (0.95, 0.99)))
SIMILAR = ((60, 96, 1.0, 0.0), (60, 96, 1.0, 0.5), (200, 96, 1.5, 0.9), (200, 768, 1.0, 0.5), (200, 8, 1.0, 0.9))
COSINES = ((60, 0.0), (60, 0.5), (200, 0.5), (200, 0.9))


def table(head: tuple[str, ...], settings: dict[tuple[str, str], Rates]) -> str:
    """Format rates, a row per setting, as a Markdown table."""
    rates = list(dict.fromkeys(name for found in settings.values() for name in found))
    lines = [(*head, *rates), tuple("---" for _ in (*head, *rates))]
    for names, found in settings.items():
        lines.append((*names, *(f"{100 * found[name]:.1f} %" for name in rates)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(simulations: int, draws: int, permutations: int) -> Iterator[str]:
    """Run everything, one paragraph or table after the other."""

    def directions(populations: tuple[Reviews, ...]) -> str:
        found = {(one.size, one.name): direction(one, simulations, draws=draws) for one in populations}
        return table(("reviews x width", "signal"), found)

    yield f"{simulations:,} simulations of each setting, seed 0, {draws:,} draws, {permutations:,} permutations."
    yield "False alarms over a whole signal-free curve of 13 layers:"
    alarms = {(one.size, one.name): chance(one, simulations, permutations) for one in CURVES}
    yield table(("reviews x width", "residuals"), alarms)
    yield "Coverage where there is no signal:"
    yield directions(NONE)
    yield "Coverage where there is signal, in units of what noise alone gives the norm:"
    yield directions(SIGNAL)
    yield "Coverage where intervals are known to be wide or doubtful:"
    yield directions(DOUBTFUL)
    yield "Coverage of the split-half cosine of two models that share half of their noise, spectrum 1/j, signal 4:"
    cosines = {(f"{n} x 96", str(cosine)): split_cosine(n, cosine, simulations) for n, cosine in COSINES}
    yield table(("reviews x width", "cosine"), cosines)
    few = max(1, simulations // 10)
    yield f"Coverage of similarity between layers, {few:,} simulations of each setting, spectrum 1/j or 1/j^1.5:"
    alike = {
        (f"{n} x {width}", f"{shared:g} of the base, 1/j^{decay:g}"): similarity(n, width, decay, shared, few)
        for n, width, decay, shared in SIMILAR
    }
    yield table(("reviews x width", "checkpoint"), alike)
    yield "Coverage of proportions:"
    recalls = {(str(n), ", ".join(map(str, right))): proportions(n, right, simulations) for n, right in RECALLS}
    yield table(("reviews", "recalls"), recalls)
    yield "Coverage of what is made of the logit difference, deviations 1 : 0.4:"
    logit_diffs = {(str(n), str(auc)): logit_diff(n, auc, simulations, draws=draws) for n, auc in LENSES}
    yield table(("reviews", "AUC is"), logit_diffs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--permutations", type=int, default=300)
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    tables = []
    for part in report(arguments.simulations, arguments.draws, arguments.permutations):
        tables.append(part)
        print(f"{part}\n", flush=True)
    if arguments.into is not None:
        before, rest = arguments.into.read_text(encoding="utf-8").split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        text = "\n\n".join((MARKS[0], *tables, MARKS[1]))
        arguments.into.write_text(f"{before}{text}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
