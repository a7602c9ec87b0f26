"""The parts of the report: each asks for results and makes the pictures of a page, for its sensible defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

from backend.analyses import cosines, direction, projection, weights
from backend.analyses import map as maps
from backend.errors import LayershiftError
from backend.figures import accuracy as accuracy_figures
from backend.figures import confounds as confounds_figures
from backend.figures import cosines as cosines_figures
from backend.figures import direction as direction_figures
from backend.figures import map as map_figures
from backend.figures import projection as projection_figures
from backend.figures import training_log as training_figures
from backend.figures import weights as weights_figures
from backend.reports import findings
from backend.reports.evidence import accuracy_requests, card_request, direction_requests
from backend.reports.page import Section, picture, sentences, table
from backend.reports.parts import Ask, layer_features, moved_tokens, predictions, single_swaps, steered, through_heads
from backend.reports.similar import similar_layers
from backend.study.comparison import Comparison
from backend.study.training_log import read_training_log
from backend.vocabulary.markdown import plain


def _findings(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    said = findings.find(case, ask, ask) or ()
    lines = [("**Mind:** " if one.warning else "") + plain(one.sentence) for one in said]
    yield Section(
        "findings",
        "What the numbers say",
        [sentences(lines or ["Nothing that the numbers support: what differs here may be chance."], "findings")],
    )


def _sample(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    request = card_request(case)
    (card,) = ask([request])
    yield Section(
        "sample",
        "What else could explain the numbers?",
        [
            sentences(confounds_figures.card(card, [plain(name) for name in case.names], len(case.study.sample.text))),
            picture(
                [confounds_figures.quartiles(card, case.names), confounds_figures.sameness(card, case.names)],
                "Read this before any other picture: a sample whose classes differ in length, or that was trained on, "
                "shows directions that are not about the classes, and quartiles hold few reviews each, so mind their "
                "intervals.",
            ),
            table(list(card.rows(request.query)), "Numbers"),
        ],
    )


def _answers(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    wanted = accuracy_requests(case)
    found = ask(wanted)
    rows = [row for request, result in zip(wanted, found, strict=True) for row in result.rows(request.query)]
    yield Section(
        "answers",
        "How well does each checkpoint answer?",
        [
            picture(
                [accuracy_figures.draw(found, case.names, case.words)],
                "Share of texts whose largest logit among the label words is the right one, with 95 % intervals; do "
                "not read one recall alone: a checkpoint that gives one answer to everything has 100 % there and 0 % "
                "elsewhere.",
            ),
            table(accuracy_figures.table(found, case.names, case.words)),
            table(rows, "All numbers"),
        ],
    )


def _training(case: Comparison, _: Ask, __: int) -> Iterator[Section]:
    title = "How did training go?"
    try:
        log = read_training_log(case.study.study)
    except LayershiftError as error:  # the log is no reason to lose the report
        yield Section("training", title, [sentences([plain(str(error))])])
        return
    if log is None:
        return
    labels = [one.label for one in case.study.study.epochs]
    figures = training_figures.draw(log, len(case.words), labels)
    yield Section("training", title, [picture(list(figures.values()), training_figures.guide(log))])


def _weights(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    if case.last == case.against:
        return
    last = case.study.checkpoints[case.last]
    query = weights.Query(last, case.reference)
    (found,) = ask([weights.recipe.request(query)])
    yield Section(
        "weights",
        "Which weights changed, and by how much?",
        [
            picture(
                [
                    weights_figures.draw(found, f"{words.capitalize()}: {case.reference.label} → {last.label}", scale)
                    for scale, words in weights_figures.SCALES.items()
                ],
                "Size of the change over the size of the matrix before (Frobenius norms), and in how many directions "
                "it changed (stable rank); these are exact and no sample, but a large change of weights need not "
                "change what the model does, and a small one may.",
            ),
            table(list(found.rows(query)), "Numbers"),
        ],
    )


def _pair(case: Comparison) -> list[int]:
    """Positions of the reference and the last checkpoint, or of the reference alone."""
    return list(dict.fromkeys((case.against, case.last)))


def _of_reviews(case: Comparison, found: list[Any], figure: Any, more: str = "") -> list[Any]:
    labels, texts = case.study.prompts.labels, case.study.sample.text
    names = [case.names[i] + more for i in _pair(case)]
    return [figure(one, labels, texts, case.words, name) for one, name in zip(found, names, strict=True)]


def _projections(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    pair = [case.study.checkpoints[i] for i in _pair(case)]
    prompts = case.study.prompts
    queries = [projection.Query("own", one, case.reference, (), prompts, case.drop_largest) for one in pair]
    found = ask([projection.recipe.request(query) for query in queries])
    yield Section(
        "pca",
        "What do the reviews look like at each layer?",
        [
            picture(
                _of_reviews(case, found, projection_figures.draw),
                "Every panel is a layer, named with the share of the variance on its x and y axis (PCA of that "
                "checkpoint's own), every point a review at the readout position, the arrow leads from one class mean "
                "to the other; panels have their own scales, so compare shapes and not sizes, and two axes of many "
                "can hide a separation that the direction below shows.",
            )
        ],
    )


def _directions(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    wanted = direction_requests(case)
    found: list[direction.Result] = ask(wanted)
    names, places = [case.names[i] for i in _pair(case)], _pair(case)
    shown = [found[i] for i in places]
    parts: list[str] = []
    for at in range(len(found[0].leaves_chance)):
        if len(case.words) > 2:
            parts.append(sentences([f"**{plain(case.words[at])}** against the other classes"]))
        for scale in reversed(direction_figures.SCALES):
            drawn = [
                direction_figures.heatmap(found, case.names, scale, at),
                direction_figures.curves(shown, names, places, len(case.names), scale, at),
            ]
            parts.append(picture(drawn, _GUIDES[scale]))
        parts.append(sentences([direction_figures.leaves_chance(shown, [plain(name) for name in names], at)]))
    rows = [row for i in places for row in found[i].rows(wanted[i].query)]
    parts.append(table(rows, "Numbers"))
    yield Section("direction", "How far apart are the classes, and is it more than chance?", parts)


_GUIDES = {
    "separation": "The distance between the class means in units of the spread within a class, with 95 % intervals, "
    "ringed where it leaves chance for good; dotted is what shuffled labels reach at any layer in one case of twenty, "
    "and nothing below it is to be believed.",
    "relative": "The same distance over the mean length of the residuals, for comparing layers; it has not been "
    "relieved of noise, so read it against the dotted line.",
    "unbiased": "The same distance without what sampling noise adds; it says whether there is one, but grows with the "
    "residual stream, so do not compare layers by it.",
    "raw": "The same distance as it is measured; it grows with the residual stream and with noise, so trust no other "
    "reading of it than that against the dotted line.",
}


def _cosines(case: Comparison, ask: Ask, layer: int) -> Iterator[Section]:
    query = cosines.Query(case.study.checkpoints, case.study.prompts, case.drop_largest, case.reference)
    (found,) = ask([cosines.recipe.request(query)])
    lines = ask(direction_requests(case))
    others = [i for i in range(len(case.names)) if i != case.against]
    parts: list[str] = []
    for at in range(len(lines[0].leaves_chance)):
        if others:
            names = [case.names[i] for i in others]
            there = [lines[i] for i in others]
            drawn = direction_figures.to_reference(there, names, others, len(case.names), case.reference.label, at)
            parts.append(
                picture(
                    [drawn],
                    f"How far each checkpoint's class direction points the way of {case.reference.label}'s (1: the "
                    "same, 0: unrelated); plain cosines are inflated because all checkpoints saw the same reviews, "
                    "the split-half curves are not, and have gaps where a direction is within its noise.",
                )
            )
        heats = [cosines_figures.between_layers(found, i, case.names[i], at) for i in _pair(case)]
        heats.append(cosines_figures.between_checkpoints(found, layer, case.names, at))
        parts.append(
            picture(
                heats,
                "Cosines between the class directions of layers, and of checkpoints at one layer; they are plain "
                "ones, inflated by the shared reviews and the shared residual stream, and say nothing where the "
                "direction is within chance.",
            )
        )
    yield Section("cosines", "Do checkpoints and layers share a direction?", parts)


def _maps(case: Comparison, ask: Ask, layer: int) -> Iterator[Section]:
    pair = [case.study.checkpoints[i] for i in _pair(case)]
    parts: list[str] = []
    for method in get_args(maps.Method):
        name = map_figures.NAMES[method]
        queries: list[Any] = [
            maps.Query(method, one, case.reference, case.study.prompts, layer, drop_largest=case.drop_largest)
            for one in pair
        ]
        found = ask([maps.recipe.request(query) for query in queries])
        parts.append(
            picture(
                _of_reviews(case, found, map_figures.draw, f", layer {layer}, {name}"),
                "Neighbours on the map are mostly neighbours in the residual stream, while distances between groups, "
                "their sizes and their shapes mean nothing; both maps start from the reference's positions.",
            )
        )
        against, labels = plain(case.reference.label), [plain(one.label) for one in pair]
        parts.append(sentences(map_figures.in_words(r, name, against) for r, name in zip(found, labels, strict=True)))
    yield Section("map", f"Which reviews are neighbours at layer {layer}?", parts)


SECTIONS: dict[str, Callable[[Comparison, Ask, int], Iterator[Section]]] = {
    "findings": _findings,
    "sample": _sample,
    "accuracy": _answers,
    "training": _training,
    "weights": _weights,
    "projection": _projections,
    "direction": _directions,
    "cosines": _cosines,
    "similarity": similar_layers,
    "map": _maps,
    "probes": through_heads,
    "swaps": single_swaps,
    "steering": steered,
    "tokens": moved_tokens,
    "output space": predictions,
    "features": layer_features,
}
"""What stands in the report, in order; each makes its sections from results that it asks for."""
