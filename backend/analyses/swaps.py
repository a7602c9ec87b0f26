"""Which parts carry what training changed? A host with parts of a donor: single blocks, from either end, ranges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Float32, Int

from backend import intervals, metrics, paired
from backend.errors import UndefinedError
from backend.lab import Lab, PinnedCheckpoint, PinnedStudy, Progress, Prompts, silent
from backend.memo import memoized
from backend.metrics import Labels
from backend.readings import Swap
from backend.tidy import interval, of_class, point

Part = Literal["block", "attn", "mlp", "embed", "final_norm", "head"]
Mode = Literal["single", "up_to", "from", "range"]
Measure = Literal["balanced_accuracy", "auc", "gap"]
PARTS: tuple[Part, ...] = get_args(Part)
MODES: tuple[Mode, ...] = get_args(Mode)
MEASURES: tuple[Measure, ...] = get_args(Measure)
IN_BLOCKS: tuple[Part, ...] = ("block", "attn", "mlp")
"""The parts that every block has; the others are there once, and swap in mode single only."""
SPENT = 0.01
"""Balanced accuracy that freezing may cost: one point."""


@dataclass(frozen=True)
class Query:
    """The host runs, with `part` taken from the donor, in the blocks that `mode` goes through.

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
    def passes(self) -> float:
        """Roughly how often the prompts pass the host because of this query, for the estimate of what it costs."""
        return float(len(spans(self.part, self.mode, self.host.facts.layers))) * (0.4 if self.mode == "range" else 0.6)


@dataclass(frozen=True, eq=False)
class Result:
    """The host with each swap; what is not of a block has `first` 0 and `last` -1. NaN = undefined.

    Balanced accuracy (MOVER interval), AUC, `gap` and `mean_lens` in logits as in `accuracy`; `recovered` is how much
    of the way from the host's gap to the donor's a swap goes (0 host, 1 donor; paired bootstrap), undefined where the
    paired interval of their difference contains 0. `lost` is balanced accuracy of the host minus that of the swap, with
    a paired interval. `levels` holds host and donor as they are, by MEASURES; a donor without a head has none, and
    nothing can be recovered of it.
    """

    first: Int[np.ndarray, " swaps"]
    last: Int[np.ndarray, " swaps"]
    balanced_accuracy: Float[np.ndarray, " swaps"]
    balanced_accuracy_low: Float[np.ndarray, " swaps"]
    balanced_accuracy_high: Float[np.ndarray, " swaps"]
    auc: Float[np.ndarray, " swaps"]
    auc_low: Float[np.ndarray, " swaps"]
    auc_high: Float[np.ndarray, " swaps"]
    gap: Float[np.ndarray, " swaps"]
    gap_low: Float[np.ndarray, " swaps"]
    gap_high: Float[np.ndarray, " swaps"]
    mean_lens: Float[np.ndarray, "swaps directions"]
    recovered: Float[np.ndarray, " swaps"]
    recovered_low: Float[np.ndarray, " swaps"]
    recovered_high: Float[np.ndarray, " swaps"]
    lost: Float[np.ndarray, " swaps"]
    lost_low: Float[np.ndarray, " swaps"]
    lost_high: Float[np.ndarray, " swaps"]
    levels: Float[np.ndarray, "models measures"]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """One row per swap, and per class where there are more than two (only `mean_lens` differs)."""
        directions = self.mean_lens.shape[1]
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
                    **point(self, "mean_lens", i, c),
                    **interval(self, "recovered", i),
                }

    def losses(self, query: Query) -> Iterator[dict[str, Any]]:
        """One row per swap of blocks: the balanced accuracy that it costs the host, which freeze advice rests on."""
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
    """Why a part cannot be swapped, in one sentence; empty where it can."""
    if not host.facts.has_head:
        return (
            f"{host.label} is an encoder without a classification head and answers nothing, so what a swap does to it "
            f"cannot be read; choose a host that has a head."
        )
    if part == "final_norm" and host.facts.kind == "encoder":
        return "An encoder normalizes inside its blocks, so there is no final norm to swap."
    if part == "head" and not donor.facts.has_head:
        return f"{donor.label} is an encoder without a classification head, so there is no head to take from it."
    return ""


def spans(part: Part, mode: Mode, layers: int) -> tuple[tuple[int, int], ...]:
    """First and last block of each swap; (0, -1) for a part that is in no block. ValueError for modes it has not."""
    if part not in IN_BLOCKS:
        if mode != "single":
            raise ValueError(f"{part} is there once, so it has no mode {mode}.")
        return ((0, -1),)
    blocks = range(layers)
    return {
        "single": tuple((block, block) for block in blocks),
        "up_to": tuple((0, block) for block in blocks),
        "from": tuple((block, layers - 1) for block in blocks),
        "range": tuple((first, last) for first in blocks for last in range(first, layers)),
    }[mode]


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
    """Measure swaps of the blocks `between`, given label logits. UndefinedError if a class has no review."""
    lenses = np.array([metrics.lens(one) for one in logits])
    before = metrics.predictions(host)
    measured: dict[str, list[tuple[float, float, float]]] = {}
    for i, (lens, one) in enumerate(zip(lenses, logits, strict=True)):
        progress(i / len(logits), f"Resampling swap {i + 1} of {len(logits)}, {draws:,} times.")
        for name, triple in _triples(lens, metrics.predictions(one), before, labels, host.shape[1], draws, seed):
            measured.setdefault(name, []).append(triple)
    found = {name: tuple(np.array(rows, dtype=np.float64).T) for name, rows in measured.items()}
    ends = metrics.lens(host), metrics.lens(donor)
    recovered, limits = paired.recovered(lenses, *ends, labels, draws, seed)
    found["recovered"] = (recovered, *limits)
    first, last = np.array(between, dtype=np.int64).T
    return Result(
        first=first,
        last=last,
        mean_lens=np.array([metrics.mean_lens(lens) for lens in lenses]),
        levels=np.array([_levels(one, labels) for one in (host, donor)]),
        **{f"{name}{end}": of[i] for name, of in found.items() for i, end in enumerate(("", "_low", "_high"))},
    )


