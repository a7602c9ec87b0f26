"""Memoized recipes: query -> key -> cache, computed once across threads and servers."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, get_type_hints, runtime_checkable

from backend.caching.cache import Cache
from backend.caching.progress import Progress
from backend.caching.serialize import ForeignEntry, canonical, decode, encode
from backend.caching.stopwatch import Stopwatch, apart
from backend.caching.turns import shared

MEASUREMENT_VERSION = 1
"""Increased when a definition in metrics.py or intervals.py changes: all results are then computed again."""


@runtime_checkable
class Bench(Protocol):
    """The interface of the lab that a recipe receives."""

    @property
    def cache(self) -> Cache:
        """Return the cache of results."""
        ...

    @property
    def progress(self) -> Progress:
        """Return the progress callback."""
        ...

    def watched(self, progress: Progress) -> Any:
        """Return a copy that reports to `progress`."""
        ...


@runtime_checkable
class Learning(Protocol):
    """A lab that remembers how long its queries take."""

    def learner(self, query: Any) -> Callable[[float], None]:
        """Return the callback for the seconds that a query then takes itself, without other recipes and waiting."""
        ...


@runtime_checkable
class Distributed(Protocol):
    """A lab whose results other machines may compute."""

    def elsewhere(self, request: Request[Any]) -> bytes | None:
        """Return the encoded result that another machine computed; None if it is to be computed here."""
        ...


@runtime_checkable
class Owned(Protocol):
    """A lab that works for one study."""

    @property
    def study(self) -> str | None:
        """Return the name of the study, None for none in particular."""
        ...


Q = TypeVar("Q")
L = TypeVar("L", bound=Bench)
R = TypeVar("R")


class Recipe(Generic[Q, L, R]):
    """A function of a query and a lab, with results in the lab's cache.

    `fn` is the plain function, `version` its version; results of a `private` recipe are never written to disk.
    `__name__`, `__doc__`, `__module__` and `__wrapped__` are those of the function.
    """

    __name__: str

    def __init__(self, fn: Callable[[Q, L], R], version: int, private: bool = False) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.version = version
        self.private = private

    @functools.cached_property
    def kind(self) -> type[R]:
        """Return the dataclass in the return annotation of the function."""
        return get_type_hints(self.fn)["return"]

    @property
    def name(self) -> str:
        """Return the module inside `backend` and the function, e.g. `analyses.direction.recipe`."""
        return f"{self.__module__.removeprefix('backend.')}.{self.__name__}"

    def key(self, query: Q) -> str:
        """Return `module.recipe/recipe version.measurement version/sha256 of the canonical query`."""
        digest = hashlib.sha256(canonical(query).encode()).hexdigest()
        return f"{self.name}/{self.version}.{MEASUREMENT_VERSION}/{digest}"

    def peek(self, query: Q, lab: L) -> R | None:
        """Return the result if it is in the cache, else None. Never computes or waits."""
        return self._cached(self.key(query), lab.cache)

    def computed(self, query: Q, lab: L) -> float | None:
        """Return when the result was computed, in seconds since 1970; None if it is not on disk."""
        return lab.cache.kept_at(self.key(query))

    def __call__(self, query: Q, lab: L) -> R:
        """Return the result from the cache, compute it, or wait for a running computation.

        Cold and warm results are equal: both pass `encode` and `decode`, and their arrays are read-only. Errors of the
        function are raised and not cached, so the next caller tries again. Waiting callers receive the progress of the
        computation (for another process, a waiting message), so they can be cancelled too.
        """
        return self.fetch(query, lab)[0]

    def fetch(self, query: Q, lab: L) -> tuple[R, bool]:
        """Return the result as a call does, and whether it was computed here and now."""
        key, cache = self.key(query), lab.cache
        cached = self._cached(key, cache)
        if cached is not None:
            cache.tally.hits += 1
            return cached, False
        with apart(), cache.lock(key, lab.progress) as flight:
            cached = self._cached(key, cache)
            if cached is not None:
                cache.tally.hits += 1
                return cached, False
            cache.tally.misses += 1
            watched = lab.watched(flight.reporting(lab.progress))
            learn = lab.learner(query) if isinstance(lab, Learning) else None
            stopwatch = Stopwatch()
            data = self._elsewhere(query, watched)
            if data is not None:
                learn = None  # the seconds of other machines say nothing about this one
            else:
                with nullcontext() if self.private else shared():
                    data = encode(self.fn(query, watched))
            result = decode(data, self.kind)
            study = lab.study if isinstance(lab, Owned) else None
            cache.remember(key, result, len(data), kept=not self.private and cache.put(key, data, study))
            if learn is not None:
                learn(stopwatch.seconds)
            return result, True

    def _elsewhere(self, query: Q, lab: Any) -> bytes | None:
        """Return the encoded result of another machine, if the lab has any; typed texts stay here."""
        return None if self.private or not isinstance(lab, Distributed) else lab.elsewhere(self.request(query))

    def request(self, query: Q) -> Request[R]:
        """Return the recipe with a query, to compute or look up later."""
        return Request(self, query)

    def _cached(self, key: str, cache: Cache) -> R | None:
        """Return the result from memory or disk; drop an entry that is damaged or of another type."""
        recalled = cache.recall(key)
        if isinstance(recalled, self.kind):
            return recalled
        data = cache.shipped.get(key) if self.private else cache.get(key)
        if data is None:
            return None
        try:
            result = decode(data, self.kind)
        except ForeignEntry:
            cache.drop(key)
            return None
        cache.remember(key, result, len(data), kept=not self.private)
        return result


@dataclass(frozen=True)
class Request(Generic[R]):
    """A recipe with its query, as pages, reports and the command line use it; generic in the result type."""

    recipe: Recipe[Any, Any, R]
    query: Any

    @property
    def key(self) -> str:
        """Return the key of the result in the cache."""
        return self.recipe.key(self.query)

    def peek(self, lab: Bench) -> R | None:
        """Return the result if it is in the cache, else None."""
        return self.recipe.peek(self.query, lab)

    def __call__(self, lab: Bench) -> R:
        """Return the result; compute it if it is not in the cache."""
        return self.recipe(self.query, lab)


def memoized(version: int = 1, private: bool = False) -> Callable[[Callable[[Q, L], R]], Recipe[Q, L, R]]:
    """Cache the results of `def recipe(query: Query, lab: Lab) -> Result` in the lab's cache.

    Increase `version` whenever a change of the recipe, or of the pure function that it calls, changes the result. A
    `private` recipe is for typed texts: its results stay in memory and are never written to disk.
    """

    def decorate(fn: Callable[[Q, L], R]) -> Recipe[Q, L, R]:
        return Recipe(fn, version, private)

    return decorate
