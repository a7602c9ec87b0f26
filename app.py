"""Layershift, the dashboard: `streamlit run app.py`."""

from __future__ import annotations

from pathlib import Path

from pages import add, difference, docs, features, layers, overview, probes, review, status, swaps, tokens
from pages.frame import shell

FOLDER = Path(__file__).parent / "pages"


def main() -> None:
    """Run the dashboard: every page by its address, inside the frame."""
    shell.run(
        {
            "": (overview, str(FOLDER / "overview.py")),
            "layers": (layers, str(FOLDER / "layers.py")),
            "tokens": (tokens, str(FOLDER / "tokens.py")),
            "probes": (probes, str(FOLDER / "probes.py")),
            "swaps": (swaps, str(FOLDER / "swaps.py")),
            "features": (features, str(FOLDER / "features.py")),
            "difference": (difference, str(FOLDER / "difference.py")),
            "review": (review, str(FOLDER / "review.py")),
            "add": (add, str(FOLDER / "add.py")),
            "docs": (docs, str(FOLDER / "docs.py")),
            "status": (status, str(FOLDER / "status.py")),
        }
    )


if __name__ == "__main__":
    main()
