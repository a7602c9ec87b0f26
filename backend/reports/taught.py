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
    if np.nan_to_num(result.relative_change).any():
        return None
    count = len(result.matrix)
    return Finding(
        f"{subject(last.label)} has the weights of {case.reference.label}: all {count} matrices are equal. Check that "
        f"its path is the trained checkpoint, and that an adapter was saved after training.",
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
    asked = activation_differences.query(case.study, last, case.reference, NEUTRAL)
    (moved,) = ask([activation_differences.recipe.request(asked)])
    reference = case.reference.label
    parts = [
        sentences([residual_figures.in_words(moved, plain(last.label), NEUTRAL, ALL)]),
        picture([residual_figures.overview([moved], [last.label], ALL, reference, 0)], residual_figures.GUIDE),
    ]
    layer = moved.norm.shape[1] - 1
    tokens = residual_figures.tokens(moved, last.label, ALL, layer)
    if tokens is not None and asked.lens is not None:
        parts.append(picture([tokens], residual_figures.tokens_guide(asked.lens.label)))
    if last.facts.predicts and case.reference.facts.predicts:
        query = logit_differences.query(case.study, last, case.reference, NEUTRAL)
        (found,) = ask([logit_differences.recipe.request(query)])
        bars = [prediction_figures.tokens(found, way, last.label) for way in logit_differences.WAYS]
        parts += [
            sentences([prediction_figures.in_words(found, plain(last.label))]),
            picture(bars, prediction_figures.GUIDE),
            *(
                table(rows, f"Topics that became {way}")
                for way in logit_differences.WAYS
                if (rows := prediction_figures.topics(found, way))
            ),
        ]
    if last.facts.adapter:
        query = merging.Query(last, case.study.prompts)
        (merged,) = ask([merging.recipe.request(query)])
        drawn = merging_figures.draw(merged, last.label, theme.checkpoint_colour(case.last, len(case.names)))
        parts += [
            sentences([merging_figures.in_words(merged, plain(last.label))]),
            picture([drawn], merging_figures.GUIDE),
        ]
    yield Section("difference", "What did training teach?", parts)
