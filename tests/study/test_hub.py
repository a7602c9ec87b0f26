"""A hub that takes connections and never answers, or cuts them, gets one sentence after a bounded time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDY = """title = "x"
family = "causal"
[base]
{base}
[dataset]
{data}
sample = 2
[prompt]
template = "Review: {{text}} Sentiment:"
label_words = ["negative", "positive"]
"""
Answer = Callable[[socket.socket], object]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Start a server on this machine that does the same to every connection; returns its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def start(answer: Answer) -> str:
        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                held.append(connection)
                answer(connection)

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    listener.shutdown(socket.SHUT_RDWR)
    for one in (listener, *held):
        one.close()


def check(folder: Path, address: str, base: str, data: str) -> tuple[int, str, float]:
    """The exit code of `check`, its sentence, and its seconds."""
    (folder / "study.toml").write_text(STUDY.format(base=base, data=data))
    (folder / "reviews.csv").write_text("text,label\na b,0\nc d,1\n")
    here = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(folder / "hf"), "LAYERSHIFT_CACHE": str(folder / "c")}
    del here["HF_HUB_OFFLINE"]
    program = "import sys; from backend.study import hub; hub.SECONDS = 1.0; from backend.__main__ import main; "
    command = [sys.executable, "-c", program + "sys.exit(main(sys.argv[1:]))", "check", str(folder)]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=here, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr.strip().splitlines()[-1], time.monotonic() - started


@pytest.mark.parametrize(
    ("base", "data"),
    [
        ('repo = "some/where"', 'path = "reviews.csv"'),
        (f'path = "{ROOT}/studies/demo/checkpoints/base"', 'repo = "some/data"'),
    ],
    ids=["weights", "data"],
)
def test_a_hub_that_hangs(base: str, data: str, tmp_path: Path, serve: Callable[[Answer], str]):
    code, sentence, seconds = check(tmp_path, serve(lambda connection: None), base, data)
    assert code == 2
    assert "the hub does not answer within 1 s; try again later" in sentence
    assert seconds < 120  # most of it is the start of Python


def test_a_hub_that_cuts_every_connection(tmp_path: Path, serve: Callable[[Answer], str]):
    address = serve(lambda connection: connection.close())
    code, sentence, _ = check(tmp_path, address, 'repo = "some/where"', 'path = "reviews.csv"')
    assert code == 2
    assert "some/where is not on this machine and the hub cannot be reached" in sentence
