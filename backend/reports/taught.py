"""Report what training taught, without labels: changed weights, residuals and predictions of the last checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backend.analyses import activation_differences, logit_differences, merging, weights
from backend.derived.model_differences import PLACES
from backend.derived.texts import NEUTRAL
from backend.figures import activation_differences as residual_figures
from backend.figures import logit_differences as prediction_figures
from backend.figures import merging as merging_figures
from backend.figures.style import theme
from backend.lab.lab import Lab
from backend.reports.evidence import Asks, Finding, subject
from backend.reports.page import Section, picture, sentences, table
from backend.reports.parts import Ask
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.comparison import Comparison
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain

ALL = PLACES.index("all")


def unchanged(case: Comparison) -> Asks:
    """Find out whether the last checkpoint has the very weights of the reference, as if its change was never saved."""
    if case.last == case.against:
        yield []
        return None
    last = case.study.checkpoints[case.last]
    (result,) = yield [weights.recipe.request(weights.Query(last, case.reference))]
    if result.changed().any() or result.vectors_changed:
        return None
    count = len(result.matrix)
    return Finding(
        f"{subject(last.label)} has the weights of {case.reference.label}: all {count} matrices are equal, and all "
        f"norms and biases. Check that its path is the trained checkpoint, and that an adapter was saved after "
        f"training.",
        0.0,
        None,
        None,
        "difference",
        {"epoch": last.label},
        warning=True,
        series=tuple(np.nan_to_num(result.by_block()).tolist()),
        picture="activation-overview",
    )


def merged_apart(case: Comparison) -> Asks:
    """Find out whether the last checkpoint is an adapter that computes something else once it is merged."""
    last = case.study.checkpoints[case.last]
    if not last.facts.adapter:
        yield []
        return None
    (result,) = yield [merging.recipe.request(merging.Query(last, case.study.prompts))]
    if result.equal:
        return None
    return Finding(
        f"{subject(last.label)} differs from its unmerged adapter by up to {100 * result.worst:.2g} %, beyond the "
        f"tolerance of {100 * result.tolerance:g} %. All pictures show the merged model; {merging_figures.ADVICE}.",
        result.worst,
        None,
        None,
        "difference",
        {"epoch": last.label, "show": "weights"},
        warning=True,
        series=tuple(result.residual.tolist()),
        at=int(result.residual.argmax()),
        picture="difference-merging",
    )


def adapters(pinned: PinnedStudy, lab: Lab) -> Iterator[str]:
    """Yield a sentence for every adapter: whether merged equals unmerged, and whether it changes anything."""
    for query in merging.queries(pinned):
        yield merging_figures.in_words(merging.recipe(query, lab), query.checkpoint.label).replace("**", "")


def taught(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """Make the section on the mean change of residuals and on changed predictions, on the neutral sentences."""
    last = case.study.checkpoints[case.last]
    if case.last == case.against or not case.study.same_ids(last, case.reference):
        return
    study, reference = case.study, case.reference.label
    twins = [pair for pair in study.seeds if study.same_ids(*pair)]
    pairs = [(last, case.reference), *twins]
    asked = [activation_differences.query(study, *pair, NEUTRAL) for pair in pairs]
    moved, *floors = ask([activation_differences.recipe.request(query) for query in asked])
    name, called = plain(last.label), [(plain(twin.label), plain(one.label)) for one, twin in twins]
    said = [residual_figures.in_words(moved, name, NEUTRAL, ALL)]
    said += [
        residual_figures.beyond_seed(moved, floor, ALL, name, *pair) for floor, pair in zip(floors, called, strict=True)
    ]
    parts = [
        sentences(said),
        picture([residual_figures.overview([moved], [last.label], ALL, reference, 0)], residual_figures.GUIDE),
    ]
    layer, lens = moved.norm.shape[1] - 1, asked[0].lens
    tokens = residual_figures.tokens(moved, last.label, ALL, layer)
    if tokens is not None and lens is not None:
        parts.append(picture([tokens], residual_figures.tokens_guide(lens.label)))
    if last.facts.predicts and case.reference.facts.predicts:
        parts += _predictions(case, ask, [pair for pair in pairs if all(one.facts.predicts for one in pair)])
    if last.facts.adapter:
        query = merging.Query(last, case.study.prompts)
        (merged,) = ask([merging.recipe.request(query)])
        drawn = merging_figures.draw(merged, last.label, theme.checkpoint_colour(case.last, len(case.names)))
        parts += [
            sentences([merging_figures.in_words(merged, plain(last.label))]),
            picture([drawn], merging_figures.GUIDE),
        ]
    yield Section("difference", "What did training teach?", parts)


def _predictions(case: Comparison, ask: Ask, pairs: list[tuple[PinnedCheckpoint, PinnedCheckpoint]]) -> list[str]:
    """Make the parts on changed predictions of the first pair; the others are twins, whose difference is a floor."""
    label = pairs[0][0].label
    queries = [logit_differences.query(case.study, *pair, NEUTRAL) for pair in pairs]
    found, *floors = ask([logit_differences.recipe.request(query) for query in queries])
    said = [prediction_figures.in_words(found, plain(label))]
    for (one, twin), floor in zip(pairs[1:], floors, strict=True):
        said.append(prediction_figures.beyond_seed(found, floor, plain(label), plain(twin.label), plain(one.label)))
    bars = [prediction_figures.tokens(found, way, label, floors) for way in logit_differences.WAYS]
    return [
        sentences(said),
        picture(bars, prediction_figures.GUIDE),
        *(
            table(rows, f"Topics that became {way}")
            for way in logit_differences.WAYS
            if (rows := prediction_figures.topics(found, way))
        ),
    ]
