"""Layer roles: general, transitional or task-specific, by a numerical rule.

`level` is the CKA with the reference from which a layer counts as unchanged. The gain of a layer is the held-out
accuracy of its linear probe minus that of the reference's probe, paired by review:

    general         the interval of CKA lies at or above the level, the interval of the gain not above zero
    task-specific   the interval of CKA lies below the level, the interval of the gain above zero, and the interval of
                    the accuracy above chance
    transitional    everything else: changed without a gain, a gain without a change, or too close to call
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from backend.stats import intervals, metrics, paired
from backend.stats.estimate import Estimate, undefined
from backend.stats.rows import interval, point

KINDS = ("general", "transitional", "task-specific")
PerLayer = Float[np.ndarray, " layers"]
Predictions = Int[np.ndarray, "layers reviews"]


@dataclass(frozen=True, eq=False)
class Reading:
    """Per layer the kind (index into KINDS, -1: no text) and the deciding measures: CKA, accuracies and gain, 0..1."""

    level: float
    kind: Int[np.ndarray, " layers"]
    cka: Estimate[PerLayer]
    accuracy: Estimate[PerLayer]
    reference_accuracy: PerLayer
    gain: Estimate[PerLayer]

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of layers of each kind."""
        return tuple(int((self.kind == kind).sum()) for kind in range(len(KINDS)))

    @property
    def disorder(self) -> tuple[int, int] | None:
        """The first two layers in the wrong order, the later more general; None if all are in order."""
        defined = np.flatnonzero(self.kind >= 0)
        for place, later in enumerate(defined):
            before = defined[:place][self.kind[defined[:place]] > self.kind[later]]
            if len(before):
                return int(before[0]), int(later)
        return None

    def rows(self, checkpoint: str, reference: str) -> Iterator[dict[str, Any]]:
        """Yield one row per layer."""
        for layer, kind in enumerate(self.kind):
            yield {
                "checkpoint": checkpoint,
                "reference": reference,
                "layer": layer,
                "level": self.level,
                "kind": KINDS[kind] if kind >= 0 else None,
                **interval(self, "cka", layer),
                **interval(self, "accuracy", layer),
                **point(self, "reference_accuracy", layer),
                **interval(self, "gain", layer),
            }


def read(
    cka: Estimate[PerLayer],
    predicted: Predictions,
    reference: Predictions,
    labels: metrics.Labels,
    classes: int,
    level: float,
) -> Reading:
    """Assign a kind to each layer; the predictions come from held-out linear probes."""
    layers = len(cka.value)
    accuracy, gain, reference_accuracy = undefined(layers), undefined(layers), np.full(layers, np.nan)
    sizes = metrics.class_sizes(labels, classes)
    for layer in np.flatnonzero(np.isfinite(cka.value)):
        recall = metrics.recalls(predicted[layer], labels, classes)
        limits = intervals.balanced_accuracy_interval(recall, sizes)
        accuracy.put(layer, metrics.balanced_accuracy(recall), limits)
        lost = paired.accuracy_lost(predicted[layer], reference[layer], labels, classes)
        gain.put(layer, lost.value, (lost.low, lost.high))
        reference_accuracy[layer] = accuracy.value[layer] - lost.value
    gains = gain.low > 0
    kind = np.ones(layers, dtype=np.int64)
    kind[(cka.low >= level) & ~gains] = 0
    kind[(cka.high < level) & gains & (accuracy.low > 1 / classes)] = 2
    kind[~np.isfinite(cka.value)] = -1
    return Reading(level, kind, cka, accuracy, reference_accuracy, gain)
