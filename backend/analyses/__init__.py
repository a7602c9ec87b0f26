"""One question per file. Analyses are found by walking this package; there is no registry."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from backend.caching.memoize import Recipe
from backend.study.kinds import Need


@dataclass(frozen=True)
class Analysis:
    """An analysis, named after its file: its recipe, and its queries for a pinned study (`warm`, `export`).

    `key` are the columns that name a row of its table, `class` among them where there are more than two. `needs` is
    what a study must have for it; without it there are no queries.
    """

    name: str
    key: tuple[str, ...]
    recipe: Recipe
    queries: Callable[..., list[Any]]
    needs: Need | None = None


def discover() -> dict[str, Analysis]:
    """Return every analysis in this package that has queries for a study, by name.

    Analyses of a single text, which a user types or chooses, have no `queries`: nothing to warm or to export.
    """
    names = sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    return {
        name: Analysis(name, module.KEY, module.recipe, module.queries, getattr(module, "NEEDS", None))
        for name, module in modules.items()
        if hasattr(module, "queries")
    }
