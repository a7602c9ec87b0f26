"""Find what training changed: weights, class direction, layers, and the block that matters most."""

from __future__ import annotations

import numpy as np
import scipy

from backend.analyses import cka_grid, swaps, weights
from backend.reports.evidence import Asks, Finding, direction_requests
from backend.stats import intervals
from backend.stats.cka import FEWEST
from backend.study.comparison import Comparison

UNEVEN = 1.1
"""Change of the most changed block over the median block from which it is a finding."""


def changed_weights(case: Comparison) -> Asks:
    """Find the block whose weights changed most, if blocks differ."""
    if case.last == case.against:
        yield []
        return None
    last = case.study.checkpoints[case.last]
    (result,) = yield [weights.recipe.request(weights.Query(last, case.reference))]
    blocks = result.by_block()
    known = blocks[np.isfinite(blocks)]
    if len(known) < 2 or known.max() <= UNEVEN * np.median(known):
        return None
    most = int(np.nanargmax(blocks))
    ranks = result.stable_rank[result.layer == most]
    rank = f", in about {np.nanmedian(ranks):.0f} directions each" if np.isfinite(ranks).any() else ""
    return Finding(
        f"From {case.reference.label} to {last.label} the weights changed most in block {most}: by "
        f"{100 * known.max():.3g} % of their norm on average{rank} (blocks range from {100 * known.min():.3g} to "
        f"{100 * known.max():.3g} %).",
        float(known.max()),
        float(known.min()),
        float(known.max()),
        "",
        {"epoch": last.label, "more": "weights"},
        series=tuple(blocks.tolist()),
        at=most,
        picture="weight-changes",
    )


def turned(case: Comparison) -> Asks:
    """Find out whether the last checkpoint has another class direction than the reference."""
    if case.last == case.against:
        yield []
        return None
    (result,) = yield [direction_requests(case)[case.last]]
    high = result.cosine_to_base_split.high[:, -1]
    if not (high < 1).all():
        return None
    c = int(np.argmax(high))  # of several classes, the one whose direction turned least
    value, low, _ = (float(end[c, -1]) for end in result.cosine_to_base_split.ends)
    name = case.names[case.last]
    return Finding(
        f"At the last layer {name} separates {_apart(case, c)} along another direction than "
        f"{case.reference.label}: their cosine is {value:.2f} ({low:.2f} to {float(high[c]):.2f}), and 1 is the same.",
        value,
        low,
        float(high[c]),
        "layers",
        {"epoch": name, "show": "cosines", **case.of_class(c)},
        series=tuple(result.cosine_to_base_split.value[c].tolist()),
        at=result.cosine_to_base_split.value.shape[1] - 1,
        picture="cosine-curves",
    )


def rearranged(case: Comparison) -> Asks:
    """Find the layer where last checkpoint and reference are least similar, if it is surely less than at any other."""
    if case.last == case.against or len(case.study.sample.text) < FEWEST:
        yield []
        return None
    last = case.study.checkpoints[case.last]
    (result,) = yield [
        cka_grid.recipe.request(cka_grid.Query(last, case.reference, case.study.prompts, case.drop_largest))
    ]
    value, low, high = (np.diagonal(end) for end in result.cka.ends)
    if not np.isfinite(value).any():
        return None
    least, most = int(np.nanargmin(value)), int(np.nanargmax(value))
    if not high[least] < np.nanmin(np.delete(low, least)):
        return None  # the order of such layers is a coin toss
    return Finding(
        f"From {case.reference.label} to {last.label} layer {least} changed most: its CKA is "
        f"{value[least]:.2f} ({low[least]:.2f} to {high[least]:.2f}), against {value[most]:.2f} at layer {most}, the "
        f"highest (1 is unchanged).",
        float(value[least]),
        float(low[least]),
        float(high[least]),
        "layers",
        {"epoch": last.label, "show": "similarity"},
        series=tuple(value.tolist()),
        at=least,
        picture="similarity-cka",
    )


def carrying_block(case: Comparison) -> Asks:
    """Find the block whose restoration alone undoes most of the gap between the classes, surely more than any other."""
    host, donor = case.study.checkpoints[case.last], case.reference
    if case.last == case.against or any(swaps.undefined(*way, "block") for way in ((host, donor), (donor, host))):
        yield []
        return None
    (result,) = yield [swaps.recipe.request(swaps.Query(host, donor, case.study.prompts))]
    block = _leading_block(result)
    if block is None:
        return None
    value, low, high = (float(end[block]) for end in result.fraction_recovered.ends)
    other = float(np.nanmax(np.delete(result.fraction_recovered.value, block)))
    before, after = 100 * float(result.levels[0, 0]), 100 * float(result.balanced_accuracy.value[block])
    return Finding(
        f"Putting only block {block} of {host.label} back to {donor.label} undoes {100 * value:.0f} % of the gap "
        f"between the classes ({100 * low:.0f} to {100 * high:.0f}); balanced accuracy goes from {before:.1f} to "
        f"{after:.1f} %; any other block undoes at most {100 * other:.0f} %.",
        value,
        low,
        high,
        "swaps",
        {"epoch": host.label, "host": host.label, "donor": donor.label, "mode": "single", "part": "block"},
        series=tuple(result.fraction_recovered.value.tolist()),
        at=block,
        picture="single-fraction_recovered",
    )


def _leading_block(result: swaps.Result) -> int | None:
    """Return the block that recovers most, if surely more than 0 and than any other; corrected for the choice."""
    blocks = len(result.fraction_recovered.value)
    if blocks < 2 or np.isnan(result.fraction_recovered.value).all():
        return None
    best = int(np.nanargmax(result.fraction_recovered.value))
    wider = scipy.special.ndtri(1 - (1 - intervals.LEVEL) / 2 / blocks) / scipy.special.ndtri((1 + intervals.LEVEL) / 2)
    middle, lowest, _ = (end[best] for end in result.fraction_recovered.ends)
    low = middle - wider * (middle - lowest)
    return best if low > max(0.0, float(np.nanmax(np.delete(result.fraction_recovered.value, best)))) else None


def _apart(case: Comparison, c: int) -> str:
    return "the classes" if len(case.words) == 2 else f"{case.words[c]} and the other classes"
