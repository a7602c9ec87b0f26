"""Decode text files: UTF-8, or the encoding of the byte order mark. Other encodings are errors."""

from __future__ import annotations

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class NotUnicode(ValueError):
    """Bytes in an unknown encoding; the message names file, line and remedy."""


def decode(content: bytes, place: str) -> str:
    """Decode the content of the file at `place`, without its byte order mark. Raises NotUnicode."""
    mark, encoding = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", "utf-8"))
    body = content[len(mark) :]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        line = body[: error.start].decode(encoding, "replace").count("\n") + 1
        if mark:
            raise NotUnicode(
                f"{place}, line {line}, is not {encoding.upper()}, unlike the byte order mark of the file; save the "
                f"file as UTF-8."
            ) from None
        raise NotUnicode(
            f"{place}, line {line}, holds the byte 0x{body[error.start]:02x}, which is not UTF-8; the encoding "
            f"is unknown (Latin-1, Windows-1252, ...), so save the file as UTF-8."
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise NotUnicode(
            f"{place}, line {line}, holds a zero byte, as in binary files and in UTF-16 without a byte order mark; "
            f"save the file as UTF-8 text."
        )
    return text
