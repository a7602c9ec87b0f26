"""Layershift, the dashboard: `streamlit run app.py`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from starlette.middleware import Middleware
from streamlit.starlette import App

from pages.frame import opening
from pages.frame.preloading import Preloading

FOLDER = Path(__file__).parent / "pages"
PAGES = {
    "": "overview",
    **{
        name: name
        for name in ("layers", "tokens", "probes", "swaps", "features", "difference", "review", "add", "docs", "status")
    },
}
"""Modules in pages/ by their address."""


def pages() -> dict[str, tuple[Any, str]]:
    """Return module and file of every page by its address."""
    return {path: (import_module(f"pages.{name}"), str(FOLDER / f"{name}.py")) for path, name in PAGES.items()}


def main() -> None:
    """Run the dashboard: every page by its address, inside the frame."""
    from pages.frame import shell

    shell.run(pages())


if __name__ == "__main__":
    main()
else:
    app = App(__file__, lifespan=opening.lifespan(pages), middleware=[Middleware(Preloading)])
