"""Layershift, the dashboard: `streamlit run app.py`."""

from __future__ import annotations

from starlette.middleware import Middleware
from streamlit.starlette import App

from pages.frame import opening
from pages.frame.links import Page
from pages.frame.preloading import Preloading

PAGES = {
    "": Page("overview", "Overview"),
    "layers": Page("layers", "Layers"),
    "tokens": Page("tokens", "Tokens"),
    "probes": Page("probes", "Probes", needs="classes"),
    "swaps": Page("swaps", "Swaps", needs="answers"),
    "features": Page("features", "Features"),
    "difference": Page("difference", "Difference"),
    "review": Page("review", "Review"),
    "add": Page("add", "Add a study"),
    "docs": Page("docs", "Documentation"),
    "status": Page("status", "Status"),
}
"""The pages by their address, in the order of the navigation; "" is the start page."""


def main() -> None:
    """Run the dashboard: every page by its address, inside the frame."""
    from pages.frame import shell

    shell.run(PAGES)


if __name__ == "__main__":
    main()
else:
    app = App(__file__, lifespan=opening.lifespan(PAGES.values()), middleware=[Middleware(Preloading)])
