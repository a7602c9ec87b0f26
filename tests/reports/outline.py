"""A page of HTML, read as a browser reads it: its tags, its scripts and its words."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any


class Outline(HTMLParser):
    """Tags and their attributes, what stands in scripts by kind, and the text outside of them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append((self.tags[-1][1], data))
        elif self._inside != "style":
            self.words.append(data)

    @property
    def figures(self) -> list[dict[str, Any]]:
        return [one for one in self.data if "layout" in one]

    @property
    def data(self) -> list[dict[str, Any]]:
        return [json.loads(text) for kind, text in self.scripts if kind.get("type") == "application/json"]

    def ids(self) -> list[str]:
        return [str(given["id"]) for tag, given in self.tags if tag == "section"]
