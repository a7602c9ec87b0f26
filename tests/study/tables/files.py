"""Data files that people have, and words of the sentence for those that are refused."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pandas as pd

ROWS = [("good film", 1), ("bad, film", 0)]
"""The content of every readable file below."""
COMMA = 'text,label\ngood film,1\n"bad, film",0\n'
LINES = '{"text": "good film", "label": 1}\n{"text": "bad, film", "label": 0}\n'
OBJECTS = [{"text": text, "label": label} for text, label in ROWS]


def parquet(table: pd.DataFrame | None = None) -> bytes:
    out = io.BytesIO()
    (pd.DataFrame(OBJECTS) if table is None else table).to_parquet(out)
    return out.getvalue()


def pandas_json(orient: Any) -> str:
    return str(pd.DataFrame(OBJECTS).to_json(orient=orient))


READ: dict[str, tuple[str, str | bytes]] = {
    "comma": ("a.csv", COMMA),
    "semicolon": ("a.csv", "text;label\ngood film;1\nbad, film;0\n"),
    "tab called csv": ("a.csv", "text\tlabel\ngood film\t1\nbad, film\t0\n"),
    "bar": ("a.csv", "text|label\ngood film|1\nbad, film|0\n"),
    "tab": ("a.tsv", "text\tlabel\ngood film\t1\nbad, film\t0\n"),
    "comma called tsv": ("a.tsv", COMMA),
    "a separator declared as Excel does": ("a.csv", "sep=;\r\ntext;label\r\ngood film;1\r\nbad, film;0\r\n"),
    "two separators, one fits": ("a.csv", "text;label;a,b\ngood film;1;x\nbad, film;0;y\n"),
    "capitals": ("A.CSV", COMMA),
    "carriage returns": ("a.csv", COMMA.replace("\n", "\r")),
    "windows line ends": ("a.csv", COMMA.replace("\n", "\r\n")),
    "no last line end": ("a.csv", COMMA.rstrip()),
    "blank lines": ("a.csv", COMMA.replace("\n", "\n\n  \n")),
    "UTF-8 with a mark": ("a.csv", COMMA.encode("utf-8-sig")),
    "quoted names and a mark": ("a.csv", '"text","label"\n"good film",1\n"bad, film",0\n'.encode("utf-8-sig")),
    "UTF-16": ("a.csv", COMMA.encode("utf-16")),
    "UTF-16, the other order": ("a.tsv", b"\xfe\xff" + COMMA.encode("utf-16-be")),
    "UTF-32": ("a.csv", COMMA.encode("utf-32")),
    "trailing commas in rows": ("a.csv", 'text,label\ngood film,1,\n"bad, film",0,\n'),
    "trailing commas everywhere": ("a.csv", 'text,label,,\ngood film,1,,\n"bad, film",0,,\n'),
    "trailing commas in the header": ("a.csv", 'text,label,\ngood film,1\n"bad, film",0\n'),
    "spaces around names": ("a.csv", 'text , label\ngood film, 1\n"bad, film", 0\n'),
    "an index without a name": ("a.csv", ',text,label\n0,good film,1\n1,"bad, film",0\n'),
    "json": ("a.json", json.dumps(OBJECTS, indent=1)),
    "json lines": ("a.jsonl", LINES),
    "json lines with a mark": ("a.jsonl", LINES.encode("utf-8-sig")),
    "json lines called json": ("a.json", LINES),
    "json lines called csv": ("a.csv", LINES),
    "an array called jsonl": ("a.jsonl", json.dumps(OBJECTS)),
    "objects over several lines": ("a.json", "\n".join(json.dumps(one, indent=2) for one in OBJECTS)),
    "json lines with commas": ("a.jsonl", LINES.replace("}\n", "},\n")),
    "an array with a last comma": ("a.json", json.dumps(OBJECTS)[:-1] + ",\n]"),
    "objects with a last comma": ("a.jsonl", LINES.replace("}", ",}")),
    "a last comma beside one in a text": (
        "a.json",
        '[{"text": "good film", "label": 1, "more": ",]"}, {"text": "bad, film", "label": 0,},]',
    ),
    "two marks": ("a.csv", ("\ufeff" + COMMA).encode("utf-8-sig")),
    "parquet of bytes": ("a.parquet", parquet(pd.DataFrame(OBJECTS).assign(text=[t.encode() for t, _ in ROWS]))),
    "ndjson": ("a.NDJSON", LINES.replace("\n", "\r\n\r\n")),
    "nested rows": ("a.json", json.dumps({"version": 1, "data": OBJECTS})),
    "pandas' columns": ("a.json", pandas_json(None)),
    "pandas' rows": ("a.json", pandas_json("index")),
    "pandas' split": ("a.json", pandas_json("split")),
    "pandas' table": ("a.json", pandas_json("table")),
    "lists by column": ("a.json", json.dumps({"text": [t for t, _ in ROWS], "label": [n for _, n in ROWS]})),
    "parquet": ("a.parquet", parquet()),
    "parquet called csv": ("a.csv", parquet()),
    "parquet with its texts as index": ("a.parquet", parquet(pd.DataFrame(OBJECTS).set_index("text"))),
    "parquet of a filtered table": ("a.PARQUET", parquet(pd.DataFrame([*OBJECTS, *OBJECTS]).tail(2))),
    "csv.gz": ("a.csv.gz", gzip.compress(COMMA.encode())),
    "jsonl.gz": ("a.JSONL.GZ", gzip.compress(LINES.encode())),
    "parquet.gz": ("a.parquet.gz", gzip.compress(parquet())),
    "packed without saying so": ("a.csv", gzip.compress(COMMA.encode())),
    "unpacked without saying so": ("a.csv.gz", COMMA),
}
REFUSED: dict[str, tuple[str, str | bytes, str]] = {
    "two separators fit": ("a.csv", "text;a,label\nx;y,1\n", "more than one separator (comma and semicolon"),
    "Latin-1": ("a.csv", "text,label\nfine,1\ncafé,0\n".encode("latin-1"), "a.csv, line 3, holds the byte 0xe9"),
    "Windows-1252": ("a.tsv", "text\tlabel\n“fine”\t1\n".encode("cp1252"), "save the file as UTF-8"),
    "Latin-1 in lines": ("a.jsonl", '{"text": "é"}'.encode("latin-1"), "line 1, holds the byte 0xe9"),
    "UTF-16 without a mark": ("a.csv", COMMA.encode("utf-16-le"), "UTF-16 without a byte order mark"),
    "half of UTF-16": ("a.csv", COMMA.encode("utf-16")[:-1], "is not UTF-16-LE, unlike the byte order mark"),
    "too many cells": ("a.csv", "text,label\na,1\nb, c,0\n", "line 3, has 3 cells separated by a comma"),
    "too few cells": ("a.csv", 'text,label\n"a\nb",1\nbroken\ntext,0\n', "line 4, has 1 cell separated by a comma"),
    "row names without a column name": ("a.csv", "text,label\n1,a,1\n2,b,0\n", "line 2, has 3 cells"),
    "a column twice": ("a.csv", "text,label,text\na,1,b\n", 'two columns named "text"'),
    "a column twice but for a space": ("a.csv", "text,label, text\na,1,b\n", 'two columns named "text"'),
    "an open quote": ("a.csv", 'text,label\na,1\n"b,0\nc,1\n', "line 3 or below, has an unclosed quote"),
    "quotes inside quotes": (
        "a.csv",
        'text,label\n"he message "no" to",1\n',
        "double each quote inside a quoted text",
    ),
    "backslashes before quotes": (
        "a.csv",
        'text,label\n"he message \\"no\\"",1\n',
        "line 2 or below, has an unclosed quote",
    ),
    "no column names below": ("a.csv", "text,label\n", "has no rows (its columns: text, label)"),
    "empty": ("a.csv", "", "is empty"),
    "white space only": ("a.jsonl", " \n\n", "is empty"),
    "an empty array": ("a.json", "[]", "has no rows"),
    "broken json": ("a.jsonl", LINES + "{broken", "line 3, is not JSON (Expecting property name"),
    "two commas between lines": ("a.jsonl", '{"text": "a"},,\n{"text": "b"}\n', "line 1, is not JSON"),
    "rows as Python prints them": ("a.jsonl", "{'text': 'a'}\n", "line 1, is not JSON: it has single quotes"),
    "a line break in json": (
        "a.jsonl",
        '{"text": "a\nb"}\n',
        "line 1, is not JSON: a text holds a line break or a tab",
    ),
    "another separator": ("a.csv", "text^label\na, b^1\n", 'the header names 1 ("text^label"); put each'),
    "a comment above": ("a.csv", "# made by hand\ntext,label\na,1\n", 'the header names 1 ("# made by hand")'),
    "a table called json": ("a.json", COMMA, "use the ending .csv or .tsv for a table with separators"),
    "rows that are lists": ("a.json", '[["good film", 1]]', "has a list as row 0"),
    "rows that are texts": ("a.jsonl", '{"text": "a"}\n"b"\n', "has a text as row 1"),
    "several lists of rows": ("a.json", json.dumps({"train": OBJECTS, "test": OBJECTS}), "lists of rows (train, test)"),
    "an object of something": ("a.json", '{"a": {"b": {"c": 1}}}', "with ambiguous rows and columns"),
    "a key twice": ("a.jsonl", '{"text": "a", "text": "b"}', 'two values for "text"'),
    "half a character": ("a.jsonl", '{"text": "\\ud83d"}', "holds half of a character (\\ud83d)"),
    "a table called parquet": ("a.parquet", COMMA, "is not a complete Parquet file"),
    "half of parquet": ("a.parquet", parquet()[:-20], "cannot be read as Parquet"),
    "half of gzip": ("a.csv.gz", gzip.compress(COMMA.encode())[:-9], "cannot be unpacked"),
    "a web page": ("a.csv", "\n<!DOCTYPE html>\n<html></html>", "is a web page (HTML)"),
    "a pointer": ("a.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
    "a spreadsheet": ("a.xlsx", b"PK\x03\x04", "is a spreadsheet; save the sheet"),
    "a spreadsheet called csv": ("a.csv", b"PK\x03\x04\x14", "is a ZIP archive or a spreadsheet"),
    "another kind": ("a.txt", COMMA, "use .parquet, .csv, .tsv, .json, .jsonl or .ndjson, optionally with .gz"),
    "another compression": ("a.csv", b"BZh91AY&SY", "is compressed by bzip2"),
}
