"""Say in words which key of study.toml is wrong, and what was expected there."""

from __future__ import annotations

from pydantic import ValidationError

UNKNOWN = "is an unknown key; remove it or correct its spelling"
_EXPECTED = {
    "extra_forbidden": UNKNOWN,
    "missing": "is missing; add it",
    "too_short": "lists a single value; list at least two",
    "string_pattern_mismatch": "must be on one line",
    "dataset.text": "must be a column, or a list of at least two columns",
}


def sentence(error: ValidationError) -> str:
    """Return the key of the first error and what is wrong with it, without a full stop."""
    first = error.errors(include_url=False)[0]
    key = _key(first["loc"])
    known = _EXPECTED.get(first["type"]) or _EXPECTED.get(key)
    message = first["msg"]
    return f"{key} {known or f'is wrong: {message[0].lower()}{message[1:]}'}"


def _key(location: tuple[int | str, ...]) -> str:
    """Format `("checkpoints", 1, "label")` as `checkpoints[2].label`, without union members of pydantic."""
    words = ""
    for part in location:
        if isinstance(part, int):
            words += f"[{part + 1}]"
        elif part not in ("int", "str", "bool", "constrained-str") and not part.startswith("tuple["):
            words += f".{part}" if words else part
    return words
