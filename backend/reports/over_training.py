"""Make the section on when training changes each layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from backend.analyses import trajectory
from backend.errors import UndefinedError
from backend.figures import trajectory as figures
from backend.figures.style.step_axis import step_axis
from backend.reports.page import Section, picture, sentences, table
from backend.reports.parts import Ask, rows
from backend.study.comparison import Comparison
from backend.vocabulary.markdown import plain

_TITLE = "When does training change each layer?"


def over_training(case: Comparison, ask: Ask, _: int) -> Iterator[Section]:
    """Make the picture of layer by step, for each class if there are more than two, and its table."""
    asked = trajectory.queries(case.study, case.reference.label)
    if not asked:
        return
    query = replace(asked[0], drop_largest=case.drop_largest)
    requests = [trajectory.recipe.request(query)]
    try:
        (result,) = ask(requests)
    except UndefinedError as error:
        yield Section("training-steps", _TITLE, [sentences([plain(str(error))])])
        return
    labels, reference = [one.label for one in query.checkpoints], case.reference.label
    axis, guide = step_axis(labels, query.steps), figures.guide(reference, query.level)
    parts: list[str] = []
    for c in range(max(1, len(result.norm.value))):
        if len(case.words) > 2:
            parts.append(sentences([f"Class **{plain(case.words[c])}** against the rest:"]))
        parts.append(picture([figures.draw(result, axis, reference, query.level, c)], guide))
        parts.append(table(figures.table(result, labels, reference, query.level, c)))
    yield Section("training-steps", _TITLE, [*parts, table(rows(requests, [result]), "Numbers")])
