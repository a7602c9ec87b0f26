"""Findings of what training changed: which weights, which way the direction turned, which layer, which block counts."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from backend.analyses import cka_grid, swaps, weights
from backend.reports.evidence import Asks, Finding, direction_requests
from backend.stats import intervals
from backend.stats.cka import FEWEST
from backend.study.comparison import Comparison

UNEVEN = 1.1
"""How much more than the median block the most changed one has changed before that is worth a sentence."""


def changed_weights(case: Comparison) -> Asks:
    """Which block's weights changed most, if blocks differ."""
    if case.last == case.against:
        yield []
        return None
    last = case.study.checkpoints[case.last]
    (found,) = yield [weights.recipe.request(weights.Query(last, case.reference))]
    blocks = found.by_block()
    there = blocks[np.isfinite(blocks)]
    if len(there) < 2 or there.max() <= UNEVEN * np.median(there):
        return None
    most = int(np.nanargmax(blocks))
    ranks = found.stable_rank[found.layer == most]
    rank = f", in about {np.nanmedian(ranks):.0f} directions each" if np.isfinite(ranks).any() else ""
    return Finding(
        f"From {case.reference.label} to {last.label} the weights changed most in block {most}: its matrices by "
        f"{100 * there.max():.3g} % of their norm on average{rank}; over the blocks it is {100 * there.min():.3g} to "
        f"{100 * there.max():.3g} %.",
        float(there.max()),
        float(there.min()),
        float(there.max()),
        "",
        {"epoch": last.label},
    )


def turned(case: Comparison) -> Asks:
    """Whether the last checkpoint tells the classes apart along another direction than the reference."""
    if case.last == case.against:
        yield []
        return None
    (found,) = yield [direction_requests(case)[case.last]]
    high = found.cosine_to_base_split.high[:, -1]
    if not (high < 1).all():
        return None
    c = int(np.argmax(high))  # of several classes, the one whose direction turned least
    value, low, _ = (float(end[c, -1]) for end in found.cosine_to_base_split.ends)
    name = case.names[case.last]
    return Finding(
        f"At the last layer {name} tells {_apart(case, c)} along another direction than {case.reference.label}: their "
        f"cosine is {value:.2f} ({low:.2f} to {float(high[c]):.2f}), and 1 would be the same direction.",
        value,
        low,
        float(high[c]),
        "layers",
        {"epoch": name, "show": "cosines", **case.of_class(c)},
    )


def rearranged(case: Comparison) -> Asks:
    """At which layer the last checkpoint arranges the reviews least as the reference does, if layers differ in that."""
    if case.last == case.against or len(case.study.sample.text) < FEWEST:
        yield []
        return None
    last = case.study.checkpoints[case.last]
    (found,) = yield [
        cka_grid.recipe.request(cka_grid.Query(last, case.reference, case.study.prompts, case.drop_largest))
    ]
    value, low, high = (np.diagonal(end) for end in found.cka.ends)
    if not np.isfinite(value).any():
        return None
    least, most = int(np.nanargmin(value)), int(np.nanargmax(value))
    if not high[least] < low[most]:
        return None
    return Finding(
        f"From {case.reference.label} to {last.label} the reviews were rearranged most at layer {least}: CKA is "
        f"{value[least]:.2f} there ({low[least]:.2f} to {high[least]:.2f}) and {value[most]:.2f} at layer {most}, "
        f"where it is highest; 1 would be unchanged.",
        float(value[least]),
        float(low[least]),
        float(high[least]),
        "layers",
        {"epoch": last.label, "show": "similarity"},
    )


def carrying_block(case: Comparison) -> Asks:
    """Which block carries most of what training did: put back alone, or put alone into the reference."""
    last = case.study.checkpoints[case.last]
    ways = [(last, case.reference), (case.reference, last)]
    if case.last == case.against or any(swaps.undefined(*way, "block") for way in ways):
        yield []
        return None
    found = yield [swaps.recipe.request(swaps.Query(*way, case.study.prompts)) for way in ways]
    leading = [_leading_block(one) for one in found]
    back, block = next(((i == 0, at) for i, at in enumerate(leading) if at is not None), (False, None))
    if block is None:
        return None
    host, donor = ways[0 if back else 1]
    one = found[0 if back else 1]
    value, low, high = (float(end[block]) for end in one.fraction_recovered.ends)
    other = float(np.nanmax(np.delete(one.fraction_recovered.value, block)))
    did = (
        f"Putting block {block} alone of {host.label} back to {donor.label} undoes {100 * value:.0f} %"
        if back
        else f"Block {block} of {donor.label}, put alone into {host.label}, brings {100 * value:.0f} %"
    )
    return Finding(
        f"{did} of what training did to the gap between the classes ({100 * low:.0f} to {100 * high:.0f}); "
        f"any other block alone at most {100 * other:.0f} %.",
        value,
        low,
        high,
        "swaps",
        {"epoch": last.label, "host": host.label, "donor": donor.label, "mode": "single", "part": "block"},
    )


def _leading_block(found: swaps.Result) -> int | None:
    """The block that recovers most, if that is surely more than nothing and than any other: it was picked among all."""
    blocks = len(found.fraction_recovered.value)
    if blocks < 2 or np.isnan(found.fraction_recovered.value).all():
        return None
    best = int(np.nanargmax(found.fraction_recovered.value))
    wider = ndtri(1 - (1 - intervals.LEVEL) / 2 / blocks) / ndtri((1 + intervals.LEVEL) / 2)
    middle, lowest, _ = (end[best] for end in found.fraction_recovered.ends)
    low = middle - wider * (middle - lowest)
    return best if low > max(0.0, float(np.nanmax(np.delete(found.fraction_recovered.value, best)))) else None


def _apart(case: Comparison, c: int) -> str:
    return "the classes apart" if len(case.words) == 2 else f"{case.words[c]} and the other classes apart"
