"""Whatever an analysis asks for is in the key of its result: no field can change without another key."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from backend.analyses import Analysis, discover
from backend.caching.serialize import canonical
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts
from tests.fakes import fake_study


def other(value: Any, study: PinnedStudy) -> Any:
    """A value of the same type that differs."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case PinnedCheckpoint():
            return next(one for one in study.checkpoints if one != value)
        case Prompts():
            return replace(value, digest="other")
        case tuple():
            return value[:-1] if value else ("x",)
        case _:
            return next(replace(value, **{name: new}) for name, new in changes(value, study))


def changes(query: Any, study: PinnedStudy) -> list[tuple[str, Any]]:
    """Return each field that belongs to the key, with another value."""
    counted = [field.name for field in fields(query) if field.metadata.get("key", True)]
    counted = [name for name in counted if getattr(query, name) is not None]
    return [(name, other(getattr(query, name), study)) for name in counted]


@pytest.mark.parametrize("analysis", discover().values(), ids=lambda analysis: analysis.name)
def test_every_field_of_a_query_is_in_its_key(analysis: Analysis):
    study = fake_study(epochs=3, classes=2)
    adapter = replace(study.checkpoints[-1], facts=replace(study.base.facts, adapter=True))
    study = replace(study, checkpoints=(*study.checkpoints[:-1], adapter))
    kinds = [study, fake_study(kind="contrast"), fake_study(kind="ordered")]
    asked = next((queries for one in kinds if (queries := analysis.queries(one, "base"))), None)
    assert asked
    for query in asked[:2]:
        for name, value in changes(query, study):
            try:
                changed = replace(query, **{name: value})
            except TypeError:  # a choice among a few texts: the type check refuses another
                continue
            assert canonical(changed) != canonical(query), name
