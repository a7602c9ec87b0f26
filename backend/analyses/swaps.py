"""Which parts carry the change? A host runs with parts of a donor: single blocks, from either end, ranges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from backend.caching.memoize import memoized
from backend.caching.progress import Progress, silent
from backend.derived.swap_logits import MODES, PARTS, LogitsQuery, Mode, Part, label_logits, logits_so_far, spans
from backend.errors import UndefinedError
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab, ReadoutQuery, collect
from backend.stats import intervals, metrics, paired
from backend.stats.estimate import Estimate, stacked
from backend.stats.metrics import Labels
from backend.stats.rows import interval, of_class, point
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.kinds import UNASKED
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("host", "donor", "part", "mode", "first", "last", "class")
NEEDS = "answers"

Measure = Literal["balanced_accuracy", "auc", "gap"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
FEW_DRAWS = 200
"""Draws of the bootstrap for partial results."""
SPENT = 0.01
"""Balanced accuracy that freezing may cost: one percentage point."""


@dataclass(frozen=True)
class Query:
    """The host runs with `part` of the donor, in the blocks that `mode` selects.

    Modes: `single` blocks, all blocks `up_to` one, all `from` one, and every contiguous `range`.
    """

    host: PinnedCheckpoint
    donor: PinnedCheckpoint
    prompts: Prompts
    part: Part = "block"
    mode: Mode = "single"
    draws: int = 1000
    seed: int = 0

    @property
    def cost(self) -> Cost:
        """The readouts, the runs with swaps, and the bootstrap."""
        swaps = len(spans(self.part, self.mode, self.host.facts.layers))
        return cost_of_fields(self).with_fitting(0.006 * swaps * self.draws / 1000, label_logits.request(self.asked))

    @property
    def asked(self) -> LogitsQuery:
        """The query of the label logits, without the settings of the statistics."""
        return LogitsQuery(self.host, self.donor, self.prompts, self.part, self.mode)


@dataclass(frozen=True, eq=False)
class Result:
    """The host with each swap; parts outside the blocks have `first` 0 and `last` -1. NaN = undefined.

    Balanced accuracy (MOVER interval), AUC, `gap` and `mean_logit_diff` in logits as in `accuracy`;
    `fraction_recovered` places the swap's gap between host (0) and donor (1; paired bootstrap), undefined where the
    paired interval of their difference contains 0. `lost` is the balanced accuracy of the host minus that of the swap,
    with a paired interval. `levels` holds the unchanged host and donor by MEASURES; a donor without a head has NaN
    there, and no fraction recovered.
    """

    first: Int[np.ndarray, " swaps"]
    last: Int[np.ndarray, " swaps"]
    balanced_accuracy: Estimate[Float[np.ndarray, " swaps"]]
    auc: Estimate[Float[np.ndarray, " swaps"]]
    gap: Estimate[Float[np.ndarray, " swaps"]]
    mean_logit_diff: Float[np.ndarray, "swaps directions"]
    fraction_recovered: Estimate[Float[np.ndarray, " swaps"]]
    lost: Estimate[Float[np.ndarray, " swaps"]]
    levels: Float[np.ndarray, "models measures"]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per swap, and per class if there are more than two (only `mean_logit_diff` differs)."""
        directions = self.mean_logit_diff.shape[1]
        for i in range(len(self.first)):
            within = self.last[i] >= 0
            for c in range(directions):
                yield {
                    "host": query.host.label,
                    "donor": query.donor.label,
                    "part": query.part,
                    "mode": query.mode,
                    "first": int(self.first[i]) if within else None,
                    "last": int(self.last[i]) if within else None,
                    **of_class(c, directions),
                    **interval(self, "balanced_accuracy", i),
                    **interval(self, "auc", i),
                    **interval(self, "gap", i),
                    **point(self, "mean_logit_diff", i, c),
                    **interval(self, "fraction_recovered", i),
                }

    def losses(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per swap of blocks: the balanced accuracy that the host loses."""
        for i, (first, last) in enumerate(zip(self.first.tolist(), self.last.tolist(), strict=True)):
            yield {
                "host": query.host.label,
                "donor": query.donor.label,
                "part": query.part,
                "first": first,
                "last": last,
                **interval(self, "lost", i),
            }


def undefined(host: PinnedCheckpoint, donor: PinnedCheckpoint, part: Part) -> str:
    """Return why a part cannot be swapped, in one sentence; empty if it can."""
    if not host.facts.asked:
        return UNASKED
    if not host.facts.replies:
        return (
            f"{host.label} is {host.facts.headless} and answers nothing, so what a swap does to it cannot be read; "
            f"choose a host that has a head."
        )
    if part == "final_norm" and host.facts.kind == "encoder":
        return "An encoder normalizes inside its blocks, so there is no final norm to swap."
    if part == "head" and not donor.facts.replies:
        return f"{donor.label} is {donor.facts.headless}, so there is no head to take from it."
    return ""


def swaps(
    logits: Float[np.ndarray, "swaps reviews classes"],
    host: Float[np.ndarray, "reviews classes"],
    donor: Float[np.ndarray, "reviews classes"],
    labels: Labels,
    between: tuple[tuple[int, int], ...],
    draws: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> Result:
    """Measure swaps of the blocks `between` from label logits. UndefinedError if a class has no review."""
    logit_diffs = np.array([metrics.logit_diff(swapped) for swapped in logits])
    before = metrics.predictions(host)
    measured: dict[str, list[Estimate[float]]] = {}
    for i, (logit_diff, swapped) in enumerate(zip(logit_diffs, logits, strict=True)):
        progress(i / len(logits), f"Resampling swap {i + 1} of {len(logits)}, {draws:,} times.")
        for name, estimate in _estimates(
            logit_diff, metrics.predictions(swapped), before, labels, host.shape[1], draws, seed
        ):
            measured.setdefault(name, []).append(estimate)
    ends = metrics.logit_diff(host), metrics.logit_diff(donor)
    first, last = np.array(between, dtype=np.int64).T
    return Result(
        first=first,
        last=last,
        mean_logit_diff=np.array([metrics.mean_logit_diff(logit_diff) for logit_diff in logit_diffs]),
        levels=np.array([_levels(model, labels) for model in (host, donor)]),
        fraction_recovered=paired.fraction_recovered(logit_diffs, *ends, labels, draws, seed),
        **{name: stacked(estimates) for name, estimates in measured.items()},
    )


def _plain(
    logits: Float[np.ndarray, "swaps reviews classes"],
    host: Float[np.ndarray, "reviews classes"],
    donor: Float[np.ndarray, "reviews classes"],
    labels: Labels,
    between: tuple[tuple[int, int], ...],
) -> Result:
    """Measure `swaps` without resampling: all limits are NaN."""
    levels = np.array([_levels(model, labels) for model in (host, donor)])
    logit_diffs = np.array([metrics.logit_diff(swapped) for swapped in logits])
    accuracy, auc, gap = np.array([_levels(swapped, labels) for swapped in logits]).T
    recovered = paired.fraction_recovered(
        logit_diffs, metrics.logit_diff(host), metrics.logit_diff(donor), labels, FEW_DRAWS
    )
    first, last = np.array(between, dtype=np.int64).T
    values = {
        "balanced_accuracy": accuracy,
        "auc": auc,
        "gap": gap,
        "fraction_recovered": recovered.value,
        "lost": levels[0, MEASURES.index("balanced_accuracy")] - accuracy,
    }
    unknown = np.full(len(first), np.nan)
    return Result(
        first=first,
        last=last,
        mean_logit_diff=np.array([metrics.mean_logit_diff(logit_diff) for logit_diff in logit_diffs]),
        levels=levels,
        **{name: Estimate(value, unknown, unknown) for name, value in values.items()},
    )


def _estimates(
    logit_diff: metrics.LogitDiff,
    predicted: Labels,
    before: Labels,
    labels: Labels,
    classes: int,
    draws: int,
    seed: int,
) -> Iterator[tuple[str, Estimate[float]]]:
    """Return the estimates of one swap that need no other swap."""
    recalls, sizes = metrics.recalls(predicted, labels, classes), metrics.class_sizes(labels, classes)
    limits = intervals.balanced_accuracy_interval(recalls, sizes)
    yield "balanced_accuracy", Estimate(metrics.balanced_accuracy(recalls), *limits)
    yield "auc", Estimate(metrics.auc(logit_diff, labels), *intervals.auc_interval(logit_diff, labels, draws, seed))
    yield "gap", Estimate(metrics.gap(logit_diff, labels), *intervals.gap_interval(logit_diff, labels, draws, seed))
    yield "lost", paired.accuracy_lost(before, predicted, labels, classes)


def _levels(logits: Float[np.ndarray, "reviews classes"], labels: Labels) -> tuple[float, float, float]:
    """Return the MEASURES of one model; NaN without answers."""
    if np.isnan(logits).any():
        return np.nan, np.nan, np.nan
    logit_diff = metrics.logit_diff(logits)
    recalls = metrics.recalls(metrics.predictions(logits), labels, logits.shape[1])
    return metrics.balanced_accuracy(recalls), metrics.auc(logit_diff, labels), metrics.gap(logit_diff, labels)


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts with host and donor, then with every swap, then measure.

    UndefinedError for a part that cannot be swapped, or a class without reviews.
    """
    reason = undefined(query.host, query.donor, query.part)
    if reason:
        raise UndefinedError(reason)
    host, donor = lab.part(0, 8).readouts((query.host, query.donor), query.prompts)
    swapped = label_logits(query.asked, _rest(lab)).logits
    between = spans(query.part, query.mode, query.host.facts.layers)
    labels = query.prompts.labels

    def report(fraction: float, sentence: str) -> None:
        lab.progress(0.95 + 0.05 * fraction, sentence)

    result = swaps(swapped, host.logits, donor.logits, labels, between, query.draws, query.seed, report)
    lab.progress(1.0, f"Measured the swaps of {query.donor.label} into {query.host.label}.")
    return result


def under_way(query: Query, lab: Lab) -> tuple[Result, int] | None:
    """Return the partial result of a running query, without intervals, and its number of reviews.

    None if the query is not running, or some class has no finished review yet.
    """
    pair = (query.host, query.donor)
    ends = [collect.peek(ReadoutQuery(checkpoint, query.prompts.seen_by(checkpoint)), lab) for checkpoint in pair]
    partial = logits_so_far(query.asked, lab)
    if partial is None or ends[0] is None or ends[1] is None:
        return None
    done, logits = partial
    host, donor, labels = (values[done] for values in (ends[0].logits, ends[1].logits, query.prompts.labels))
    if not np.bincount(labels, minlength=query.prompts.classes).all():
        return None
    return _plain(logits, host, donor, labels, spans(query.part, query.mode, query.host.facts.layers)), len(done)


def _rest(lab: Lab) -> Lab:
    """Report progress from one eighth on: readouts take little time compared with swaps."""
    return lab.watched(lambda fraction, sentence: lab.progress(1 / 8 + 0.8 * fraction, sentence))


def frozen_prefix(result: Result, spent: float = SPENT) -> int | None:
    """Return the index of the swap with the deepest prefix that loses at most `spent` of balanced accuracy.

    For a result of mode `up_to` whose donor is the start of training. None if block 0 alone loses more.
    """
    fits = np.flatnonzero(result.lost.value <= spent + metrics.FLOAT_NOISE)
    return int(fits[-1]) if len(fits) else None


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return queries of reference and last checkpoint, both ways: all modes for blocks, single for other parts.

    Parts that a model lacks are left out: an encoder's final norm, a missing head. KeyError for an unknown label.
    """
    ends = study.checkpoint(reference), study.epochs[-1]
    pairs = [] if ends[0] == ends[1] else [ends, ends[::-1]]
    return [
        Query(host, donor, study.prompts, part, mode)
        for host, donor in pairs
        for part in PARTS
        if not undefined(host, donor, part)
        for mode in (MODES if part == "block" else MODES[:1])
    ]
