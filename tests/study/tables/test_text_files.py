"""Text files are decoded by their byte order mark, or refused with the line."""

from __future__ import annotations

import pytest

from backend.study.tables.text_files import NotUnicode, decode

TEXT = "naïve\r\n日本 🙂\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_names_the_encoding(encoding: str) -> None:
    assert decode(TEXT.encode(encoding), "a") == TEXT


@pytest.mark.parametrize("order", ["le", "be"])
def test_either_order_of_bytes_is_read(order: str) -> None:
    assert decode(("\ufeff" + TEXT).encode(f"utf-16-{order}"), "a") == TEXT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("one\ntwo\ncafé".encode("latin-1"), "a.txt, line 3, holds the byte 0xe9, which is not UTF-8"),
        (TEXT.encode("utf-16-le"), "a.txt, line 1, holds"),
        (b"one\ntwo\0", "a.txt, line 2, holds a zero byte"),
        (b"\xef\xbb\xbfone\n\xff", "a.txt, line 2, is not UTF-8, unlike the byte order mark of the file"),
    ],
)
def test_other_bytes_are_not_guessed_at(content: bytes, message: str) -> None:
    with pytest.raises(NotUnicode) as caught:
        decode(content, "a.txt")
    assert str(caught.value).startswith(message)
