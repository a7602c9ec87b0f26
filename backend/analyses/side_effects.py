"""What was bought at what price? The gain on the task against the change of neutral predictions, also by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import Request, memoized
from backend.derived.scaled_change import (
    AnswersQuery,
    PredictionsQuery,
    answers,
    answers_of,
    mean_kl,
    perplexity,
    predictions_of,
)
from backend.derived.texts import NEUTRAL, Texts, texts
from backend.errors import UndefinedError
from backend.lab.cost import Cost
from backend.lab.differences import Scaling
from backend.lab.lab import Lab
from backend.stats import greedy, intervals, metrics
from backend.stats.estimate import Estimate, undefined
from backend.stats.rows import cells
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "reference", "part", "block")
PerRun = Float[np.ndarray, " runs"]
MEASURES = ("gain", "kl", "perplexity")
SHARE = 0.9
"""Share of the gain that a set of blocks must keep."""


@dataclass(frozen=True)
class Query:
    """The checkpoint as a whole, and with `by_block` each of its blocks alone in the reference.

    Sets of blocks then grow until they keep `share` of the gain on held-out reviews.
    """

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    texts: Texts
    by_block: bool = False
    share: float = SHARE
    folds: int = 3
    draws: int = 1000
    seed: int = 0

    @property
    def plan(self) -> tuple[Scaling, ...]:
        """The reference, the checkpoint, and the reference with one block of the checkpoint."""
        blocks = range(self.reference.facts.layers) if self.by_block else ()
        return (Scaling("all", 0.0), Scaling("all", 1.0), *(Scaling("block", 1.0, (block,)) for block in blocks))

    @property
    def cost(self) -> Cost:
        """Every run answers the prompts and predicts the texts; the search for a set takes about three rounds more."""
        pair, steps, own = (self.checkpoint, self.reference), list[Request[Any]](), Cost()
        if answers(*pair, self.prompts):
            asked = AnswersQuery(*pair, self.prompts, self.plan)
            steps.append(answers_of.request(asked))
            own = replace(own, passes=3 * asked.cost.passes) if self.by_block else own
        if all(one.facts.predicts for one in pair):
            steps.append(predictions_of.request(PredictionsQuery(*pair, self.texts, self.plan)))
        return own.with_fitting(0.02 * len(self.plan), *steps)


@dataclass(frozen=True, eq=False)
class Result:
    """Gain and price of each run: the reference, the checkpoint, then each block of the checkpoint in the reference.

    `gain` is the gap between the classes minus the reference's (nats), paired by review, NaN without classes or a head.
    `kl` from the reference (nats per token) and `perplexity` are of the neutral texts, NaN for models that predict no
    tokens. `order` are blocks in the order in which a greedy search adds them, and `kept` the held-out share of the
    gain that sets of each size keep; both are empty without a gain whose interval lies above 0.
    """

    gain: Estimate[PerRun]
    kl: Estimate[PerRun]
    perplexity: Estimate[PerRun]
    order: tuple[int, ...]
    kept: Estimate[Float[np.ndarray, " sizes"]]

    def smallest(self, share: float) -> tuple[int, ...] | None:
        """Return the smallest set of blocks that keeps this share of the gain on held-out reviews; None for none."""
        return greedy.Path(self.order, self.kept).smallest(share)

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row for the checkpoint, one per block, and one per size of a set (`block` is then the size)."""
        for run in range(1, len(self.gain.value)):
            block = None if run == 1 else run - 2
            measures = {name: getattr(self, name)[run] for name in MEASURES}
            yield self._row(query, "all" if run == 1 else "block", block, "" if block is None else str(block), measures)
        for k in range(len(self.order)):
            chosen = " ".join(map(str, sorted(self.order[: k + 1])))
            yield self._row(query, "set", k + 1, chosen, {"kept": self.kept[k]})

    def _row(
        self, query: Query, part: str, block: int | None, blocks: str, measures: Mapping[str, Estimate[Any]]
    ) -> dict[str, Any]:
        names = {"checkpoint": query.checkpoint.label, "reference": query.reference.label}
        row: dict[str, Any] = {**names, "part": part, "block": block, "blocks": blocks}
        nothing = undefined()
        for name in (*MEASURES, "kept"):
            row |= cells(name, measures.get(name, nothing))
        return row


