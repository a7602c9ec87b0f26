"""Which class is which: label values, class names, label words and rows of a head, matched by name.

A class has up to four names: the value in the label column, the name that the data gives the value (`ClassLabel`), the
label word, and the name of a row of a classification head (`id2label`). Equal names mean the same class; names that
contradict one another are an error that shows them side by side.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import CheckpointError, DatasetError

_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_TRUTH = {"true": "1", "false": "0"}
SHORT = 3
"""The fewest letters in which "neg" stands for "negative"."""


@dataclass(frozen=True)
class ClassNames:
    """One class: its value in the label column as text, the name the data gives it if any, and its label word."""

    value: str
    name: str | None
    word: str

    @property
    def all(self) -> tuple[str, ...]:
        """Every name, a number that has another name left out."""
        named = self.name if self.name is not None else self.value
        return (named, self.word)


def value_key(value: Any) -> str:
    """What is equal for two cells of one label: 1, 1.0, True, "1", "1.0" and "true" are one, and so is " 1"."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    whole = _WHOLE.fullmatch(text)
    return str(int(whole[1])) if whole else _TRUTH.get(text.lower(), text)


def order_values(
    values: Sequence[Any], names: Sequence[str] | None, words: Sequence[str], listed: bool, source: str
) -> tuple[ClassNames, ...]:
    """The classes in the order of the label words.

    `values` are the study's label values: in class order where `listed` in dataset.labels, else in their own order.
    `names[i]` is the data's name of value i. Raises DatasetError where names contradict the order, or where values that
    are text have no names in common with the words and no order is given.
    """
    own = [_name_of(value, names) for value in values]
    spoken = [_shown(value) if name is None else name for value, name in zip(values, own, strict=True)]
    match = _match(spoken, words)
    pairs = [ClassNames(value_key(value), name, "") for value, name in zip(values, own, strict=True)]
    if match is None:
        raise _contradiction(source, pairs, words, "name one class in two ways")
    if listed:
        if any(c != place for place, c in match.items()):
            raise _contradiction(source, pairs, words, "name the classes in different orders")
        order = list(range(len(words)))
    elif len(match) == len(words):
        order = [place for place, _ in sorted(match.items(), key=lambda item: item[1])]
    elif not match and all(is_number(pair.value) for pair in pairs):
        order = list(range(len(words)))  # numbers without names: by size
    else:
        raise _contradiction(source, pairs, words, "have not all names in common")
    return tuple(ClassNames(pairs[i].value, pairs[i].name, word) for i, word in zip(order, words, strict=True))


def order_rows(classes: Sequence[ClassNames], head: Sequence[str], place: str) -> tuple[int, ...]:
    """The row of a classification head for each class. `head` names the rows, empty where the config does not.

    Without names the row of a class is the number that its label value is. Raises CheckpointError where names
    contradict one another, or there is nothing to go by.
    """
    found = [_match([one.all[kind] for one in classes], head) for kind in (0, 1)]
    values = [one.value for one in classes]
    numbers = [int(value) for value in values] if all(value.isdecimal() for value in values) else []
    if None in found or (found[0] and found[1] and any(found[1].get(c, r) != r for c, r in found[0].items())):
        raise _other_rows(classes, head, place, "contradict")
    rows = (found[0] or {}) | (found[1] or {})
    if len(set(rows.values())) < len(rows):
        raise _other_rows(classes, head, place, "contradict")
    if len(rows) == len(classes) - 1 > 1:  # the one left
        rows |= zip(set(range(len(classes))) - rows.keys(), set(range(len(classes))) - set(rows.values()), strict=True)
    if len(rows) == len(classes):
        return tuple(rows[c] for c in range(len(classes)))
    if rows:
        raise _other_rows(classes, head, place, "have not all names in common with")
    if sorted(numbers) == list(range(len(classes))):
        return tuple(numbers)
    if all(map(is_number, values)):
        return tuple(sorted(values, key=float).index(value) for value in values)
    if not head and values == sorted(values):
        return tuple(range(len(classes)))
    raise _other_rows(classes, head, place, "have no names in common with")


def _match(names: Sequence[str], words: Sequence[str]) -> dict[int, int] | None:
    """Which word each name means, by position; a last one that is left goes with the last word that is left.

    None where a name means two words, or two names mean one.
    """
    found: dict[int, int] = {}
    for i, name in enumerate(names):
        equal = [c for c, word in enumerate(words) if _key(word) == _key(name)]
        near = equal or [c for c, word in enumerate(words) if _is_short(name, word)]
        if len(equal) > 1:
            return None
        if len(near) == 1:
            found[i] = near[0]
    if len(set(found.values())) < len(found):
        return None
    rest = [i for i in range(len(names)) if i not in found]
    if len(rest) == 1 and len(found) > 1 and len(names) == len(words) and not any(map(is_number, names)):
        found[rest[0]] = next(c for c in range(len(words)) if c not in found.values())
    return found


def _key(name: str) -> str:
    """What is compared of a name: letters and digits in one case."""
    return re.sub(r"[\W_]+", "", name).casefold() or name.strip()


def _is_short(one: str, other: str) -> bool:
    short, long = sorted((_key(one), _key(other)), key=len)
    return len(short) >= SHORT and long.startswith(short) and not is_number(short)


def _name_of(value: Any, names: Sequence[str] | None) -> str | None:
    key = value_key(value)
    return names[int(key)] if names and key.isdecimal() and int(key) < len(names) else None


def _shown(value: Any) -> str:
    return str(value).strip() if isinstance(value, bool | str) else value_key(value)


def is_number(text: str) -> bool:
    """Whether the text is a number, as Python reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _contradiction(source: str, pairs: Sequence[ClassNames], words: Sequence[str], what: str) -> DatasetError:
    values = ", ".join(f'"{one.value}"' + ("" if one.name is None else f" named {one.name!r}") for one in pairs)
    return DatasetError(
        f"The label values of {source} ({values}) and prompt.label_words ({', '.join(map(repr, words))}) {what}; list "
        f"the label values in dataset.labels, in the order of the label words that mean the same."
    )


def _other_rows(classes: Sequence[ClassNames], head: Sequence[str], place: str, what: str) -> CheckpointError:
    rows = ", ".join(f"{row} {name!r}" for row, name in enumerate(head)) or "without names"
    table = ", ".join(
        f'"{one.value}"' + ("" if one.name is None else f" named {one.name!r}") + f" -> {one.word!r}" for one in classes
    )
    return CheckpointError(
        f"The rows of the head of {place} ({rows}) {what} the study's classes (label value -> word: {table}); give the "
        f"rows the classes' names in id2label of its config.json, or correct label_words."
    )
