"""Rewrite the table of analyses in docs/README.md from the titles of their pages: `make index`."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
HEAD = "| analysis | question |\n|---|---|\n"


def rows() -> str:
    """One row per page in docs/analyses, whose title is `# Name: question?`."""
    pages = sorted((FOLDER / "analyses").glob("*.md"))
    titles = [page.read_text(encoding="utf-8").partition("\n")[0].partition(": ")[2] for page in pages]
    return "".join(
        f"| [{page.stem}](analyses/{page.stem}.md) | {title} |\n" for page, title in zip(pages, titles, strict=True)
    )


def main() -> None:
    """Replace everything below the head of the table."""
    file = FOLDER / "README.md"
    before, head, _ = file.read_text(encoding="utf-8").partition(HEAD)
    file.write_text(before + head + rows(), encoding="utf-8")


if __name__ == "__main__":
    main()
