"""Did sentiment words move, or only frequent words? The mean shift of word groups against random groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from backend.caching.memoize import memoized
from backend.caching.progress import Progress, silent
from backend.derived.embedding_shift import MEASURES, ShiftQuery, Shifts, shifts
from backend.derived.token_counts import CountQuery, count_query, counts, strata
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.stats import intervals
from backend.stats.estimate import Estimate, undefined
from backend.stats.rows import cell, interval
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.vocabulary import lexicon

KEY = ("checkpoint", "group", "measure")

PerGroup = Float[np.ndarray, "groups measures"]
NULLS = ("random", "matched")


@dataclass(frozen=True)
class Query:
    """The two checkpoints, how tokens are counted, a study's own word lists, and the number of random groups."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    counted: CountQuery
    own: lexicon.Words = ()
    draws: int = 1000
    seed: int = 0

    @property
    def cost(self) -> Cost:
        """Opening the models, and the random groups."""
        return cost_of_fields(self).with_fitting(0.2 * self.draws / 1000)


@dataclass(frozen=True, eq=False)
class Result:
    """The mean shift of each group by each of `measures` (`output_*`: of an untied unembedding), [groups, measures].

    `listed` counts the words of a list, `n` the measured words: those that are one token after a space. `mean` has a
    95 % bootstrap interval over them. `random_*` describes random groups of the same size from the whole vocabulary,
    `matched_*` random groups from the same frequency strata (occurrences 0, 1-2, 3-6, 7-14, ...): their mean, the band
    that holds 95 % of them, and `p`, twice the share of groups at least as extreme on the group's side. Tokens whose
    row is zero, which has no cosine, are left out. NaN for a group without tokens; an interval needs two. `count_note`
    names the counted texts.
    """

    groups: tuple[str, ...]
    measures: tuple[str, ...]
    listed: Int[np.ndarray, " groups"]
    n: Int[np.ndarray, " groups"]
    mean: Estimate[PerGroup]
    random: Estimate[PerGroup]
    random_p: PerGroup
    matched: Estimate[PerGroup]
    matched_p: PerGroup
    count_note: str

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per group and measure."""
        for g, group in enumerate(self.groups):
            for m, measure in enumerate(self.measures):
                row: dict[str, Any] = {"checkpoint": query.checkpoint.label, "group": group, "measure": measure}
                row |= {"words": int(self.listed[g]), "tokens": int(self.n[g])}
                for name in ("mean", *NULLS):
                    row |= interval(self, name, g, m)
                    row |= {} if name == "mean" else {f"{name}_p": cell(getattr(self, f"{name}_p")[g, m])}
                yield row


def draw_alike(
    ids: Int[np.ndarray, " group"], stratum: Int[np.ndarray, " tokens"], draws: int, seed: int
) -> Int[np.ndarray, "draws group"]:
    """Draw random groups with as many tokens of each stratum as `ids` has; a token at most once in a group."""
    rng = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    for level in np.unique(stratum[ids]):
        pool, size = np.flatnonzero(stratum == level), int((stratum[ids] == level).sum())
        parts.append(np.stack([rng.choice(pool, size, replace=False, shuffle=False) for _ in range(draws)]))
    return np.concatenate(parts, axis=1)


def against(
    values: Float[np.ndarray, "measures tokens"],
    ids: Int[np.ndarray, " group"],
    drawn: Int[np.ndarray, "draws group"],
) -> tuple[Estimate[Float[np.ndarray, " measures"]], Float[np.ndarray, " measures"]]:
    """Return the mean and 95 % band of the drawn groups' means, and p of the group's own mean."""
    null = values[:, drawn].mean(axis=2)  # [measures, draws]
    own = values[:, ids].mean(axis=1, keepdims=True)
    low, high = intervals.percentiles(null.T)
    tail = np.minimum((null >= own).sum(axis=1), (null <= own).sum(axis=1))
    return Estimate(null.mean(axis=1), low, high), np.minimum(1.0, 2 * (tail + 1) / (null.shape[1] + 1))


def compare(
    values: Float[np.ndarray, "measures tokens"],
    count: Int[np.ndarray, " tokens"],
    groups: Sequence[Int[np.ndarray, " _"]],
    draws: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Compute the fields of `Result` of shape [groups, measures]; tokens with undefined values are left out."""
    shape = (len(groups), len(values))
    mean, nulls = undefined(*shape), {null: undefined(*shape) for null in NULLS}
    p = {null: np.full(shape, np.nan) for null in NULLS}
    drawable = np.where(np.isfinite(values).all(axis=0), 0, -1)  # a stratum of their own, from which none is drawn
    alike = {"random": drawable, "matched": np.where(drawable < 0, -1, strata(count))}
    for g, ids in enumerate(groups):
        progress(g / len(groups), f"Drawing {draws:,} groups of {len(ids):,} tokens.")
        if not len(ids):
            continue
        mean.value[g] = values[:, ids].mean(axis=1)
        for null, stratum in alike.items():
            band, p[null][g] = against(values, ids, draw_alike(ids, stratum, draws, seed))
            nulls[null].put(g, band.value, (band.low, band.high))
        if len(ids) > 1:
            for m, measured in enumerate(values[:, ids]):
                limits = intervals.mean_interval(measured, np.zeros(len(ids), dtype=np.int64), draws, seed)
                mean.put((g, m), mean.value[g, m], limits)
    return {"mean": mean, **nulls, **{f"{null}_p": values for null, values in p.items()}}


def _measured(moved: Shifts) -> dict[str, Float[np.ndarray, " tokens"]]:
    """Return the measures by name, including the unembedding if it is not tied."""
    unembedded = {} if moved.output is None else {f"output_{name}": getattr(moved.output, name) for name in MEASURES}
    return {name: getattr(moved.input, name) for name in MEASURES} | unembedded


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Compare the rows, count the tokens, and draw random groups."""
    counted = counts(query.counted, lab.part(0, 3))
    moved = shifts(ShiftQuery(query.checkpoint, query.reference), lab.part(1, 3))
    size = len(moved.input.l2)
    tokenizers = [lab.models.tokenizer(model.ref, model.base) for model in (query.reference, query.checkpoint)]
    members = lexicon.token_groups(max(tokenizers, key=lambda tokenizer: tokenizer.get_vocab_size()), query.own, size)
    measured = _measured(moved)
    values = np.stack(list(measured.values()))
    defined = np.asarray(np.isfinite(values).all(axis=0))
    groups = [np.array([i for i in ids if defined[i]], dtype=np.int64) for ids in members.values()]
    result = Result(
        groups=tuple(members),
        measures=tuple(measured),
        listed=np.array([len(set(words)) for _, words in lexicon.groups(query.own)]),
        n=np.array([len(ids) for ids in groups]),
        count_note=counted.note,
        **compare(values, counted.of_rows(size), groups, query.draws, query.seed, lab.part(2, 3).progress),
    )
    lab.progress(1.0, f"Compared the word groups of {query.checkpoint.label}.")
    return result


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint except the reference; KeyError if no checkpoint has its label."""
    against, own = study.checkpoint(reference), lexicon.own_words(study.study.lexicon)
    return [
        Query(checkpoint, against, count_query(study), own)
        for checkpoint in study.checkpoints
        if checkpoint.label != reference
    ]
