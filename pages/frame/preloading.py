"""Have a browser load plotly with the page: Streamlit's program asks for it only when the first plot has arrived."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit

SCRIPTS = Path(streamlit.__file__).parent / "static" / "static" / "js"
"""Streamlit's program in its parts, whose names change with each version."""


class Preloading:
    """Middleware that adds links to plotly to the headers of every page of HTML, but not of files to download."""

    def __init__(self, app: Any) -> None:
        self._app = app
        names = [file.name for file in SCRIPTS.glob("PlotlyChart.*.js")]
        self._links = [(b"link", f"<./static/js/{name}>; rel=modulepreload".encode()) for name in names]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request as the application does, with the links."""

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                if any(name == b"content-type" and kind.startswith(b"text/html") for name, kind in headers):
                    message = message | {"headers": [*headers, *self._links]}
            await send(message)

        is_page = scope["type"] == "http" and "/media/" not in scope["path"]  # there Streamlit keeps files to download
        await self._app(scope, receive, sent if is_page else send)
