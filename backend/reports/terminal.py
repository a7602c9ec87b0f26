"""A progress bar of one line for the command line; in a pipe at most one line per 10 %."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

CELLS = 20
PACE_SECONDS, PACE_FRACTION = 3.0, 0.05
"""Elapsed time and fraction from which the line says the time left."""
REDRAW_SECONDS = 0.1


@runtime_checkable
class Stream(Protocol):
    """The methods of a text file that a bar needs."""

    def write(self, text: str, /) -> int:
        """Write text."""
        ...

    def flush(self) -> None:
        """Write what is buffered."""
        ...

    def isatty(self) -> bool:
        """Return whether this is a terminal."""
        ...


@contextmanager
def bar(title: str, stream: Stream | None = None) -> Iterator[Callable[[float, str], None]]:
    """Yield a progress callback that draws on `stream` (default: stderr), and say "done" unless an error ends it."""
    out: Stream = sys.stderr if stream is None else stream
    draw = _redraw(title, out) if out.isatty() else _print(title, out)
    try:
        yield draw
        draw(1.0, "done")
    finally:
        if out.isatty():
            out.write("\n")
            out.flush()


def line(title: str, fraction: float, sentence: str, elapsed: float) -> str:
    """Return the text of a bar, e.g. `direction: 40 %, reading prompts, about 20 s left`."""
    step = " ".join(sentence.split()).rstrip(".")
    text = f"{title}: {math.floor(100 * fraction)} %, {step}"
    if elapsed < PACE_SECONDS or not PACE_FRACTION <= fraction < 1:
        return text
    seconds = max(1, round(elapsed / fraction - elapsed))
    return f"{text}, about {f'{seconds} s' if seconds < 90 else f'{round(seconds / 60)} min'} left"


def _redraw(title: str, stream: Stream) -> Callable[[float, str], None]:
    """Return a callback that writes over its own line, cut to the width of the terminal."""
    started, drawn = time.monotonic(), -math.inf

    def report(fraction: float, sentence: str) -> None:
        nonlocal drawn
        now, fraction = time.monotonic(), min(1.0, max(0.0, fraction))
        if now - drawn < REDRAW_SECONDS and fraction < 1:
            return
        drawn = now
        cells = "#" * round(CELLS * fraction)
        text = f"[{cells:<{CELLS}}] {line(title, fraction, sentence, now - started)}"
        stream.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
        stream.flush()

    return report


def _print(title: str, stream: Stream) -> Callable[[float, str], None]:
    """Return a callback that prints a line whenever another 10 % are done."""
    started, printed = time.monotonic(), 0

    def report(fraction: float, sentence: str) -> None:
        nonlocal printed
        tenth = math.floor(10 * min(1.0, fraction) + 1e-9)
        if tenth > printed:
            printed = tenth
            stream.write(line(title, min(1.0, fraction), sentence, time.monotonic() - started) + "\n")
            stream.flush()

    return report
