"""Which parts write the answer? The final logit difference as an exact sum over embeddings, heads and MLPs.

The final norm divides by one number per review, which is kept fixed. Everything else is linear, so the contributions of
all parts sum to the label logits. A contribution is direct: later parts may use or undo it. Because the scale is fixed,
it does not predict what ablating the part would do. Of label words of several tokens, the first tokens are split, and
the other tokens are a part of their own. With more than two classes the logit difference is not a sum (it
has a logsumexp); the logit minus the mean of the other logits replaces it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from backend.caching.memoize import memoized
from backend.lab.cost import Cost, size
from backend.lab.lab import Lab
from backend.lab.outputs import Contributions
from backend.stats import intervals, metrics, resampling
from backend.stats.estimate import Estimate
from backend.stats.rows import interval
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "part", "layer", "head", "label")
NEEDS = "answers"

OUTSIDE = -1
Place = tuple[str, int, int]
"""Name of a part, its block and its head; OUTSIDE where it has none."""


@dataclass(frozen=True)
class Query:
    """The checkpoint, and the reference that `change` is measured from."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    draws: int = 1000
    seed: int = 0

    @property
    def cost(self) -> Cost:
        """The parts of both models, and the bootstrap."""
        each = [one for one in (self.checkpoint, self.reference) if one.facts.has_head]
        steps = [collect.request(CollectQuery(one, self.prompts)) for one in each]
        return Cost().with_fitting(0.02 * size(self.checkpoint, self.prompts), *steps)


