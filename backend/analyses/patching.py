"""Where in a text does the changed behaviour arise? Activation patching of each residual, from donor to host.

One residual of the host's run, at one layer and one token, is replaced by the donor's residual at the same place. The
fraction recovered is the share of the logit difference between host and donor that this one residual carries over.
`recipe` is for reviews of the sample; `typed`, for texts that a user types, keeps nothing on disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from backend.caching.memoize import memoized
from backend.errors import UndefinedError
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.stats import metrics
from backend.stats.rows import cell, of_class
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.kinds import UNASKED
from backend.study.token_ids import Prompts

LEAST = 0.1
"""Least difference of host and donor (nats) with a defined fraction recovered: their odds differ by a tenth."""
LogitDiff = Float[np.ndarray, " directions"]


@dataclass(frozen=True)
class Query:
    """Host and donor; the host reads the first of `prompts` with residuals of the donor."""

    host: PinnedCheckpoint
    donor: PinnedCheckpoint
    prompts: Prompts

    @property
    def cost(self) -> Cost:
        """The readouts, and roughly how often the prompt passes the host with patches."""
        tokens, blocks = float(self.prompts.lengths[0]), self.host.facts.layers
        times = tokens * (blocks + 1) / (4 if self.host.facts.kind == "causal" else 2)
        return cost_of_fields(self).with_passes(self.host, self.prompts, times)


@dataclass(frozen=True, eq=False)
class Result:
    """Two classes have one direction (class 1 - class 0), more have one per class.

    `logit_diff` (nats) is the host's with the donor's residual at layer l, token t. `host` and `donor` are the logit
    differences of the unpatched runs, NaN for a donor without a head. `fraction_recovered` is 0 at the host and 1 at
    the donor (it can be negative or pass 1), NaN where the two are less than LEAST apart.
    """

    logit_diff: Float[np.ndarray, "layers tokens directions"]
    fraction_recovered: Float[np.ndarray, "layers tokens directions"]
    host: LogitDiff
    donor: LogitDiff

    def rows(self, query: Query, pieces: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield one row per token and layer (and class, if more than two); `pieces` are the tokens as text."""
        layers, tokens, directions = self.logit_diff.shape
        for t in range(tokens):
            for layer in range(layers):
                for c in range(directions):
                    yield {
                        "host": query.host.label,
                        "donor": query.donor.label,
                        "position": t,
                        "token": pieces[t],
                        "layer": layer,
                        **of_class(c, directions),
                        "logit_diff": cell(self.logit_diff[layer, t, c]),
                        "logit_diff_host": cell(self.host[c]),
                        "logit_diff_donor": cell(self.donor[c]),
                        "fraction_recovered": cell(self.fraction_recovered[layer, t, c]),
                    }


def patching(
    logits: Float32[np.ndarray, "layers tokens classes"],
    host: Float32[np.ndarray, " classes"],
    donor: Float32[np.ndarray, " classes"],
    least: float = LEAST,
) -> Result:
    """Compute logit difference and fraction recovered from label logits of patched and unpatched runs."""
    logit_diff = metrics.logit_diff(logits.reshape(-1, logits.shape[2])).reshape(*logits.shape[:2], -1)
    ends = [metrics.logit_diff(model[None])[0] for model in (host, donor)]
    apart = ends[1] - ends[0]
    apart = np.where(np.abs(apart) < least, np.nan, apart)
    return Result(logit_diff=logit_diff, fraction_recovered=(logit_diff - ends[0]) / apart, host=ends[0], donor=ends[1])


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Patch a review of the sample. UndefinedError if the host has no head."""
    return _patched(query, lab)


@memoized(version=1, private=True)
def typed(query: Query, lab: Lab) -> Result:
    """Patch a typed text; nothing goes to disk. UndefinedError if the host has no head."""
    return _patched(query, lab)


def _patched(query: Query, lab: Lab) -> Result:
    if not query.host.facts.asked:
        raise UndefinedError(UNASKED)
    if not query.host.facts.replies:
        raise UndefinedError(
            f"{query.host.label} is {query.host.facts.headless} and answers nothing, so no residual of "
            f"{query.donor.label} can change its answer."
        )
    read = lab.models.patch(query.host, query.donor, query.prompts, lab.progress)
    return patching(read.logits, read.host, read.donor)
