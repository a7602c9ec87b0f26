"""The parts of the report about parts of the models: what each layer can be read for, swaps, tokens, predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from backend.analyses import features, output_space, probes, steering, swaps, token_groups, token_shift
from backend.caching.memoize import Request
from backend.derived.feature_contexts import ContextQuery, contexts
from backend.derived.steering_vectors import middle
from backend.derived.token_counts import count_query
from backend.figures import ablation as ablation_figures
from backend.figures import feature_contexts as context_figures
from backend.figures import features as features_figures
from backend.figures import output_space as output_figures
from backend.figures import probes as probes_figures
from backend.figures import steering as steering_figures
from backend.figures import swaps as swaps_figures
from backend.figures import token_groups as groups_figures
from backend.figures import token_shift as shift_figures
from backend.reports.page import Section, picture, sentences, table
from backend.study.comparison import Comparison
from backend.vocabulary import lexicon
from backend.vocabulary.markdown import plain

R = TypeVar("R")
RANKED = 30


@runtime_checkable
class Ask(Protocol):
    """Gets the results of requests, in order."""

    def __call__(self, wanted: Sequence[Request[R]], /) -> list[R]:
        """Compute what the cache does not hold."""
        ...


def rows(wanted: list[Request[Any]], found: list[Any]) -> list[dict[str, Any]]:
    """The rows that `export` writes of these results."""
    return [row for request, result in zip(wanted, found, strict=True) for row in result.rows(request.query)]


def through_heads(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """Every layer of reference and last checkpoint read by its own head and norm."""
    places = [i for i in dict.fromkeys((case.against, case.last)) if case.study.checkpoints[i].facts.has_head]
    if case.reference.facts.kind == "encoder" or not places:
        return
    pair = [case.study.checkpoints[i] for i in places]
    wanted: list[Request[Any]] = [
        probes.recipe.request(probes.Query(one, case.reference, case.study.prompts)) for one in pair
    ]
    found = ask(wanted)
    names, reading, c = [one.label for one in pair], ("own", "own"), len(case.words) - 1
    drawn = [
        probes_figures.curves(found, names, places, len(case.names), case.words, reading, measure, c)
        for measure in ("auc", "balanced_accuracy")
    ]
    yield Section(
        "probes",
        "From which layer on can the head read the answer?",
        [
            picture(
                drawn,
                "Every layer read as if it were the last, by the checkpoint's own norm and head, with 95 % intervals, "
                "and dotted what shuffled labels reach at any layer in one case of twenty; a head that leans to one "
                "word has a balanced accuracy of one half however much it knows.",
            ),
            table(rows(wanted, found), "Numbers of every head and norm"),
        ],
    )


def single_swaps(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """The reference with one block of the last checkpoint at a time."""
    host, donor = case.reference, case.study.checkpoints[case.last]
    if host == donor or swaps.undefined(host, donor, "block"):
        return
    wanted: list[Request[Any]] = [swaps.recipe.request(swaps.Query(host, donor, case.study.prompts))]
    found = ask(wanted)
    drawn = [
        swaps_figures.curves({"single": found[0]}, "block", measure, host.label, donor.label)
        for measure in ("balanced_accuracy", "fraction_recovered")
    ]
    yield Section(
        "swaps",
        "Which block carries it?",
        [
            picture(
                drawn,
                f"{host.label} with one block of {donor.label} at a time, with 95 % intervals; a block that fails "
                "alone may still be needed together with others, so a low curve does not say that nothing changed "
                "there.",
            ),
            sentences([swaps_figures.strongest(found[0], "block", plain(host.label), plain(donor.label))]),
            table(rows(wanted, found), "Numbers"),
        ],
    )


def steered(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """The last checkpoint with its own class direction added at every coefficient, and without it."""
    model = case.study.checkpoints[case.last]
    if not model.facts.has_head:
        return
    prompts, at = case.study.prompts, middle(case.study.base.facts.layers)
    c = 0 if prompts.classes == 2 else prompts.classes - 1
    added = steering.Query(model, model, prompts, ((at, at),), direction=c, null=steering.NULL)
    ablated = steering.ablated(model, model, prompts, at, c)
    wanted: list[Request[Any]] = [steering.recipe.request(added), steering.recipe.request(ablated)]
    found = ask(wanted)
    yield Section(
        "steering",
        "Does the class direction move the answer?",
        [
            picture(
                [
                    steering_figures.coefficients(found[0], added, "mean_logit_diff"),
                    steering_figures.flips(found[0], added, case.words),
                ],
                "The effect of a coefficient with its 95 % interval, and the answers it turns. Grey is the range of "
                f"{added.null} directions of shuffled labels, put in at the same length, and dotted their median: in "
                "there it is the steering vector that works, not the direction.",
            ),
            sentences(
                [
                    *map(plain, steering_figures.in_words(found[0], added, case.words)),
                    plain(ablation_figures.in_words(found[1], None, model.label)),
                ]
            ),
            table(rows(wanted[:1], found[:1]), "Numbers of every coefficient"),
        ],
    )


def moved_tokens(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """Which rows of the input embedding moved, and whether groups of words moved more than others as frequent."""
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
            picture(
                [
                    shift_figures.ranked(shifts, "input", "l2_centred", ids, f"{last.label}: most moved tokens"),
                    groups_figures.draw(groups, "input", "l2_centred", f"{last.label}: word groups"),
                ],
                "How far rows of the input embedding went, without the drift that all share; of a group only what lies "
                "beyond the frequency-matched band moved for what it means. " + shifts.count_note,
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
    """Features of the middle layer, as `export` asks for them, and the texts of the one that tells most."""
    (query,) = features.queries(case.study, case.reference.label)
    (found,) = ask([features.recipe.request(query)])
    names = [case.reference.label] + ([query.checkpoint.label] if case.last != case.against else [])
    at = found.auc.shape[1] - 1
    ids = features_figures.ranked(found, "auc", at, "", len(names))
    if not ids:
        return
    asked = ContextQuery(query.checkpoint, query.reference, query.prompts, query.source, ids[0])
    (where,) = ask([contexts.request(asked)])
    labels = query.prompts.labels
    index = case.study.sample.index
    drawn = [context_figures.texts(where, m, names, case.words, labels, index) for m in range(len(names))]
    yield Section(
        "features",
        f"What are the residuals of layer {found.layer} made of?",
        [
            table(features_figures.quality(found, names)),
            picture(
                [features_figures.scatter(found, names, at, case.words[-1])],
                "Features of a sparse autoencoder at their rates in both models, ringed where they tell the classes "
                "apart with one false discovery in twenty; another seed finds other features, so none is the model's "
                "own.",
            ),
            sentences(features_figures.in_words(found, list(map(plain, names)), at, f"“{plain(case.words[-1])}”")),
            sentences(
                [
                    f"Feature {ids[0]}, whose AUC is furthest from one half: the reviews in which it fires most; the "
                    "strongest firings are the clearest ones, and what it mostly fires at may be something else."
                ]
            ),
            *drawn,
            table(features_figures.table(found, ids[:RANKED], names, at), "The features that tell most"),
        ],
    )


def predictions(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """What the last checkpoint predicts behind neutral sentences instead of what the reference does."""
    ends = [case.study.checkpoints[i] for i in dict.fromkeys((case.against, case.last))]
    if not all(one.facts.predicts for one in ends):
        return
    wanted: list[Request[Any]] = [
        output_space.recipe.request(output_space.query(case.study, one, case.reference, "neutral")) for one in ends
    ]
    found = ask(wanted)
    label = ends[-1].label
    yield Section(
        "output",
        "What is predicted instead?",
        [
            picture(
                [
                    output_figures.listed(found[-1], True, f"{label}: likelier behind neutral sentences"),
                    output_figures.listed(found[-1], False, f"{label}: unlikelier behind neutral sentences"),
                ],
                "Mean change of the log-probability of a token behind neutral sentences; most such tokens are rare, "
                "and remain so.",
            ),
            table(rows(wanted, found), "Numbers"),
        ],
    )