@dataclass(frozen=True, eq=False)
class Result:
    """Contribution of each part to the logit difference, in logits, with 95 % stratified bootstrap intervals.

    The intervals of `change` are paired: both checkpoints have the same resamples.

    `part` is embed (with positions), head, attn_bias (the bias of the attention's output), mlp, norm_bias (of the
    final norm and the head), or later_tokens (the log-probability of each word after its first token); `block` and
    `head` are -1 where it has none. `mean` is the mean over the reviews of each class (more than two: of the share in
    that class's own logit against the others'), `gap` that over class 1 minus that over class 0 (more: averaged over
    classes), `change` the gap minus the reference's, NaN if that has no head. The gaps of all parts sum to `total_gap`,
    with two classes the gap of the model's own logit difference.
    """

    part: tuple[str, ...]
    block: Int[np.ndarray, " parts"]
    head: Int[np.ndarray, " parts"]
    mean: Estimate[Float[np.ndarray, "parts classes"]]
    gap: Estimate[Float[np.ndarray, " parts"]]
    change: Estimate[Float[np.ndarray, " parts"]]
    total_gap: float

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per part and class (`label`); values of the whole part repeat."""
        for i, part in enumerate(self.part):
            for c in range(self.mean.value.shape[1]):
                yield {
                    "checkpoint": query.checkpoint.label,
                    "part": part,
                    "layer": _or_empty(self.block[i]),
                    "head": _or_empty(self.head[i]),
                    "label": c,
                    **({"class": c} if self.mean.value.shape[1] > 2 else {}),
                    **interval(self, "mean", i, c),
                    **interval(self, "gap", i),
                    **interval(self, "change", i),
                }


def _or_empty(place: np.integer[Any]) -> int | None:
    return None if place == OUTSIDE else int(place)


def parts(contributions: Contributions) -> tuple[tuple[Place, ...], Float[np.ndarray, "reviews parts classes"]]:
    """Return the parts in model order, and the contribution of each to every label logit."""
    reviews, blocks, heads, classes = contributions.heads.shape
    places: list[Place] = [("embed", OUTSIDE, OUTSIDE)]
    values = [contributions.embed[:, None]]
    for block in range(blocks):
        places += [("head", block, head) for head in range(heads)]
        places += [("attn_bias", block, OUTSIDE), ("mlp", block, OUTSIDE)]
        values += [contributions.heads[:, block], contributions.attn_bias[:, block, None]]
        values += [contributions.mlps[:, block, None]]
    places.append(("norm_bias", OUTSIDE, OUTSIDE))
    values.append(np.broadcast_to(contributions.norm_bias, (reviews, 1, classes)))
    if len(contributions.later):
        places.append(("later_tokens", OUTSIDE, OUTSIDE))
        values.append(contributions.later[:, None])
    return tuple(places), np.concatenate(values, axis=1).astype(np.float64)


def class_means(
    shares: Float[np.ndarray, "reviews parts directions"], labels: metrics.Labels, counts: Shaped[np.ndarray, "draws _"]
) -> Float[np.ndarray, "draws classes parts directions"]:
    """Return the mean over the reviews of each class, for many resamples at once."""
    classes = max(2, shares.shape[2])
    metrics.class_sizes(labels, classes)
    means = []
    for c in range(classes):
        of_class = counts[:, labels == c].astype(np.float64)
        means.append(np.tensordot(of_class / of_class.sum(axis=1, keepdims=True), shares[labels == c], axes=1))
    return np.stack(means, axis=1)


def gaps(means: Float[np.ndarray, "draws classes parts directions"]) -> Float[np.ndarray, "draws parts"]:
    """Return `metrics.gap` of each part."""
    classes, directions = means.shape[1], means.shape[3]
    return np.einsum("dcpk,kc->dp", means, metrics.contrasts(classes)) / directions


def attribution(
    own: Float[np.ndarray, "reviews parts classes"],
    reference: Float[np.ndarray, "reviews parts classes"],
    places: tuple[Place, ...],
    labels: metrics.Labels,
    draws: int = 1000,
    seed: int = 0,
) -> Result:
    """Average the contributions over the reviews of each class. UndefinedError if a class has no review."""
    contrasts = metrics.contrasts(own.shape[2])
    shares, before = own @ contrasts.T, reference @ contrasts.T  # [reviews, parts, directions]
    everyone, drawn = np.ones((1, len(labels))), resampling.bootstrap_counts(labels, draws, seed)
    means = [class_means(values, labels, everyone) for values in (shares, before)]
    resampled = [class_means(values, labels, drawn) for values in (shares, before)]

    def of_class(values: np.ndarray) -> np.ndarray:
        """[draws, parts, classes]; two classes share one direction."""
        per_class = values[..., 0] if values.shape[3] == 1 else np.einsum("dcpc->dcp", values)
        return per_class.swapaxes(1, 2)

    gap, drawn_gap = gaps(means[0])[0], gaps(resampled[0])
    change = gap - gaps(means[1])[0], *intervals.percentiles(drawn_gap - gaps(resampled[1]))
    names, blocks, heads = zip(*places, strict=True)
    return Result(
        part=names,
        block=np.array(blocks),
        head=np.array(heads),
        mean=Estimate(of_class(means[0])[0], *intervals.percentiles(of_class(resampled[0]))),
        gap=Estimate(gap, *intervals.percentiles(drawn_gap)),
        change=Estimate(*change),
        total_gap=float(gap.sum()),
    )


@dataclass(frozen=True)
class CollectQuery:
    """The checkpoint and the prompts to decompose."""

    checkpoint: PinnedCheckpoint
    prompts: Prompts

    @property
    def cost(self) -> Cost:
        """One pass; the hooks see less of the last block."""
        return Cost().with_passes(self.checkpoint, self.prompts, 0.6)


@memoized(version=2)
def collect(query: CollectQuery, lab: Lab) -> Contributions:
    """Run the model; cached separately, because every comparison needs the parts of both models."""
    return lab.models.contributions(query.checkpoint, query.prompts, lab.progress)


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Decompose the label logits of both checkpoints, then average."""
    places, own = parts(collect(CollectQuery(query.checkpoint, query.prompts), lab.part(0, 3)))
    reference = np.full_like(own, np.nan)
    if query.reference.facts.replies:
        _, reference = parts(collect(CollectQuery(query.reference, query.prompts), lab.part(1, 3)))
    lab.progress(0.7, f"Resampling the parts of {query.checkpoint.label} {query.draws:,} times.")
    result = attribution(own, reference, places, query.prompts.labels, query.draws, query.seed)
    lab.progress(1.0, f"Decomposed the logit difference of {query.checkpoint.label}.")
    return result


def lacking(study: PinnedStudy, reference: str) -> str | None:
    """Return that the models are encoders; None if they are not."""
    study.checkpoint(reference)
    if study.base.facts.kind == "encoder":
        return "This needs logits that are a sum over parts, and an encoder's are not; use a causal language model."
    return None


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint with a head; KeyError if no checkpoint has the label of the reference.

    Encoders have no queries: every block normalizes the stream and the head is nonlinear, so their logits are not a sum
    over parts.
    """
    against = study.checkpoint(reference)
    if study.base.facts.kind == "encoder":
        return []
    return [Query(checkpoint, against, study.prompts) for checkpoint in study.answering]
