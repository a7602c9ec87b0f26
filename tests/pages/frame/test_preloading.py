"""Pages of HTML name plotly in their headers, other answers do not."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pages.frame.preloading import SCRIPTS, Preloading


def headers(scope: str, kind: bytes, path: str = "/layers") -> list[tuple[bytes, bytes]]:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": f"{scope['type']}.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": f"{scope['type']}.response.body", "body": b"x"})

    async def send(message: Any) -> None:
        sent.append(message)

    with ThreadPoolExecutor(1) as apart:  # this thread has a running loop once a browser was driven in it
        apart.submit(asyncio.run, Preloading(app)({"type": scope, "path": path}, None, send)).result()
    assert sent[1]["body"] == b"x"
    return sent[0]["headers"][1:]


def test_a_page_names_plotly():
    ((name, value),) = headers("http", b"text/html; charset=utf-8")
    assert name == b"link"
    file, _, relation = value.decode().partition(">; ")
    assert relation == "rel=modulepreload"
    assert (SCRIPTS / file.removeprefix("<./static/js/")).is_file()


@pytest.mark.parametrize(
    ("scope", "kind", "path"),
    [
        ("http", b"text/javascript", "/layers"),
        ("websocket", b"text/html", "/layers"),
        ("http", b"text/html", "/media/picture.html"),
    ],
)
def test_other_answers_stay_as_they_are(scope: str, kind: bytes, path: str):
    assert headers(scope, kind, path) == []
