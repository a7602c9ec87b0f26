"""Broken variants of files that are right: bytes changed, and values of JSON and TOML replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

NAUGHTY = [
    *(
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n\n",
        b'"',
        b"'",
        b"\\",
        b",",
        b"\t",
        b"{",
        b"}",
        b"[",
        b"]",
        b"=",
        b"#",
    ),
    *(
        b"null",
        b"NaN",
        b"1e999",
        b"-1",
        b"0",
        b"9" * 30,
        b"true",
        b"\\ud800",
        "é²٣\u2028\U0001f600".encode(),
        b"[[" * 50,
    ),
    *(b"../../../etc/passwd", b"~root/x", b"*", b"<script>", b"%s%n", b"{text}", b"{n}", b"\xed\xa0\x80", b" " * 40),
]
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["", "base", "*", "{text}", "{n}", "../..", "~nobody/x", "a\x00b", "²", "epoch-*", "gpt2", "[", "**"]
    ),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=6), inside, max_size=3),
    max_leaves=5,
)


@st.composite
def broken_bytes(draw: st.DrawFn, whole: Sequence[bytes]) -> bytes:
    """One of the files with up to five cuts, insertions and changed bytes; now and then any bytes."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(draw(st.sampled_from(list(whole))))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(content)))
        how = draw(st.integers(0, 4))
        if how == 0:
            del content[at : at + draw(st.integers(1, 40))]
        elif how == 1:
            content[at:at] = draw(st.sampled_from(NAUGHTY))
        elif how == 2:
            content[at : at + 1] = draw(st.binary(min_size=1, max_size=3))
        elif how == 3:
            content[at:at] = content[at : at + draw(st.integers(1, 60))]
        else:
            content = content[:at]
    return bytes(content)


@st.composite
def broken_tree(draw: st.DrawFn, whole: Any) -> Any:
    """The value with one to three of its parts replaced, removed or added, at any depth."""
    for _ in range(draw(st.integers(1, 3))):
        whole = _changed(draw, whole)
    return whole


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value:
        key = draw(st.sampled_from(sorted(value)))
        how = draw(st.integers(0, 5))
        if how == 0:
            return {name: inside for name, inside in value.items() if name != key}
        if how == 1:
            return value | {draw(st.text(max_size=8) | st.sampled_from(sorted(value))): draw(VALUES)}
        return value | {key: _changed(draw, value[key])}
    if isinstance(value, list) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _changed(draw, value[at]), *value[at + 1 :]]
    return draw(VALUES)