def gains(
    difference: Float[np.ndarray, "runs reviews directions"], labels: metrics.Labels, draws: int, seed: int
) -> Estimate[PerRun]:
    """Return the gap of each run minus that of the first, paired by review."""
    found = undefined(len(difference))
    for i, one in enumerate(difference):
        paired = one - difference[0]
        found.put(i, metrics.gap(paired, labels), intervals.gap_interval(paired, labels, draws, seed))
    return found


def search(query: Query, difference: Float[np.ndarray, "runs reviews directions"], lab: Lab) -> greedy.Path:
    """Grow sets of blocks that keep the gain from the first run, the reference, to the second, the checkpoint."""
    known: dict[greedy.Chosen, np.ndarray] = {(run - 2,): difference[run] for run in range(2, len(difference))}

    def evaluate(sets: Sequence[greedy.Chosen]) -> dict[greedy.Chosen, np.ndarray]:
        plan = tuple(Scaling("block", 1.0, one) for one in sets if one not in known)
        found = {one: known[one] for one in sets if one in known}
        if plan:
            pair = (query.checkpoint, query.reference)
            logits = lab.models.scaled(*pair, plan, query.prompts, lab.progress)
            found |= {one.blocks: metrics.logit_diff(run) for one, run in zip(plan, logits, strict=True)}
        return found

    plain, full, labels = difference[0], difference[1], query.prompts.labels
    layers = query.reference.facts.layers
    return greedy.search(evaluate, layers, (plain, full), labels, query.share, query.folds, query.seed)


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Measure gain and price. UndefinedError if there is neither."""
    plan, pair, layers = query.plan, (query.checkpoint, query.reference), query.reference.facts.layers
    gain, spread, kl = (undefined(len(plan)) for _ in range(3))
    path = greedy.Path((), undefined(0))
    answered, predicted = answers(*pair, query.prompts), all(one.facts.predicts for one in pair)
    if not answered and not predicted:
        raise UndefinedError(
            f"{pair[0].label} and {pair[1].label} neither answer in classes nor predict tokens, so there is no gain "
            f"and no price; add label words or a model with a head."
        )
    if predicted:
        found = predictions_of(PredictionsQuery(*pair, query.texts, plan), lab.part(0, 4))
        spread, kl = (read(found, query.draws, query.seed) for read in (perplexity, mean_kl))
    if answered:
        logits = answers_of(AnswersQuery(*pair, query.prompts, plan), lab.part(1, 4)).logits
        difference = np.stack([metrics.logit_diff(one) for one in logits])
        gain = gains(difference, query.prompts.labels, query.draws, query.seed)
        if query.by_block and layers and gain.low[1] > 0:
            path = search(query, difference, lab.part(2, 4, wide=2))
    return Result(gain, kl, spread, path.chosen, path.kept)


def query(
    study: PinnedStudy, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, by_block: bool = False
) -> Query:
    """Return the query on the study's prompts and the neutral sentences. UndefinedError if token ids differ."""
    neutral = texts(study, checkpoint, reference, NEUTRAL)
    return Query(checkpoint, reference, study.prompts, neutral, by_block)


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query per other epoch, the last one block by block, then one per twin of another seed.

    KeyError if no checkpoint has the reference's label.
    """
    against = study.checkpoint(reference)
    others = [one for one in study.epochs if one != against and study.same_ids(one, against)]
    others = [one for one in others if one.facts.has_head or against.facts.has_head]
    twins = [pair for pair in study.seeds if study.same_ids(*pair) and pair[1].facts.has_head]
    return [query(study, one, against, one == others[-1]) for one in others] + [query(study, *pair) for pair in twins]
