"""One question per file. Analyses are found by walking this package; there is no registry."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from backend.caching.memoize import Recipe
from backend.study.kinds import Need
from backend.study.pinned import PinnedStudy


@dataclass(frozen=True)
class Analysis:
    """An analysis, named after its file: its recipe, and its queries for a pinned study (`warm`, `export`).

    `key` are the columns that name a row of its table, `class` among them where there are more than two. `needs` is
    what a study must have for it; without it there are no queries. `lacking` names any other reason for that.
    """

    name: str
    key: tuple[str, ...]
    recipe: Recipe
    queries: Callable[..., list[Any]]
    needs: Need | None = None
    lacking: Callable[[PinnedStudy, str], str | None] | None = None

    def lacks(self, study: PinnedStudy, reference: str) -> str:
        """Return in one sentence why there are no queries for a study with this reference."""
        reason = (self.needs and study.lacks(self.needs)) or (self.lacking and self.lacking(study, reference))
        reason = reason or (study.lacks_head() if self.needs == "answers" else None)
        reason = reason or study.lacks_pair(reference) or study.lacks_head()
        return reason or f"This is undefined for the models of this study, compared with {reference}."


def discover() -> dict[str, Analysis]:
    """Return every analysis in this package that has queries for a study, by name.

    Analyses of a single text, which a user types or chooses, have no `queries`: nothing to warm or to export.
    """
    names = sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    return {
        name: Analysis(
            name,
            module.KEY,
            module.recipe,
            module.queries,
            getattr(module, "NEEDS", None),
            getattr(module, "lacking", None),
        )
        for name, module in modules.items()
        if hasattr(module, "queries")
    }
