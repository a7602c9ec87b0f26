"""Progress on the command line: one line in a terminal, a line per 10 % in a pipe."""

from __future__ import annotations

import io
import re

import pytest

from backend.reports import terminal


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_at_most_a_line_per_ten_percent():
    stream = io.StringIO()
    with terminal.bar("direction", stream) as report:
        for step in range(1000):
            report(step / 1000, f"Layer {step}.")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0] == "direction: 10 %, Layer 100"
    assert lines[-1] == "direction: 100 %, done"


def test_work_that_is_in_the_cache_is_one_line():
    stream = io.StringIO()
    with terminal.bar("direction", stream):
        pass
    assert stream.getvalue() == "direction: 100 %, done\n"


def test_a_terminal_has_one_line_within_its_width(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(terminal, "REDRAW_SECONDS", 0.0)
    stream = Terminal()
    with terminal.bar("direction", stream) as report:
        report(0.5, "A sentence\nof two lines that is " + "long " * 40)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    drawn = re.split(r"\r\x1b\[K", text.rstrip("\n"))[1:]
    assert [len(one) < 60 for one in drawn] == [True, True]
    assert drawn[0].startswith("[##########          ] direction: 50 %, A sentence of two l")
    assert drawn[1] == "[####################] direction: 100 %, done"


def test_an_error_ends_the_line_without_done():
    stream = Terminal()

    def interrupted() -> None:
        with terminal.bar("direction", stream) as report:
            report(0.5, "Half.")
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        interrupted()
    assert "done" not in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def test_the_time_left_follows_the_pace():
    assert terminal.line("map", 0.25, "Half a step.", 10.0) == "map: 25 %, Half a step, about 30 s left"
    assert terminal.line("map", 0.01, "A step.", 10.0) == "map: 1 %, A step"
    assert terminal.line("map", 0.1, "A step.", 60.0) == "map: 10 %, A step, about 9 min left"
