"""Memoized recipes: query -> key -> cache, each computed once however many threads and servers ask at once."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, get_type_hints, runtime_checkable

from backend.caching.cache import Cache
from backend.caching.progress import Progress
from backend.caching.serialize import ForeignEntry, canonical, decode, encode

MEASUREMENT_VERSION = 1
"""Bumped when a definition in metrics.py or intervals.py changes: every cached result is then computed afresh."""


@runtime_checkable
class Bench(Protocol):
    """What a recipe needs of the lab that it is handed."""

    @property
    def cache(self) -> Cache:
        """Where results are kept."""
        ...

    @property
    def progress(self) -> Progress:
        """Where progress is reported."""
        ...

    def watched(self, progress: Progress) -> Any:
        """The same, reporting to `progress`."""
        ...


Q = TypeVar("Q")
L = TypeVar("L", bound=Bench)
R = TypeVar("R")


class Recipe(Generic[Q, L, R]):
    """A function of a query and a lab whose results are kept in the lab's cache.

    `fn` is the bare function, `version` its version, `private` says that nothing goes to disk. `__name__`, `__doc__`,
    `__module__` and `__wrapped__` are those of the function.
    """

    __name__: str

    def __init__(self, fn: Callable[[Q, L], R], version: int, private: bool = False) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.version = version
        self.private = private

    @functools.cached_property
    def kind(self) -> type[R]:
        """The dataclass that the function returns, from its annotation."""
        return get_type_hints(self.fn)["return"]

    @property
    def name(self) -> str:
        """Module below `backend` and function, e.g. `analyses.direction.recipe`."""
        return f"{self.__module__.removeprefix('backend.')}.{self.__name__}"

    def key(self, query: Q) -> str:
        """`module.recipe/recipe version.measurement version/sha256 of the canonical query`."""
        digest = hashlib.sha256(canonical(query).encode()).hexdigest()
        return f"{self.name}/{self.version}.{MEASUREMENT_VERSION}/{digest}"

    def peek(self, query: Q, lab: L) -> R | None:
        """The result if it is in the cache, else None. Never computes, never waits for a computation."""
        return self._found(self.key(query), lab.cache)

    def computed(self, query: Q, lab: L) -> float | None:
        """When the result was computed, in seconds since 1970; None if it is not on disk."""
        return lab.cache.kept_at(self.key(query))

    def __call__(self, query: Q, lab: L) -> R:
        """The result: from the cache, or computed now, or awaited from whoever is computing it already.

        Cold and warm results are alike: both have been through `encode` and `decode`, and their arrays are read-only.
        Raises what the function raises; nothing is kept then, and the next caller tries again. Whoever waits hears the
        progress of the computation (of another process: only that it is waited for), so cancelling works there too.
        """
        key, cache = self.key(query), lab.cache
        found = self._found(key, cache)
        if found is not None:
            return found
        with cache.lock(key, lab.progress) as flight:
            found = self._found(key, cache)
            if found is not None:
                return found
            data = encode(self.fn(query, lab.watched(flight.reporting(lab.progress))))
            result = decode(data, self.kind)
            cache.remember(key, result, len(data), kept=not self.private and cache.put(key, data))
            return result

    def request(self, query: Q) -> Request[R]:
        """The recipe with a query, to be computed or looked up later."""
        return Request(self, query)

    def _found(self, key: str, cache: Cache) -> R | None:
        """From memory, else from disk; an entry that is damaged or of another kind is dropped."""
        recalled = cache.recall(key)
        if isinstance(recalled, self.kind):
            return recalled
        if self.private:
            return None
        data = cache.get(key)
        if data is None:
            return None
        try:
            result = decode(data, self.kind)
        except ForeignEntry:
            cache.drop(key)
            return None
        cache.remember(key, result, len(data), kept=True)
        return result


@dataclass(frozen=True)
class Request(Generic[R]):
    """A recipe with its query: what a page, a report or the command line asks for, and the type of what comes back."""

    recipe: Recipe[Any, Any, R]
    query: Any

    @property
    def key(self) -> str:
        """The key of the result in the cache."""
        return self.recipe.key(self.query)

    def peek(self, lab: Bench) -> R | None:
        """The result if it is in the cache, else None."""
        return self.recipe.peek(self.query, lab)

    def __call__(self, lab: Bench) -> R:
        """The result, computed if need be."""
        return self.recipe(self.query, lab)


def memoized(version: int = 1, private: bool = False) -> Callable[[Callable[[Q, L], R]], Recipe[Q, L, R]]:
    """Keep the results of `def recipe(query: Query, lab: Lab) -> Result` in the lab's cache.

    Bump `version` whenever the code of the recipe, or of the pure function that it calls, changes what comes out.
    A `private` recipe is about a text that somebody typed: its results are held in memory only, never on disk.
    """

    def decorate(fn: Callable[[Q, L], R]) -> Recipe[Q, L, R]:
        return Recipe(fn, version, private)

    return decorate
