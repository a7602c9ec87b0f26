"""Costs of interventions on next-token predictions: perplexity, loss and KL per token, and resamples of texts."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from backend.lab.outputs import SideEffects
from backend.stats import metrics

MEASURES = ("perplexity", "loss_change", "kl_from_plain")


def costs(effects: SideEffects, counts: Float[np.ndarray, "draws texts"]) -> Float[np.ndarray, "draws measures tried"]:
    """Return MEASURES of each intervention in each resample of the texts; all tokens weigh the same."""
    tokens = (counts @ effects.predicted)[:, None]
    plain, loss, kl = (counts @ x.T.astype(np.float64) for x in (effects.plain_loss[None], effects.loss, effects.kl))
    return np.stack(
        [np.exp(metrics.ratio(loss, tokens)), metrics.ratio(loss - plain, tokens), metrics.ratio(kl, tokens)], axis=1
    )
