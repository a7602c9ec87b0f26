"""Make the sections of the report on heads, swaps, steering, tokens, features and predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from backend.analyses import features, output_space, probes, steering, swaps, token_groups, token_shift
from backend.caching.memoize import Request
from backend.derived.feature_contexts import ContextQuery, contexts
from backend.derived.steering_vectors import middle
from backend.derived.swap_logits import Part
from backend.derived.token_counts import count_query
from backend.figures import ablation as ablation_figures
from backend.figures import autoencoder_quality as quality_figures
from backend.figures import feature_contexts as context_figures
from backend.figures import features as features_figures
from backend.figures import output_space as output_figures
from backend.figures import probes as probes_figures
from backend.figures import single_swaps as single_figures
from backend.figures import steering as steering_figures
from backend.figures import token_groups as groups_figures
from backend.figures import token_shift as shift_figures
from backend.figures.style import theme
from backend.reports.page import Section, picture, pictures, reading, sentences, table
from backend.study.comparison import Comparison
from backend.vocabulary import lexicon
from backend.vocabulary.markdown import plain

R = TypeVar("R")
RANKED = 30


@runtime_checkable
class Ask(Protocol):
    """Gets the results of requests, in order."""

    def __call__(self, requests: Sequence[Request[R]], /) -> list[R]:
        """Compute what the cache does not hold."""
        ...


def rows(requests: list[Request[Any]], results: list[Any]) -> list[dict[str, Any]]:
    """Return the rows that `export` writes of these results."""
    return [row for request, result in zip(requests, results, strict=True) for row in result.rows(request.query)]


def through_heads(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """Make the section on every layer of both models, read by its own head and norm."""
    places = [i for i in dict.fromkeys((case.against, case.last)) if case.study.checkpoints[i].facts.replies]
    if case.reference.facts.kind == "encoder" or not places:
        return
    pair = [case.study.checkpoints[i] for i in places]
    requests: list[Request[Any]] = [
        probes.recipe.request(probes.Query(checkpoint, case.reference, case.study.prompts)) for checkpoint in pair
    ]
    results = ask(requests)
    names, reading, c = [checkpoint.label for checkpoint in pair], ("own", "own"), len(case.words) - 1
    colours = [theme.checkpoint_colour(place, len(case.names)) for place in places]
    drawn = [
        probes_figures.curves(results, names, colours, case.words, reading, measure, c)
        for measure in ("auc", "balanced_accuracy")
    ]
    yield Section(
        "probes",
        "From which layer on can the head read the answer?",
        [
            picture(
                drawn,
                probes_figures.curves_guide(reading),
            ),
            table(rows(requests, results), "Numbers of every head and norm"),
        ],
    )


def single_swaps(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """Make the section on the last checkpoint with one part of the reference at a time."""
    host, donor = case.study.checkpoints[case.last], case.reference
    if host == donor or swaps.undefined(host, donor, "block"):
        return
    named: list[Part] = [part for part in single_figures.SINGLE_PARTS if not swaps.undefined(host, donor, part)]
    requests: list[Request[Any]] = [
        swaps.recipe.request(swaps.Query(host, donor, case.study.prompts, part)) for part in named
    ]
    results = ask(requests)
    block, *others = results
    outside: dict[Part, swaps.Result] = dict(zip(named[1:], others, strict=True))
    drawn = [
        single_figures.parts(block, "block", outside, measure, host.label, donor.label)
        for measure in ("fraction_recovered", "balanced_accuracy")
        if donor.facts.replies or measure == "balanced_accuracy"
    ]
    by_part: dict[Part, swaps.Result] = dict(zip(named, results, strict=True))
    back = case.against < case.last
    yield Section(
        "swaps",
        "Which block carries the change?",
        [
            sentences([single_figures.strongest(by_part, plain(host.label), plain(donor.label), back)]),
            picture(drawn, single_figures.PARTS_GUIDE),
            table(rows(requests, results), "Numbers"),
        ],
    )


def steered(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """Make the section on the last checkpoint with its class direction added or ablated."""
    model = case.study.checkpoints[case.last]
    if not model.facts.replies:
        return
    prompts, at = case.study.prompts, middle(case.study.base.facts.layers)
    c = 0 if prompts.classes == 2 else prompts.classes - 1
    added = steering.Query(model, model, prompts, ((at, at),), direction=c, null=steering.NULL)
    ablated = steering.ablated(model, model, prompts, at, c)
    requests: list[Request[Any]] = [steering.recipe.request(added), steering.recipe.request(ablated)]
    results = ask(requests)
    yield Section(
        "steering",
        "Does the class direction move the answer?",
        [
            picture(
                [
                    steering_figures.coefficients(results[0], added, "mean_logit_diff"),
                    steering_figures.flips(results[0], added, case.words),
                ],
                steering_figures.COEFFICIENTS_GUIDE,
            ),
            sentences(
                [
                    *map(plain, steering_figures.in_words(results[0], added, case.words)),
                    plain(ablation_figures.in_words(results[1], None, model.label)),
                ]
            ),
            table(rows(requests[:1], results[:1]), "Numbers of every coefficient"),
        ],
    )


def moved_tokens(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """Make the section on moved rows of the input embedding, and on word groups of equal frequency."""
    if case.last == case.against:
        return
    last, own = case.study.checkpoints[case.last], lexicon.own_words(case.study.study.lexicon)
    counts = count_query(case.study)
    (shifts,) = ask([token_shift.recipe.request(token_shift.Query(last, case.reference, counts, own))])
    (groups,) = ask([token_groups.recipe.request(token_groups.Query(last, case.reference, counts, own))])
    ids = shift_figures.chosen(shifts, "input", "l2_centred", "", RANKED)
    yield Section(
        "tokens",
        "Which words moved?",
        [
            pictures(
                [
                    (
                        shift_figures.ranked(shifts, "input", "l2_centred", ids, f"{last.label}: most moved tokens"),
                        shift_figures.guide(shifts),
                    ),
                    (
                        groups_figures.draw(groups, "input", "l2_centred", f"{last.label}: word groups"),
                        groups_figures.guide(groups),
                    ),
                ]
            ),
            sentences(
                [
                    groups_figures.in_words(groups, plain(name), "input", "l2_centred", g)
                    for g, name in enumerate(groups.groups)
                ]
            ),
        ],
    )


def layer_features(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """Make the section on features of the middle layer, and the texts of the most separating one."""
    (query,) = features.queries(case.study, case.reference.label)
    (results,) = ask([features.recipe.request(query)])
    names = [case.reference.label] + ([query.checkpoint.label] if case.last != case.against else [])
    at = results.auc.shape[1] - 1
    ids = features_figures.ranked(results, "auc", at, "", len(names))
    if not ids:
        return
    asked = ContextQuery(query.checkpoint, query.reference, query.prompts, query.source, ids[0])
    (where,) = ask([contexts.request(asked)])
    labels = query.prompts.labels
    index = case.study.sample.index
    drawn = [context_figures.texts(where, m, names, case.words, labels, index) for m in range(len(names))]
    yield Section(
        "features",
        f"Which features make up the residuals of layer {results.layer}?",
        [
            table(quality_figures.table(results, names)),
            reading(quality_figures.guide(results.layer)),
            picture([features_figures.scatter(results, names, at, case.words[-1])], features_figures.GUIDE),
            sentences(features_figures.in_words(results, list(map(plain, names)), at, f"“{plain(case.words[-1])}”")),
            sentences([f"Feature {ids[0]}, whose AUC is furthest from 0.5:"]),
            *drawn,
            reading(context_figures.TEXTS_GUIDE),
            table(
                features_figures.table(results, ids[:RANKED], names, at), "The features that separate the classes most"
            ),
        ],
    )


def predictions(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """Make the section on changed predictions of the last checkpoint after neutral sentences."""
    ends = [case.study.checkpoints[i] for i in dict.fromkeys((case.against, case.last))]
    if not all(checkpoint.facts.predicts for checkpoint in ends):
        return
    requests: list[Request[Any]] = [
        output_space.recipe.request(output_space.query(case.study, checkpoint, case.reference, "neutral"))
        for checkpoint in ends
    ]
    results = ask(requests)
    label = ends[-1].label
    yield Section(
        "output",
        "Which predictions changed?",
        [
            picture(
                [
                    output_figures.listed(results[-1], True, f"{label}: likelier after neutral sentences"),
                    output_figures.listed(results[-1], False, f"{label}: less likely after neutral sentences"),
                ],
                output_figures.LISTED_GUIDE,
            ),
            table(rows(requests, results), "Numbers"),
        ],
    )