def _triples(
    lens: metrics.Lens, predicted: Labels, before: Labels, labels: Labels, classes: int, draws: int, seed: int
) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Value and interval of all that is measured of one swap by itself."""
    recalls, sizes = metrics.recalls(predicted, labels, classes), metrics.class_sizes(labels, classes)
    limits = intervals.balanced_accuracy_interval(recalls, sizes)
    yield "balanced_accuracy", (metrics.balanced_accuracy(recalls), *limits)
    yield "auc", (metrics.auc(lens, labels), *intervals.auc_interval(lens, labels, draws, seed))
    yield "gap", (metrics.gap(lens, labels), *intervals.gap_interval(lens, labels, draws, seed))
    yield "lost", paired.accuracy_lost(before, predicted, labels, classes)


def _levels(logits: Float[np.ndarray, "reviews classes"], labels: Labels) -> tuple[float, float, float]:
    """One model by MEASURES; NaN for one that does not answer."""
    if np.isnan(logits).any():
        return np.nan, np.nan, np.nan
    lens = metrics.lens(logits)
    recalls = metrics.recalls(metrics.predictions(logits), labels, logits.shape[1])
    return metrics.balanced_accuracy(recalls), metrics.auc(lens, labels), metrics.gap(lens, labels)


@dataclass(frozen=True)
class LogitsQuery:
    """What the models are asked for; a `Query` without what is done with it."""

    host: PinnedCheckpoint
    donor: PinnedCheckpoint
    prompts: Prompts
    part: Part
    mode: Mode


@dataclass(frozen=True, eq=False)
class Logits:
    """Label logits of the host with each swap, in the order of `spans`."""

    logits: Float32[np.ndarray, "swaps reviews classes"]


@memoized(version=1)
def logits(query: LogitsQuery, lab: Lab) -> Logits:
    """Run the host with each swap. Ranges that touch an end or are one block come from the other modes' results."""
    host, donor, part = query.host, query.donor, query.part
    if part in ("final_norm", "head"):
        last = lab.part(0, 2).readout(host, query.prompts).residuals[:, -1]
        head, norm = (donor, host) if part == "head" else (host, donor)
        between = norm if host.facts.kind == "causal" else None
        found = lab.models.label_logits(last, query.prompts.label_tokens, head, between, lab.part(1, 2).progress)
        return Logits(found[None])
    wanted = spans(part, query.mode, host.facts.layers)
    known: dict[tuple[int, int], np.ndarray] = {}
    if query.mode == "range":
        for i, mode in enumerate(MODES[:-1]):
            other = logits(LogitsQuery(host, donor, query.prompts, part, mode), lab.part(i, len(MODES)))
            known |= zip(spans(part, mode, host.facts.layers), other.logits, strict=True)
        lab = lab.part(len(MODES) - 1, len(MODES))
    rest = tuple(span for span in wanted if span not in known)
    plan = tuple(Swap(part, *span) for span in rest)
    if plan:
        known |= zip(rest, lab.models.swaps(host, donor, plan, query.prompts, lab.progress), strict=True)
    return Logits(np.stack([known[span] for span in wanted]))


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts with host and donor as they are, then with every swap, then measure.

    UndefinedError for what cannot be swapped, or if a class has no review.
    """
    reason = undefined(query.host, query.donor, query.part)
    if reason:
        raise UndefinedError(reason)
    host, donor = lab.part(0, 8).readouts((query.host, query.donor), query.prompts)
    asked = LogitsQuery(query.host, query.donor, query.prompts, query.part, query.mode)
    swapped = logits(asked, _rest(lab)).logits
    between = spans(query.part, query.mode, query.host.facts.layers)
    labels = query.prompts.labels

    def report(fraction: float, sentence: str) -> None:
        lab.progress(0.95 + 0.05 * fraction, sentence)

    result = swaps(swapped, host.logits, donor.logits, labels, between, query.draws, query.seed, report)
    lab.progress(1.0, f"Swaps of {query.donor.label} into {query.host.label} are measured.")
    return result


def _rest(lab: Lab) -> Lab:
    """The bar from an eighth on: readouts take little beside swaps."""
    return lab.watched(lambda fraction, sentence: lab.progress(1 / 8 + 0.8 * fraction, sentence))


def frozen_prefix(result: Result, spent: float = SPENT) -> int | None:
    """Where freezing may end: the swap of the deepest prefix that loses at most `spent` of balanced accuracy.

    For a result of mode `up_to` whose donor is the model that training started from. None if even block 0 loses more.
    """
    fits = np.flatnonzero(result.lost <= spent + metrics.FLOAT_NOISE)
    return int(fits[-1]) if len(fits) else None


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Reference and last checkpoint, both ways: all modes for blocks, single for the rest; KeyError without it.

    What an encoder lacks is left out: the final norm, and whatever needs a head that is not there.
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
