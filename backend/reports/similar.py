"""Make the section on the similarity of each layer to the reference, when it moved, and its role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backend.analyses import cka_grid, linear_probes, similarity
from backend.caching.memoize import Request
from backend.errors import UndefinedError
from backend.figures import cka_grid as grid_figures
from backend.figures import layer_roles as roles_figures
from backend.figures import similarity as figures
from backend.figures.style import seed_floor
from backend.figures.style.guide import Guide
from backend.reports.page import Section, picture, pictures, sentences, table
from backend.reports.parts import Ask, rows
from backend.stats import layer_roles
from backend.study.comparison import Comparison
from backend.vocabulary.markdown import plain

MEASURES: tuple[similarity.Measure, ...] = ("cka", "procrustes", "cosine")
LEVEL = 0.9
"""CKA below which a layer counts as moved: the default of the page."""


def similar_layers(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """Make curves of all epochs, the grid of the last epoch, and the roles of its layers."""
    if case.last == case.against:
        return
    study, reference = case.study, case.reference
    others = [checkpoint for checkpoint in study.epochs if checkpoint != reference]
    if not others:  # copies of the reference
        return
    pairs = [(checkpoint, reference) for checkpoint in others] + list(study.seeds)
    requests: list[Request[Any]] = [
        similarity.recipe.request(similarity.Query(one, other, study.prompts, case.drop_largest))
        for one, other in pairs
    ]
    try:
        found = ask(requests)
    except UndefinedError as error:
        yield Section("similarity", _TITLE.format(reference.label), [sentences([plain(str(error))])])
        return
    results, floors = found[: len(others)], found[len(others) :]
    names, places = (
        [checkpoint.label for checkpoint in others],
        [case.names.index(checkpoint.label) for checkpoint in others],
    )
    seeds = [seed_floor.named(one.label, twin.label) for one, twin in study.seeds]
    named, last = list(zip(seeds, floors, strict=True)), len(others) - 1
    guided: list[tuple[Any, Guide]] = [
        (
            figures.curves(results, names, places, len(case.names), measure, reference.label, last, named),
            figures.GUIDES[measure],
        )
        for measure in MEASURES
    ]
    guided.append((figures.moved(results, names, "cka", LEVEL, reference.label), figures.MOVED_GUIDE))
    (grid,) = ask([cka_grid.recipe.request(cka_grid.Query(others[last], reference, study.prompts, case.drop_largest))])
    guided.append((grid_figures.draw(grid, names[last], reference.label), grid_figures.GUIDE))
    called = [plain(name) for name in names]
    said = [figures.moved_in_words(results, called, "cka", LEVEL)]
    said += [
        figures.beyond_floor(results[last], floor, "cka", called[last], plain(twin.label), plain(one.label))
        for (one, twin), floor in zip(study.seeds, floors, strict=True)
    ]
    said.append(grid_figures.in_words(grid, called[last], plain(reference.label)))
    parts = [
        pictures(guided),
        sentences(said),
        *_roles(case, ask, results[last]),
        table(rows(requests, found), "Numbers"),
    ]
    yield Section("similarity", _TITLE.format(reference.label), parts)


_TITLE = "How similar is each layer to {}?"


def _roles(case: Comparison, ask: Ask, alike: similarity.Result) -> list[str]:
    prompts, last = case.study.prompts, case.study.checkpoints[case.last]
    if lacking := case.study.lacks("classes"):
        return [sentences([plain(lacking)])]
    try:
        own, other = ask(
            [
                linear_probes.recipe.request(linear_probes.Query(one, case.reference, prompts))
                for one in (last, case.reference)
            ]
        )
    except UndefinedError as error:
        return [sentences([plain(str(error))])]
    labels, classes = prompts.labels, prompts.classes
    reading = layer_roles.read(alike.alike("cka"), own.prediction, other.prediction, labels, classes, LEVEL)
    return [
        picture(
            [roles_figures.draw(reading, last.label, case.reference.label)],
            roles_figures.GUIDE,
        ),
        sentences(
            [
                roles_figures.rule(LEVEL, classes),
                roles_figures.in_words(reading, plain(last.label), plain(case.reference.label)),
            ]
        ),
    ]
