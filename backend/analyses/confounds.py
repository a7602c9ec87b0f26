"""What besides the classes could explain the numbers? The sample card."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from backend.caching.memoize import memoized
from backend.errors import DatasetError
from backend.lab.lab import Lab
from backend.stats import intervals, metrics, splits
from backend.stats.estimate import Estimate, undefined
from backend.stats.metrics import Labels, Residuals
from backend.stats.rows import cell
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.dataset import Sample, TrainingTexts, text_digest
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("quantity", "checkpoint", "part")
QUARTILES = 4
_NUMBER = r"(?<![\w/.,])(?:\d+(?:[.,]\d+)?|zero|one|two|three|four|five|six|seven|eight|nine|ten)"
_HALF = r"(?:\s*½|\s+1/2|\s+and\s+a\s+half)?"
_RATING = re.compile(
    rf"""
    # 8/10, four stars out of five
    {_NUMBER}{_HALF}(\s*stars?)?\s*(/|out\s+of)\s*(5|five|10|ten|100)(?![\w/]|[.,]\d)
    # five stars, a two-star film
    | {_NUMBER}{_HALF}(\s+stars|[\s-]star\s+(film|movie|rating|review)|-stars?)\b
    | [★⭐] | (?<!\*)\*{{1,5}}\s*(/|out\s+of)\s*\*{{4,5}}
    # Rating: 7, Grade: B-
    | \b(rating|score|grade)\s*(is|of|:|=)?\s*(an?\s+)?({_NUMBER}(?!\w)|(?-i:[A-F])[+-]?(?!\w))
    # I would give this film a 7
    | \b(i|we)('d|\s+would|\s+will)?\s+(give|gave|rate|rated)\s+(it|this)(\s+(film|movie|one))?\s+(an?\s+)?{_NUMBER}
      (?![\w.,]*\w)(?!\s+(minute|hour|time|chance|day|year|more|thing|thumb))
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Matches a rating that a review states."""


@dataclass(frozen=True)
class Query:
    """The checkpoints of a study, its sample as texts and as prompts, and the training texts if the study names any."""

    checkpoints: tuple[PinnedCheckpoint, ...]
    prompts: Prompts
    sample: Sample
    training: TrainingTexts | None
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Result:
    """The sample card. Reviews are named by their position in the sample, checkpoints by their position in the query.

    `length_auc`: AUC of prompt length (tokens as the model saw them) against label, 0.5 = length tells nothing.
    `truncated_share`: share of texts that were truncated. `quartile_*`: share of correct predictions per checkpoint in
    each quartile of prompt length, between `quartile_edges` tokens (a quartile that ties leave empty: n 0, NaN).
    `in_training`: reviews that also occur in the training data up to case and white space, -1 = unknown, with
    `training_note` naming the texts that were searched. `states_rating`: reviews that state a rating. `duplicates`:
    reviews that repeat an earlier one, in their text up to case and white space or in their whole prompt;
    `contradictions`: texts that occur in the sample with more than one label. `naive_best`: the checkpoint with the
    best balanced accuracy on all reviews, biased upwards by the choice; `best_on_half`: the one chosen on one half of
    them, whose `held_half_accuracy` is that on the other half. `review_cosine`: mean cosine between different reviews
    (near 1: a few massive dimensions dominate); `text_free`: layers that are equal for all prompts of equal length,
    thus hold no text.
    """

    length_auc: Estimate[float]
    truncated_share: float
    truncated_n: int
    quartile_edges: Float[np.ndarray, " edges"]
    quartile_n: Int[np.ndarray, " quartiles"]
    quartile_accuracy: Estimate[Float[np.ndarray, "checkpoints quartiles"]]
    in_training: int
    in_training_indices: Int[np.ndarray, " overlaps"]
    training_note: str
    states_rating: int
    rating_indices: Int[np.ndarray, " rated"]
    duplicates: int
    contradictions: int
    naive_best: int
    naive_best_accuracy: float
    best_on_half: int
    best_on_half_accuracy: float
    held_half_accuracy: Estimate[float]
    review_cosine: Float[np.ndarray, "checkpoints layers"]
    text_free: Bool[np.ndarray, "checkpoints layers"]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per quantity, checkpoint and part; `part` is a quartile from 1, a layer, or None."""
        labels = [checkpoint.label for checkpoint in query.checkpoints]
        yield _row("length_auc", self.length_auc)
        yield _row("truncated_share", self.truncated_share)
        yield _row("states_rating", self.states_rating)
        yield _row("duplicates", self.duplicates)
        yield _row("in_training", self.in_training if self.in_training >= 0 else np.nan)
        if self.naive_best >= 0:
            yield _row("naive_best_accuracy", self.naive_best_accuracy, labels[self.naive_best])
        if self.best_on_half >= 0:
            yield _row("held_half_accuracy", self.held_half_accuracy, labels[self.best_on_half])
        for i, label in enumerate(labels):
            for quartile in range(QUARTILES):
                yield _row("quartile_accuracy", self.quartile_accuracy[i, quartile], label, quartile + 1)
            for layer, value in enumerate(self.review_cosine[i]):
                yield _row("review_cosine", value, label, layer)


def _row(
    quantity: str, value: Estimate[Any] | float | int, checkpoint: str | None = None, part: int | None = None
) -> dict[str, Any]:
    ends = (value.value, value.low, value.high) if isinstance(value, Estimate) else (value, np.nan, np.nan)
    cells = zip(("value", "value_low", "value_high"), map(cell, ends), strict=True)
    return {"quantity": quantity, "checkpoint": checkpoint, "part": part, **dict(cells)}


def states_rating(text: str) -> bool:
    """Return whether a review states a rating: 8/10, five stars, Grade: B-, I give it a 7."""
    return _RATING.search(text) is not None


@dataclass(frozen=True, eq=False)
class Quartiles:
    """Share of correct predictions by quartile of prompt length; a quartile that ties leave empty is NaN."""

    edges: Float[np.ndarray, " edges"]
    n: Int[np.ndarray, " quartiles"]
    accuracy: Estimate[Float[np.ndarray, "checkpoints quartiles"]]


def by_length(lengths: Int[np.ndarray, " reviews"], correct: Bool[np.ndarray, "checkpoints reviews"]) -> Quartiles:
    """Compute accuracy by prompt length; a prompt on an edge belongs to the shorter quartile."""
    edges = np.quantile(lengths, np.linspace(0, 1, QUARTILES + 1))
    inside = np.searchsorted(edges[1:-1], lengths, side="left") == np.arange(QUARTILES)[:, None]
    n = inside.sum(axis=1)
    hits = correct.astype(np.int64) @ inside.T.astype(np.int64)
    share = metrics.ratio(hits.astype(np.float64), n.astype(np.float64))
    return Quartiles(edges, n, Estimate(share, *intervals.wilson(hits, np.broadcast_to(n, hits.shape))))


@dataclass(frozen=True, eq=False)
class Choice:
    """The best checkpoint and its balanced accuracy: on all reviews (`naive`), or chosen and tested on two halves."""

    naive: int
    naive_accuracy: float
    chosen: int
    chosen_accuracy: float
    held: Estimate[float]


def choose(
    predicted: Int[np.ndarray, "checkpoints reviews"],
    labels: Labels,
    classes: int,
    seed: int = 0,
    answering: Bool[np.ndarray, " checkpoints"] | None = None,
    groups: splits.Groups | None = None,
) -> Choice:
    """Choose the best checkpoint, the earliest of equals, among those that answer (default: all do).

    `chosen` is -1 where a class is too small to be halved, `naive` too where no checkpoint answers. `groups` marks
    copies of a text, which stay in one half.
    """
    candidates = np.ones(len(predicted), dtype=bool) if answering is None else answering
    if not candidates.any():
        return Choice(-1, np.nan, -1, np.nan, undefined())

    def accuracies(chosen: Bool[np.ndarray, " reviews"]) -> list[float]:
        """Return balanced accuracies, -1 for checkpoints without answers."""
        return [
            metrics.balanced_accuracy(metrics.recalls(classes_of[chosen], labels[chosen], classes)) if answers else -1.0
            for classes_of, answers in zip(predicted, candidates, strict=True)
        ]

    everywhere = accuracies(np.ones(len(labels), dtype=bool))
    naive = int(np.argmax(everywhere))
    half = splits.half_splits(labels, classes, 1, seed, groups)[0]
    if not all(len(np.unique(labels[part])) == classes for part in (half, ~half)):
        return Choice(naive, everywhere[naive], -1, np.nan, undefined())
    on_half = accuracies(half)
    chosen = int(np.argmax(on_half))
    recalls = metrics.recalls(predicted[chosen][~half], labels[~half], classes)
    limits = intervals.balanced_accuracy_interval(recalls, metrics.class_sizes(labels[~half], classes))
    held = Estimate(metrics.balanced_accuracy(recalls), *limits)
    return Choice(naive, everywhere[naive], chosen, on_half[chosen], held)


def text_free(residuals: Residuals, lengths: Int[np.ndarray, " reviews"]) -> Bool[np.ndarray, " layers"]:
    """Return the layers at which prompts of equal length are identical: a constant, or the position alone."""
    free = np.ones(residuals.shape[1], dtype=bool)
    groups = [lengths == length for length in np.unique(lengths)]
    shared = [group for group in groups if group.sum() > 1]
    for group in shared or [np.ones(len(lengths), dtype=bool)]:
        free &= metrics.constant_layers(residuals[group])
    return free


def overlap(sample: Sample, training: TrainingTexts | None) -> tuple[Int[np.ndarray, " overlaps"] | None, str]:
    """Return the positions of the reviews in the training data (None: unknown), and a sentence about the search."""
    if training is None:
        return None, "The study names no training data, so it is unknown which texts the checkpoints have seen."
    try:
        seen = training.normalized_digests()
    except DatasetError as error:
        return None, f"Which texts were trained on is unknown. {error}"
    positions = [i for i, text in enumerate(sample.text) if text_digest(text) in seen]
    place = training.spec.path or training.spec.repo
    places = np.array(positions, dtype=np.int64)
    return places, f"Compared with {len(seen):,} texts of {place}, up to case and white space."


@memoized(version=4)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts with every checkpoint, search the texts, then measure."""
    prompts, parts = query.prompts, len(query.checkpoints) + 1
    labels, classes, lengths = prompts.labels, prompts.classes, prompts.lengths
    readouts = [lab.part(i, parts).readout(checkpoint, prompts) for i, checkpoint in enumerate(query.checkpoints)]
    lab.progress((parts - 1) / parts, "Searching the training data for the texts of the sample.")
    seen, note = overlap(query.sample, query.training)
    lab.progress((parts - 0.5) / parts, "Measuring what prompt length alone predicts.")
    length_auc = _length_auc(lengths, labels, classes, query)
    answering = np.array([checkpoint.facts.replies for checkpoint in query.checkpoints])
    nothing = np.full(len(labels), -1)
    predicted = np.stack([metrics.predictions(one.logits) if prompts.asks else nothing for one in readouts])
    quartiles = by_length(lengths, predicted == labels)
    choice = choose(predicted, labels, classes, query.seed, answering, prompts.groups)
    rated = [i for i, text in enumerate(query.sample.text) if states_rating(text)]
    lab.progress(1.0, "The sample card is filled in.")
    return Result(
        length_auc=length_auc,
        truncated_share=float(prompts.truncated.mean()),
        truncated_n=int(prompts.truncated.sum()),
        quartile_edges=quartiles.edges,
        quartile_n=quartiles.n,
        quartile_accuracy=quartiles.accuracy.map(lambda end: np.where(answering[:, None], end, np.nan)),
        in_training=-1 if seen is None else len(seen),
        in_training_indices=np.zeros(0, dtype=np.int64) if seen is None else seen,
        training_note=note,
        states_rating=len(rated),
        rating_indices=np.array(rated, dtype=np.int64),
        duplicates=splits.repeated(prompts.groups),
        contradictions=splits.contradicting(labels, prompts.groups),
        naive_best=choice.naive,
        naive_best_accuracy=choice.naive_accuracy,
        best_on_half=choice.chosen,
        best_on_half_accuracy=choice.chosen_accuracy,
        held_half_accuracy=choice.held,
        review_cosine=np.stack([metrics.review_cosine(readout.residuals) for readout in readouts]),
        text_free=np.stack([text_free(readout.residuals, lengths) for readout in readouts]),
    )


def _length_auc(lengths: Int[np.ndarray, " reviews"], labels: Labels, classes: int, query: Query) -> Estimate[float]:
    """Return the AUC of prompt length; undefined for one class."""
    directions = len(metrics.contrasts(classes))
    if not directions:
        return undefined()
    by_class = np.repeat(lengths[:, None].astype(np.float64), directions, axis=1)
    limits = intervals.auc_interval(by_class, labels, query.draws, query.seed)
    return Estimate(metrics.auc(by_class, labels), *limits)


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return the query of the sample card; the reference is not used."""
    return [Query(study.checkpoints, study.prompts, study.sample, study.training)]
