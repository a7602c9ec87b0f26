"""False alarms of curves that hold no signal, and coverage of cross-validated accuracy, on simulated data.

`python -m benchmarks.probes` prints what docs/analyses/probes.md and linear_probes.md quote; a small seeded version
runs with the tests.
"""

from __future__ import annotations

import numpy as np

from backend.analyses import linear_probes
from backend.stats import intervals, metrics, resampling

LAYERS = 13
MIDDLES = {"auc": 0.5, "gap": 0.0}


def alarms(
    classes: int, simulations: int, permutations: int = 300, walk: float = 0.0, reviews: int = 60, seed: int = 0
) -> dict[str, float]:
    """How often a signal-free curve exceeds its threshold somewhere, and how often it leaves chance for good.

    Logits follow each other from layer to layer with correlation `walk`, grow, and are biased by layer.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(reviews) % classes
    counted: dict[str, int] = {}
    for i in range(simulations):
        logits = rng.normal(size=(LAYERS, reviews, classes))
        for layer in range(1, LAYERS):
            logits[layer] = walk * logits[layer - 1] + np.sqrt(1 - walk**2) * logits[layer]
        logits[0] = 0.0
        logits *= 1 + np.arange(LAYERS)[:, None, None]
        logits += rng.normal(size=(LAYERS, 1, classes))
        null = resampling.null_curves(logits, labels, permutations, seed + i)
        for name, curve in _curves(logits, labels, classes).items():
            threshold = intervals.curve_chance(null[name], (MIDDLES | {"balanced_accuracy": 1 / classes})[name])
            leaves = intervals.leaves_chance(curve, threshold) is not None
            for event, happened in ((name, (curve > threshold).any()), (f"{name} leaves chance", leaves)):
                counted[event] = counted.get(event, 0) + int(happened)
    return {event: count / simulations for event, count in counted.items()}


def _curves(logits: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    logit_diff = [metrics.logit_diff(one) for one in logits]
    recalls = [metrics.recalls(metrics.predictions(one), labels, classes) for one in logits]
    return {
        "auc": np.array([metrics.auc(one, labels) for one in logit_diff]),
        "gap": np.array([metrics.gap(one, labels) for one in logit_diff]),
        "balanced_accuracy": np.array([metrics.balanced_accuracy(one) for one in recalls]),
    }


def cross_validated(reviews: int, width: int, signal: float, simulations: int, seed: int = 0) -> dict[str, float]:
    """How often the interval of held-out accuracy covers what the five probes do on 4,000 more reviews, on average."""
    rng = np.random.default_rng(seed)
    labels = np.arange(reviews) % 2
    more = np.arange(4000) % 2
    hits, true, found = 0, [], []
    for i in range(simulations):
        direction = rng.normal(size=width)
        direction *= signal / np.linalg.norm(direction)
        x, y = (rng.normal(size=(len(one), width)) + np.outer(2 * one - 1, direction) for one in (labels, more))
        fold_of = linear_probes.folds(labels, seed + i)
        probe = linear_probes.fit(x, labels, fold_of, seed + i)
        recall = metrics.recalls(probe.predict(x, fold_of), labels, 2)
        low, high = intervals.balanced_accuracy_interval(recall, metrics.class_sizes(labels, 2))
        folds = [np.full(len(more), fold) for fold in range(fold_of.max() + 1)]
        true.append(float(np.mean([(probe.predict(y, fold) == more).mean() for fold in folds])))
        found.append(metrics.balanced_accuracy(recall))
        hits += low <= true[-1] <= high
    return {"coverage": hits / simulations, "true": float(np.mean(true)), "found": float(np.mean(found))}


def main() -> None:
    print(
        "| classes | correlation of layers | "
        + " | ".join(f"{n}, leaves chance" for n in ("AUC", "gap", "balanced accuracy"))
        + " |"
    )
    print("| --- | --- | --- | --- | --- |")
    for classes in (2, 3):
        for walk in (0.0, 0.9):
            rates = alarms(classes, 2000, permutations=200, walk=walk)
            cells = [
                f"{100 * rates[n]:.1f} %, {100 * rates[f'{n} leaves chance']:.1f} %"
                for n in ("auc", "gap", "balanced_accuracy")
            ]
            print(f"| {classes} | {walk} | " + " | ".join(cells) + " |", flush=True)
    print("\n| reviews x width | signal | true accuracy | held out | coverage |\n| --- | --- | --- | --- | --- |")
    for reviews, width, signal in ((60, 20, 0.0), (60, 20, 0.6), (60, 96, 1.0), (200, 96, 0.6), (200, 96, 1.5)):
        rates = cross_validated(reviews, width, signal, 400)
        cells = [f"{100 * rates[name]:.1f} %" for name in ("true", "found", "coverage")]
        print(f"| {reviews} x {width} | {signal} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
