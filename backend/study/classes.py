"""Match label values, class names, label words and rows of a head by name.

A class has up to four names: its value in the label column, the name of this value in the data (`ClassLabel`), the
label word, and the name of a row of a classification head (`id2label`). Equal names mean the same class.
Contradicting names are an error that lists them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import CheckpointError, DatasetError

_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_TRUTH = {"true": "1", "false": "0"}
_ALPHABETICAL = "have no names, so they are matched with the label values in alphabetical order"
_BY_NUMBER = "share no names with the classes, so row and label value are matched by number"
_OTHER_ORDER = "are matched with the label words by name, and so stand in another order than the label values"
SHORT = 3
"""Minimum letters of a short form, such as "neg" for "negative"."""


@dataclass(frozen=True)
class ClassNames:
    """One class: its value in the label column as text, its name in the data (or None), and its label word.

    Without label words, `word` is the name that pages show.
    """

    value: str
    name: str | None
    word: str

    @property
    def all(self) -> tuple[str, ...]:
        """Return the class name, or the value without one, and the label word."""
        named = self.name if self.name is not None else self.value
        return (named, self.word)


def value_key(value: Any) -> str:
    """Return the normalized text of a label: equal for 1, 1.0, True, "1", "1.0", "true" and " 1"."""
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
    """Return the classes in the order of the label words.

    `values` are the study's label values: in class order if `listed` in dataset.labels, else sorted. `names[i]` is the
    name of value i in the data. Raises DatasetError if names contradict the order, or if values or names that are texts
    share no names with the words and no order is given.
    """
    class_names = [_name_of(value, names) for value in values]
    displayed = [_as_text(value) if name is None else name for value, name in zip(values, class_names, strict=True)]
    match = _match(displayed, words)
    pairs = [ClassNames(value_key(value), name, "") for value, name in zip(values, class_names, strict=True)]
    if match is None:
        raise _contradiction(source, pairs, words, "match in several ways")
    if listed:
        if any(c != place for place, c in match.items()):
            raise _contradiction(source, pairs, words, "name the classes in different orders")
        order = list(range(len(words)))
    elif len(match) == len(words):
        order = [place for place, _ in sorted(match.items(), key=lambda item: item[1])]
    elif not match and all(is_number(pair.value if pair.name is None else pair.name) for pair in pairs):
        order = list(range(len(words)))  # numbers without names, or named by numbers: by size
    else:
        raise _contradiction(source, pairs, words, "share only some names or none")
    return tuple(ClassNames(pairs[i].value, pairs[i].name, word) for i, word in zip(order, words, strict=True))


def contrast(values: Sequence[Any], names: Sequence[str] | None, column: str) -> tuple[ClassNames, ...]:
    """Return the classes of a study without label words, in the order of `values`.

    A class is called by its name in the data, else by its label value, a number after the name of its column.
    """
    found = []
    for value in values:
        name = _name_of(value, names)
        text = _as_text(value) if name is None else name
        numbered = name is None and (is_number(text) or isinstance(value, bool))
        found.append(ClassNames(value_key(value), name, f"{column} {text}" if numbered else text))
    return tuple(found)


def order_rows(classes: Sequence[ClassNames], head: Sequence[str], place: str) -> tuple[int, ...]:
    """Return the row of a classification head for each class. `head` names the rows; it is empty without names.

    Numbers are matched with the numbers in names such as "LABEL_1" or "4 stars". Without names, the row of a class is
    its label value as a number, or its place in alphabetical order. Raises CheckpointError if names contradict each
    other, or if neither names nor numbers determine the rows.
    """
    by_name, by_word = (_match([names.all[kind] for names in classes], head) for kind in (0, 1))
    values = [names.value for names in classes]
    numbers = [int(value) for value in values] if all(value.isdecimal() for value in values) else []
    if by_name is None or by_word is None or any(by_word.get(c, row) != row for c, row in by_name.items()):
        raise _other_rows(classes, head, place, "contradict")
    rows = by_name | by_word
    if len(set(rows.values())) < len(rows):
        raise _other_rows(classes, head, place, "contradict")
    if len(rows) == len(classes) - 1 > 1:  # the remaining class
        rows |= zip(set(range(len(classes))) - rows.keys(), set(range(len(classes))) - set(rows.values()), strict=True)
    if len(rows) == len(classes):
        return tuple(rows[c] for c in range(len(classes)))
    if rows:
        raise _other_rows(classes, head, place, "share only some names with")
    if held := _numbers_in(head):
        if sorted(held) == sorted(numbers):
            return tuple(held.index(number) for number in numbers)
        if held != sorted(held):
            raise _other_rows(classes, head, place, "hold other numbers than")
    if sorted(numbers) == list(range(len(classes))):
        return tuple(numbers)
    if all(map(is_number, values)):
        return tuple(sorted(values, key=float).index(value) for value in values)
    if not head and values == sorted(values):
        return tuple(range(len(classes)))
    raise _other_rows(classes, head, place, "share no names with")


def unsure_rows(classes: Sequence[ClassNames], head: Sequence[str], rows: Sequence[int]) -> str | None:
    """Return why the `rows` of a head may belong to other classes; None if names or numbers leave no doubt."""
    numbered = all(names.name is None and is_number(names.value) for names in classes)
    by_name, by_word = (_match([names.all[kind] for names in classes], head) for kind in (0, 1))
    if not head:
        return None if numbered or any(names.name for names in classes) else _ALPHABETICAL
    if by_name or by_word:
        order = sorted(range(len(classes)), key=lambda c: float(classes[c].value)) if numbered and not by_name else []
        return _OTHER_ORDER if [rows[c] for c in order] != sorted(rows[c] for c in order) else None
    agree = sorted(map(str, _numbers_in(head))) == sorted(names.value for names in classes)
    return None if agree or all(map(is_number, head)) else _BY_NUMBER


def _numbers_in(head: Sequence[str]) -> list[int]:
    """Return the number in each name, such as "LABEL_1" or "4 stars"; empty unless each holds a number of its own."""
    found = [re.findall(r"\d+", name) for name in head]
    numbers = [int(one[0]) for one in found if len(one) == 1]
    return numbers if len(set(numbers)) == len(head) else []


def _match(names: Sequence[str], words: Sequence[str]) -> dict[int, int] | None:
    """Map each name to a word, by position; a single remaining name is matched to the remaining word.

    Return None if a name matches two words, or two names match the same word.
    """
    matches: dict[int, int] = {}
    for i, name in enumerate(names):
        equal = [c for c, word in enumerate(words) if _key(word) == _key(name)]
        near = equal or [c for c, word in enumerate(words) if _is_short(name, word)]
        if len(equal) > 1:
            return None
        if len(near) == 1:
            matches[i] = near[0]
    if len(set(matches.values())) < len(matches):
        return None
    rest = [i for i in range(len(names)) if i not in matches]
    if len(rest) == 1 and len(matches) > 1 and len(names) == len(words) and not any(map(is_number, names)):
        matches[rest[0]] = next(c for c in range(len(words)) if c not in matches.values())
    return matches


def _key(name: str) -> str:
    """Return the letters, their marks and the digits of a name in lower case, for comparison; else the name itself."""
    text = unicodedata.normalize("NFC", name)
    kept = "".join(sign for sign in text if sign.isalnum() or unicodedata.category(sign).startswith("M"))
    return kept.casefold() if any(map(str.isalnum, kept)) else text.strip()


def _is_short(first: str, second: str) -> bool:
    short, long = sorted((_key(first), _key(second)), key=len)
    return len(short) >= SHORT and long.startswith(short) and not is_number(short)


def _name_of(value: Any, names: Sequence[str] | None) -> str | None:
    key = value_key(value)
    return names[int(key)] if names and key.isdecimal() and int(key) < len(names) else None


def _as_text(value: Any) -> str:
    return str(value).strip() if isinstance(value, bool | str) else value_key(value)


def is_number(text: str) -> bool:
    """Return whether Python can read the text as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _contradiction(source: str, pairs: Sequence[ClassNames], words: Sequence[str], what: str) -> DatasetError:
    values = ", ".join(map(_described, pairs))
    return DatasetError(
        f"The label values of {source} ({values}) and prompt.label_words ({', '.join(map(repr, words))}) {what}; list "
        f"the label values in dataset.labels, in the order of the label words."
    )


def _described(names: ClassNames) -> str:
    return f'"{names.value}"' + ("" if names.name is None else f" named {names.name!r}")


def _other_rows(classes: Sequence[ClassNames], head: Sequence[str], place: str, what: str) -> CheckpointError:
    rows = ", ".join(f"{row} {name!r}" for row, name in enumerate(head)) or "without names"
    table = ", ".join(f"{_described(names)} -> {names.word!r}" for names in classes)
    return CheckpointError(
        f"The rows of the head of {place} ({rows}) {what} the study's classes (label value -> word: {table}); put the "
        f"class names into id2label of its config.json, or correct label_words."
    )
