"""Make the sections of the report: each requests results and draws the pictures of a page with its defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

from backend.analyses import cosines, direction, ordered, projection, weights
from backend.analyses import map as maps
from backend.errors import LayershiftError
from backend.figures import accuracy as accuracy_figures
from backend.figures import confounds as confounds_figures
from backend.figures import cosines as cosines_figures
from backend.figures import direction as direction_figures
from backend.figures import map as map_figures
from backend.figures import ordered as ordered_figures
from backend.figures import projection as projection_figures
from backend.figures import training_log as training_figures
from backend.figures import weights as weights_figures
from backend.figures.style.step_axis import step_axis
from backend.reports import findings
from backend.reports.evidence import accuracy_requests, card_request, direction_requests
from backend.reports.over_training import over_training
from backend.reports.page import Section, moving, picture, pictures, sentences, table
from backend.reports.parts import Ask, layer_features, moved_tokens, predictions, single_swaps, steered, through_heads
from backend.reports.similar import similar_layers
from backend.reports.taught import taught
from backend.study.comparison import Comparison
from backend.study.kinds import Need
from backend.study.training_log import read_training_log
from backend.vocabulary.markdown import plain


def _findings(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    said = findings.find(case, ask, ask) or ()
    lines = [("**Warning:** " if one.warning else "") + plain(one.sentence) for one in said]
    yield Section(
        "findings",
        "What the numbers say",
        [sentences(lines or ["The numbers support no finding: the differences may be chance."], "findings")],
    )


def _sample(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    request = card_request(case)
    (card,) = ask([request])
    quartiles = [] if case.study.lacks("answers") else [confounds_figures.quartiles(card, case.names)]
    yield Section(
        "sample",
        "What else could explain the numbers?",
        [
            sentences(confounds_figures.card(card, [plain(name) for name in case.names], len(case.study.sample.text))),
            picture(
                [*quartiles, confounds_figures.sameness(card, case.names)],
                confounds_figures.GUIDE if quartiles else confounds_figures.UNASKED_GUIDE,
            ),
            table(list(card.rows(request.query)), "Numbers"),
        ],
    )


def _answers(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    requests = accuracy_requests(case)
    results = ask(requests)
    rows = [row for request, result in zip(requests, results, strict=True) for row in result.rows(request.query)]
    yield Section(
        "answers",
        "How well does each checkpoint answer?",
        [
            picture(
                [accuracy_figures.draw(results, step_axis(case.names, case.steps), case.words)],
                accuracy_figures.GUIDE,
            ),
            table(accuracy_figures.table(results, case.names, case.words)),
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
    labels = [checkpoint.label for checkpoint in case.study.study.epochs]
    figures = training_figures.draw(log, len(case.words), labels)
    yield Section("training", title, [picture(list(figures.values()), training_figures.guide(log))])


def _weights(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    if case.last == case.against:
        return
    last = case.study.checkpoints[case.last]
    query = weights.Query(last, case.reference)
    (results,) = ask([weights.recipe.request(query)])
    yield Section(
        "weights",
        "Which weights changed, and by how much?",
        [
            picture(
                [
                    weights_figures.draw(results, f"{words.capitalize()}: {case.reference.label} → {last.label}", scale)
                    for scale, words in weights_figures.SCALES.items()
                ],
                weights_figures.GUIDE,
            ),
            table(list(results.rows(query)), "Numbers"),
        ],
    )


def _pair(case: Comparison) -> list[int]:
    """Return the positions of the reference and the last checkpoint, or of the reference alone."""
    return list(dict.fromkeys((case.against, case.last)))


def _projections(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    queries = projection.of_all(case.study, case.reference, "shared", case.drop_largest)
    results = ask([projection.recipe.request(query) for query in queries])
    sample, epochs = case.study.sample, [checkpoint.label for checkpoint in case.study.epochs]
    labels, index = case.study.prompts.labels, sample.index.tolist()
    data = projection_figures.pack(results, case.names, epochs, labels, sample.text, index, case.words, sample.values)
    guide = projection_figures.guide(len(case.words), bool(sample.values))
    yield Section(
        "pca",
        "What do the texts look like at each layer?",
        [moving(data, case.names[case.last], case.reference.label, guide)],
    )


def _ordered(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    if case.study.lacks("order"):
        return
    study = case.study
    requests = [
        ordered.recipe.request(
            ordered.Query(one, case.reference, study.prompts, study.sample.values, case.drop_largest)
        )
        for one in study.checkpoints
    ]
    results, places = ask(requests), _pair(case)
    pair, names = [results[i] for i in places], [case.names[i] for i in places]
    rows = [row for request, result in zip(requests, results, strict=True) for row in result.rows(request.query)]
    yield Section(
        "ordered",
        "How well does each layer hold the order of the label?",
        [
            sentences([ordered_figures.in_words(one, plain(name)) for one, name in zip(pair, names, strict=True)]),
            picture([ordered_figures.heatmap(results, case.names)], ordered_figures.LEAD_GUIDE),
            picture([ordered_figures.curves(pair, names, places, len(case.names))], ordered_figures.CURVES_GUIDE),
            table(rows, "Numbers"),
        ],
    )


def _directions(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    requests = direction_requests(case)
    results: list[direction.Result] = ask(requests)
    names, places = [case.names[i] for i in _pair(case)], _pair(case)
    shown, every = [results[i] for i in places], [*range(len(case.names))]
    parts: list[str] = []
    for at in range(len(results[0].leaves_chance)):
        if len(case.words) > 2:
            parts.append(sentences([f"**{plain(case.words[at])}** against the other classes"]))
        for scale in reversed(direction_figures.SCALES):
            cell = (case.last, results[0].norm.value.shape[1] - 1)
            heat = direction_figures.heatmap(results, case.names, scale, at, cell)
            curves = direction_figures.curves(
                results, case.names, every, len(every), scale, at, (case.names[case.last], case.reference.label)
            )
            parts.append(pictures([(heat, direction_figures.GUIDES[scale]), (curves, direction_figures.CURVES_GUIDE)]))
        parts.append(sentences([direction_figures.leaves_chance(shown, [plain(name) for name in names], at)]))
    rows = [row for i in places for row in results[i].rows(requests[i].query)]
    parts.append(table(rows, "Numbers"))
    yield Section("direction", "How far apart are the classes, compared with chance?", parts)


def _cosines(case: Comparison, ask: Ask, layer: int) -> Iterator[Section]:
    query = cosines.Query(case.study.checkpoints, case.study.prompts, case.drop_largest, case.reference)
    (results,) = ask([cosines.recipe.request(query)])
    lines = ask(direction_requests(case))
    others = [i for i in range(len(case.names)) if i != case.against]
    parts: list[str] = []
    for at in range(len(lines[0].leaves_chance)):
        if others:
            names = [case.names[i] for i in others]
            there = [lines[i] for i in others]
            drawn = cosines_figures.to_reference(there, names, others, len(case.names), case.reference.label, at)
            parts.append(picture([drawn], cosines_figures.reference_guide(case.reference.label)))
        heats = [cosines_figures.between_layers(results, i, case.names, at, i == case.last) for i in _pair(case)]
        parts.append(picture(heats, cosines_figures.LAYERS_GUIDE))
        checkpoints = cosines_figures.between_checkpoints(results, layer, case.names, at)
        parts.append(picture([checkpoints], cosines_figures.CHECKPOINTS_GUIDE))
    yield Section("cosines", "Do checkpoints and layers share a direction?", parts)


def _maps(case: Comparison, ask: Ask, layer: int) -> Iterator[Section]:
    pair = [case.study.checkpoints[i] for i in _pair(case)]
    labels, sample = case.study.prompts.labels, case.study.sample
    parts: list[str] = []
    for method in get_args(maps.Method):
        name = map_figures.NAMES[method]
        queries: list[Any] = [
            maps.Query(method, checkpoint, case.reference, case.study.prompts, layer, drop_largest=case.drop_largest)
            for checkpoint in pair
        ]
        results = ask([maps.recipe.request(query) for query in queries])
        titles = [f"{checkpoint.label}, layer {layer}, {name}" for checkpoint in pair]
        drawn = [
            map_figures.draw(result, labels, sample.text, case.words, title, values=sample.values)
            for result, title in zip(results, titles, strict=True)
        ]
        parts.append(picture(drawn, map_figures.guide(bool(sample.values))))
        words = [
            map_figures.in_words(r, plain(checkpoint.label), plain(case.reference.label))
            for r, checkpoint in zip(results, pair, strict=True)
        ]
        parts.append(sentences(words))
    yield Section("map", f"Which texts are neighbours at layer {layer}?", parts)


SECTIONS: dict[str, Callable[[Comparison, Ask, int], Iterator[Section]]] = {
    "findings": _findings,
    "sample": _sample,
    "accuracy": _answers,
    "training": _training,
    "weights": _weights,
    "projection": _projections,
    "ordered": _ordered,
    "direction": _directions,
    "cosines": _cosines,
    "similarity": similar_layers,
    "training-steps": over_training,
    "map": _maps,
    "probes": through_heads,
    "swaps": single_swaps,
    "steering": steered,
    "tokens": moved_tokens,
    "output space": predictions,
    "features": layer_features,
    "difference": taught,
}
"""The parts of the report in order; each makes its sections from the results that it requests."""
NEEDS: dict[str, Need] = {
    **dict.fromkeys(("accuracy", "probes", "swaps", "steering"), "answers"),
    **dict.fromkeys(("direction", "cosines"), "classes"),
}
"""The parts that need answers or classes."""
