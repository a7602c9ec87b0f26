"""The guide that is shown with a picture: what it shows, when not to trust it, and how to read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Guide:
    """Explain a picture in plain text, without markup; pages and the report show the same guide.

    `shows` and `beware` are one sentence each: what the picture shows, and when not to trust it. `more` is everything
    else, as sentences. None has more than 20 words. The code that displays a guide escapes it.
    """

    shows: str
    beware: str
    more: str = ""

    @property
    def short(self) -> str:
        """The two sentences below the picture."""
        return f"{self.shows} {self.beware}"

    @property
    def text(self) -> str:
        """The whole guide."""
        return f"{self.short} {self.more}".strip()
