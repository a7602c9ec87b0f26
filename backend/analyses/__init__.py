"""One question per file. Analyses are found by walking this package; there is no registry."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from backend.caching.memoize import Recipe


@dataclass(frozen=True)
class Analysis:
    """One analysis by its file's name: its recipe, and the queries that `warm` and `export` ask for a pinned study.

    `key` are the columns that name a row of its table, `class` among them where there are more than two.
    """

    name: str
    key: tuple[str, ...]
    recipe: Recipe
    queries: Callable[..., list[Any]]


def discover() -> dict[str, Analysis]:
    """Every analysis in this package that asks something of a study, by name.

    One of a single text, which somebody types or chooses, has no `queries`: there is nothing to warm or to export.
    """
    names = sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    return {
        name: Analysis(name, module.KEY, module.recipe, module.queries)
        for name, module in modules.items()
        if hasattr(module, "queries")
    }
