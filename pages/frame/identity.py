"""What a picture depends on, as a text to compare: numbers and words by content, results by being the same objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import FunctionType
from typing import Any
from weakref import ref

from backend.caching.memoize import Recipe, Request
from backend.study.checkpoint import PinnedCheckpoint
from pages.frame.shell import View


class _Unknown(Exception):
    """A value whose content cannot be told."""


class Identity:
    """The `text` of some values: equal texts mean equal values while the objects in them live."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self._held: list[ref[Any]] = []
        self._inside: set[int] = set()
        self.text = self._said(values)

    @classmethod
    def of(cls, *values: Any) -> Identity | None:
        """Return the identity of values, None if the content of one cannot be told."""
        try:
            return cls(values)
        except _Unknown:
            return None

    def holds(self) -> bool:
        """Return whether all objects still live; another may have the address of one that does not."""
        return all(one() is not None for one in self._held)

    def _said(self, value: Any) -> str:
        match value:
            case None | bool() | int() | float() | str():
                return repr(value)
            case list() | tuple():
                return f"[{','.join(map(self._said, value))}]"
            case Mapping():
                return f"{{{','.join(f'{self._said(key)}:{self._said(one)}' for key, one in value.items())}}}"
            case View():
                said = [value.value(key) for key in value.choices]
                ends = [value.checkpoint.label, value.reference.label, value.drop_largest]
                return f"view({self._same(value.study)},{ends!r},{said!r})"
            case Request():
                return f"request({value.key!r},{self._said(value.query)})"
            case FunctionType():
                code, given = value.__code__, [value.__defaults__, value.__kwdefaults__]
                return f"function({code.co_filename},{hash(code)},{self._enclosed(value)},{self._said(given)})"
            case partial():
                return f"partial({self._said([value.func, value.args, value.keywords])})"
            case PinnedCheckpoint():  # a copy of it has the same key and another label
                return f"checkpoint({value.label!r},{value.fingerprint!r},{value.dtype!r})"
            case Recipe() | type():
                return self._same(value)
            case _ if is_dataclass(value) and type(value).__name__.endswith("Query"):
                named = [getattr(value, one.name) for one in fields(value) if one.metadata.get("key", True)]
                return f"{type(value).__name__}({self._said(named)})"
            case _:
                return self._same(value)

    def _enclosed(self, function: FunctionType) -> str:
        """Return what a function encloses. One that encloses itself is unknown."""
        if id(function) in self._inside:
            raise _Unknown
        self._inside.add(id(function))
        try:
            said = self._said([cell.cell_contents for cell in function.__closure__ or ()])
        except ValueError:  # a name that has no value yet
            raise _Unknown from None
        self._inside.discard(id(function))
        return said

    def _same(self, value: Any) -> str:
        """Return the address of a value that is to be the same object."""
        try:
            self._held.append(ref(value))
        except TypeError:
            raise _Unknown from None
        return f"{type(value).__name__}@{id(value)}"
