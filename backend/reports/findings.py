"""Find what the numbers of a study support, at most four findings.

A finding is one function: it yields the requests that it needs, is sent their results, and returns its sentence
or None. Add it to `FINDINGS`, where the most important stand first, and to `COSTLY` too if it takes runs that
no start page should wait for: it is then reported only if its results are cached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy

from backend.caching.memoize import Request
from backend.reports.changes import carrying_block, changed_weights, rearranged, turned
from backend.reports.evidence import Asks, Finding, accuracy_requests, card_request, direction_requests, subject
from backend.reports.taught import merged_apart, unchanged
from backend.stats import intervals, paired
from backend.stats.splits import half_splits
from backend.study.comparison import Comparison
from backend.study.kinds import Need

MOST = 4
FAR_APART = 0.2
"""Difference of recalls from which a checkpoint counts as leaning to one side."""


Ask = Callable[[Sequence[Request[Any]]], Sequence[Any] | None]
"""Gets the results of requests, or None if some are missing."""


def find(case: Comparison, ask: Ask, known: Ask) -> tuple[Finding, ...] | None:
    """Return the findings of a study, None until `ask` has all results; `known` returns cached results only."""
    running = {finding: finding(case) for finding in _possible(case)}
    asked = {finding: next(one) for finding, one in running.items()}
    usual = [finding for finding in running if finding not in COSTLY]
    requests = {request.key: request for finding in usual for request in asked[finding]}
    answered = ask(list(requests.values()))
    if answered is None:
        return None
    results = dict(zip(requests, answered, strict=True))
    sentences: list[Finding] = []
    for finding, run in running.items():
        own = asked[finding]
        given = known(own) if finding in COSTLY else [results[request.key] for request in own]
        if given is None:
            continue
        try:
            run.send(list(given))
        except StopIteration as end:
            sentences += [end.value] if end.value is not None else []
    return tuple(sentences[:MOST])


def costly(case: Comparison) -> list[Request[Any]]:
    """Return the requests of findings that no start page should wait for."""
    return [request for finding in _possible(case) if finding in COSTLY for request in next(finding(case))]


def _possible(case: Comparison) -> list[Callable[[Comparison], Asks]]:
    """Return the findings that the study has the answers and classes for."""
    return [one for one in FINDINGS if one not in NEEDS or not case.study.lacks(NEEDS[one])]


def reversed_classes(case: Comparison) -> Asks:
    """Find a checkpoint that orders the reviews the wrong way round, as it does if classes are swapped."""
    results = yield accuracy_requests(case)
    worst = min(range(len(results)), key=lambda i: results[i].auc.high if np.isfinite(results[i].auc.high) else 1.0)
    value, low, high = map(float, results[worst].auc.ends)
    if not high < 0.5:
        return None
    return Finding(
        f"{subject(case.names[worst])} orders the texts the wrong way round: its AUC is {value:.2f} ({low:.2f} to "
        f"{high:.2f}; 0.5 is chance). Check below that label values, label words and head rows match.",
        value,
        low,
        high,
        "",
        {"epoch": case.names[worst]},
        warning=True,
        series=tuple(float(result.auc.value) for result in results),
        at=worst,
        picture="accuracy",
    )


def best_checkpoint(case: Comparison) -> Asks:
    """Compare the best checkpoint, chosen on one half of the reviews, with the reference on the other half."""
    card, *answers = yield [card_request(case), *accuracy_requests(case)]
    chosen, labels, classes = card.best_on_half, case.study.prompts.labels, case.study.prompts.classes
    if chosen in (-1, case.against) or not case.reference.facts.replies:
        return None
    held = ~half_splits(labels, classes, 1, card_request(case).query.seed, case.study.prompts.groups)[0]
    ours, theirs = (answers[i].prediction[held] for i in (chosen, case.against))
    gain = paired.accuracy_lost(ours, theirs, labels[held], classes)
    if gain.low <= 0:
        return None
    name, reference = case.names[chosen], case.reference.label
    return Finding(
        f"{subject(name)}, chosen on half of the texts, answers {_percent(card.held_half_accuracy.value)} of the "
        f"other half correctly ({_span(*card.held_half_accuracy.ends[1:])}): {100 * gain.value:.1f} points more than "
        f"{reference} ({_span(gain.low, gain.high)}).",
        *gain.ends,
        "layers",
        {"epoch": name, "show": "sample"},
        series=tuple(float(answer.balanced_accuracy.value) for answer in answers),
        at=chosen,
        picture="quartiles",
    )


def leaves_chance(case: Comparison) -> Asks:
    """Find the layer from which the classes are further apart than chance, and the first such checkpoint."""
    results = yield direction_requests(case)
    last = results[case.last]
    apart = [c for c, layer in enumerate(last.leaves_chance) if layer >= 0 and last.separation.low[c, -1] > 0]
    if not apart:
        return None
    c = min(apart, key=lambda one: last.leaves_chance[one])
    started = next(i for i, result in enumerate(results) if result.leaves_chance[c] >= 0)
    value, low, high = (float(end[c, -1]) for end in last.separation.ends)
    name, layer = case.names[case.last], last.leaves_chance[c]
    since = (
        f" (first in {case.names[started]}, from layer {results[started].leaves_chance[c]})"
        if started < case.last
        else " (in no earlier checkpoint)"
        if case.last > 0
        else ""
    )
    return Finding(
        f"In {name} {_classes(case, c)} further apart than chance from layer {layer} on{since}; at the last layer by "
        f"{value:.2f} times the spread within a class ({low:.2f} to {high:.2f}).",
        value,
        low,
        high,
        "layers",
        {"epoch": name, "show": "direction", "scale": "separation", **case.of_class(c)},
        series=tuple(last.separation.value[c].tolist()),
        at=layer,
        picture="direction-heat",
    )


def length(case: Comparison) -> Asks:
    """Find out whether the length of a review alone predicts its class."""
    (card,) = yield [card_request(case)]
    value, low, high = card.length_auc.ends
    if not (high < 0.5 or low > 0.5):
        return None
    return Finding(
        f"Length alone separates the classes with an AUC of {value:.2f} ({low:.2f} to {high:.2f}; 0.5 is "
        f"chance). Part of any accuracy may be length.",
        value,
        low,
        high,
        "layers",
        {"show": "sample"},
        warning=True,
        picture="quartiles",
    )


def seen_in_training(case: Comparison) -> Asks:
    """Find out whether reviews of the sample were trained on."""
    (card,) = yield [card_request(case)]
    if card.in_training < 1:
        return None
    return Finding(
        f"{card.in_training} of the {len(case.study.sample.text)} texts also occur in the training data. "
        f"Answers to these texts say little about new texts.",
        float(card.in_training),
        None,
        None,
        "layers",
        {"show": "sample"},
        warning=True,
        picture="quartiles",
    )


def leaning(case: Comparison) -> Asks:
    """Find out whether the last checkpoint or the reference recognizes one class much better than another."""
    answers = yield accuracy_requests(case)
    for i in dict.fromkeys((case.last, case.against)):
        one = answers[i]
        best, worst = int(np.argmax(one.recall.value)), int(np.argmin(one.recall.value))
        recall = one.recall[[best, worst]]
        low, high = intervals.mover(recall.value, recall.low, recall.high, np.array([1.0, -1.0]))
        apart = float(recall.value[0] - recall.value[1])
        if apart >= FAR_APART and low > 0 and _differ(one.recall.value, one.n):
            best_word, worst_word = case.words[best], case.words[worst]
            return Finding(
                f"{subject(case.names[i])} answers {_percent(recall.value[0])} of the {best_word} texts correctly "
                f"and {_percent(recall.value[1])} of the {worst_word} ones, {100 * apart:.1f} points apart "
                f"({_span(float(low), float(high))}).",
                apart,
                float(low),
                float(high),
                "",
                {"epoch": case.names[i]},
                warning=True,
                series=tuple(one.recall.value.tolist()),
                at=worst,
                picture="accuracy",
            )
    return None


def _differ(recall: np.ndarray, n: np.ndarray) -> bool:
    """Test whether recalls differ by more than chance (chi-square, 5 %), over all classes together."""
    pooled = recall @ n / n.sum()
    spread = pooled * (1 - pooled)
    return bool(
        spread > 0 and scipy.special.chdtrc(len(n) - 1, n @ np.square(recall - pooled) / spread) < 1 - intervals.LEVEL
    )


FINDINGS: tuple[Callable[[Comparison], Asks], ...] = (
    unchanged,
    merged_apart,
    reversed_classes,
    best_checkpoint,
    leaves_chance,
    carrying_block,
    length,
    seen_in_training,
    leaning,
    changed_weights,
    turned,
    rearranged,
)
COSTLY = (carrying_block, merged_apart)
NEEDS: dict[Callable[[Comparison], Asks], Need] = {
    **dict.fromkeys((reversed_classes, best_checkpoint, carrying_block, leaning), "answers"),
    **dict.fromkeys((leaves_chance, length, turned), "classes"),
}


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _span(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _classes(case: Comparison, c: int) -> str:
    return "the classes are" if len(case.words) == 2 else f"{case.words[c]} and the other classes are"
