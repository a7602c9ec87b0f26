"""Does a block write something new because its weights changed, or because its input did? Both shares of each block.

At the readout position block f adds f(x) to the residual stream. (The blocks of an encoder normalize their output:
there f(x) is the output minus the input.) f_b is the reference's block and x_b its stream; f_c and x_c are those of
the checkpoint. The change is f_c(x_c) - f_b(x_b), the sum of

    own          f_c(x_b) - f_b(x_b)   the new weights on the old stream
    inherited    f_b(x_c) - f_b(x_b)   the old weights on the new stream
    interaction  the rest              the new weights amplify or damp the change of the stream

A share is a part's projection on the whole change, summed over reviews; the three shares sum to 1, and one can be
negative or above 1 where parts work against each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.errors import UndefinedError
from backend.lab.cost import Cost
from backend.lab.lab import Lab
from backend.stats import intervals, metrics
from backend.stats.estimate import Estimate, stacked
from backend.stats.rows import cell, interval
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "layer", "scope")

PARTS = ("own", "inherited", "interaction")
SCOPES = ("change", "differences")
Crossed = Float[np.ndarray, "reviews blocks 2 2 width"]
PerBlock = Float[np.ndarray, "scopes blocks"]


@dataclass(frozen=True)
class Query:
    """The checkpoint whose blocks changed, and the reference."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    draws: int = 1000
    seed: int = 0

    @property
    def cost(self) -> Cost:
        """Each block of both models reads the residuals of both."""
        return Cost().with_passes(self.reference, self.prompts, 0.8).with_passes(self.checkpoint, self.prompts, 0.8)


@dataclass(frozen=True, eq=False)
class Result:
    """Per block, in two scopes: the whole change, and only the differences between reviews (mean subtracted).

    `total`, `own`, `inherited` and `interaction` are root mean square l2 norms over reviews, in residual units; the
    shares have 95 % stratified bootstrap intervals and are NaN where nothing changed.
    """

    total: PerBlock
    own: PerBlock
    inherited: PerBlock
    interaction: PerBlock
    own_share: Estimate[PerBlock]
    inherited_share: Estimate[PerBlock]
    interaction_share: Estimate[PerBlock]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per block (`layer` is its input layer) and scope."""
        scopes, blocks = self.total.shape
        for block in range(blocks):
            for s in range(scopes):
                norms = {name: cell(getattr(self, name)[s, block]) for name in ("total", *PARTS)}
                shares = [interval(self, f"{name}_share", s, block) for name in PARTS]
                yield (
                    {"checkpoint": query.checkpoint.label, "layer": block, "scope": SCOPES[s]}
                    | norms
                    | {key: value for share in shares for key, value in share.items()}
                )


def inherited(updates: Crossed, labels: metrics.Labels, draws: int = 1000, seed: int = 0) -> Result:
    """Split every block's change; `updates` are [..., whose block, whose residuals], 0 the reference."""
    crossed = updates.astype(np.float64)
    old, total = crossed[:, :, 0, 0], crossed[:, :, 1, 1] - crossed[:, :, 0, 0]
    columns: dict[str, list[Any]] = {}
    own, inward = crossed[:, :, 1, 0] - old, crossed[:, :, 0, 1] - old
    split = {"total": total, "own": own, "inherited": inward, "interaction": total - own - inward}
    for centred in (False, True):
        vectors = {name: v - v.mean(axis=0) if centred else v for name, v in split.items()}
        for name, v in vectors.items():
            columns.setdefault(name, []).append(np.sqrt(metrics.squared_norm(v).mean(axis=0)))
        along = np.stack([np.vecdot(vectors[name], vectors["total"]) for name in PARTS])  # [parts, reviews, blocks]
        whole = metrics.squared_norm(vectors["total"])

        def shares(counts: np.ndarray, along: np.ndarray = along, whole: np.ndarray = whole) -> np.ndarray:
            """[draws, parts, blocks]."""
            return metrics.ratio(np.einsum("dr,prb->dpb", counts, along), (counts @ whole)[:, None])

        values = shares(np.ones((1, len(labels))))[0]
        low, high = intervals.bootstrap(lambda counts: shares(counts.astype(np.float64)), labels, draws, seed)
        for i, name in enumerate(PARTS):
            columns.setdefault(f"{name}_share", []).append(Estimate(values[i], low[i], high[i]))
    put_together = {True: stacked, False: np.stack}
    return Result(**{name: put_together[name.endswith("_share")](scopes) for name, scopes in columns.items()})


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Run both models side by side, each block on both streams; the vectors are not stored."""
    if not query.prompts.at_one_token:
        raise UndefinedError(
            "Blocks are compared at one token of the prompt, and the study reads a mean or a generated token; set "
            'prompt.position = "last" or "text_end".'
        )

    def report(fraction: float, sentence: str) -> None:
        lab.progress(0.9 * fraction, sentence)

    updates = lab.models.crossed_updates(query.checkpoint, query.reference, query.prompts, report)
    lab.progress(0.9, f"Resampling the blocks of {query.checkpoint.label} {query.draws:,} times.")
    result = inherited(updates, query.prompts.labels, query.draws, query.seed)
    lab.progress(1.0, f"Compared the blocks of {query.checkpoint.label}.")
    return result


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint except the reference; KeyError if no checkpoint has its label."""
    against = study.checkpoint(reference)
    return [Query(checkpoint, against, study.prompts) for checkpoint in study.checkpoints if checkpoint != against]
