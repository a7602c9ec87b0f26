"""How many people one server carries: scripted sessions over loopback, mixed pages and studies, warm and cold.

    python -m benchmarks.sessions [--people 20] [--think 6] [--rounds 6]

A lone session opens every address first; its pictures are what every other session must see, number for number. Then
all people open addresses in their own order, with a pause of `--think` seconds on average after each: on that warm
server, and without pauses on a fresh server with an empty cache. There each query must be computed once. A session is
Streamlit's own protocol without a browser, so the times are those of the server.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.browser.conftest import serving
from tests.scripted_session import Session
from tests.tiny import tiny_study

ROOT = Path(__file__).parents[1]
PAGES = ("", "layers", "tokens", "probes", "swaps", "review")
EPOCHS = {"demo": ("epoch+1", "epoch+2", "epoch+3"), "tiny": ("epoch+1", "epoch+2")}
TEXT = "text=The+jokes+are+old+and+I+loved+every+minute"
"""Without a text, Review shows the one that the visitor saw last."""
ADDRESSES = [
    (page, f"study={study}&epoch={epoch}" + (f"&{TEXT}" if page == "review" else ""))
    for study in EPOCHS
    for epoch in EPOCHS[study]
    for page in PAGES
]
SLOWER, GROWTH = 4.0, 1.10
"""At most: p95 against a lone session's, memory after all have left against before."""
EXPIRY_SECONDS = 150
"""How long Streamlit keeps the state of a tab that was closed, and a little more."""
Address = tuple[str, str]
Seen = dict[Address, dict[str, str]]


def alone(server: str) -> tuple[Seen, list[float]]:
    """Open every address once, and then again; return its pictures and the seconds of the second time."""
    seen: Seen = {}
    with Session(server) as session:
        for address in ADDRESSES:
            session.open(*address, patience=900)
            seen[address] = session.pictures
        warm = [session.open(*address) for address in ADDRESSES]
    return seen, warm


def crowd(server: str, people: int, rounds: int, think: float, expected: Seen) -> tuple[list[float], list[str]]:
    """Let all people open addresses at once; return the seconds of each, and what went wrong."""
    seconds: list[float] = []
    wrong: list[str] = []
    lock = threading.Lock()

    def person(number: int) -> None:
        drawn = random.Random(number)
        try:
            with Session(server) as session:
                for address in drawn.sample(ADDRESSES, min(rounds, len(ADDRESSES))):
                    time.sleep(drawn.expovariate(1 / think) if think else 0)
                    took = session.open(*address, patience=900)
                    with lock:
                        seconds.append(took)
                        if session.pictures != expected[address]:
                            wrong.append(f"{address}: other pictures than alone")
        except (AssertionError, OSError) as error:
            with lock:
                wrong.append(f"person {number}: {error}")

    with ThreadPoolExecutor(people) as pool:
        list(pool.map(person, range(people)))
    return seconds, wrong


def resident(port: int) -> float:
    """Return the memory of the server on a port, in MB."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            if b"streamlit" in command and str(port).encode() in command:
                (kilobytes,) = re.findall(r"VmRSS:\s+(\d+)", (folder / "status").read_text())
                return int(kilobytes) / 1024
        except OSError:
            continue
    return float("nan")


def computed(log: Path) -> Counter[str]:
    """Return how often each key was computed, from the server's log."""
    return Counter(re.findall(r"job .*?key=(\S+) .*?miss", log.read_text(encoding="utf-8")))


@contextmanager
def studies() -> Iterator[Path]:
    """The demo and a tiny study."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "studies" / "demo", Path(folder) / "demo")
        tiny_study(Path(folder) / "tiny", epochs=(1, 2))
        yield Path(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print times, memory and what went wrong; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=6, help="addresses that each person opens")
    parser.add_argument("--think", type=float, default=6.0, help="mean seconds between two of them")
    given = parser.parse_args(arguments)
    missed = []
    with studies() as folder, tempfile.TemporaryDirectory() as caches:
        with serving(folder, Path(caches) / "warm") as url:
            server = url.removeprefix("http://").rstrip("/")
            port = int(server.rpartition(":")[2])
            expected, lone = alone(server)
            before = resident(port)
            seconds, wrong = crowd(server, given.people, given.rounds, given.think, expected)
            missed += wrong
            alone_p95, p95 = np.percentile(lone, 95), np.percentile(seconds, 95)
            print(f"alone, warm: median {np.median(lone):.2f} s, p95 {alone_p95:.2f} s, {before:,.0f} MB")
            print(
                f"{given.people} people, warm: median {np.median(seconds):.2f} s, p95 {p95:.2f} s, {len(wrong)} wrong"
            )
            print(f"  p95 is {p95 / alone_p95:.1f} times a lone session's (at most {SLOWER:g})")
            if p95 > SLOWER * alone_p95:
                missed.append("p95")
            during = resident(port)
            time.sleep(EXPIRY_SECONDS)
            after = resident(port)
            print(f"  memory: {before:,.0f} MB before, {during:,.0f} at the end, {after:,.0f} after all have left")
            if after > GROWTH * before:
                missed.append("memory")
        cold = Path(caches) / "cold"
        with serving(folder, cold) as url:
            seconds, wrong = crowd(url.removeprefix("http://").rstrip("/"), given.people, given.rounds, 0.0, expected)
            missed += wrong
            times = computed(cold / "server.log")
        twice = [key for key, count in times.items() if count > 1]
        print(f"{given.people} people, cold and without pauses: {len(wrong)} wrong, slowest {max(seconds):.0f} s")
        print(f"  {len(times)} queries computed, {len(twice)} of them more than once")
        missed += twice
    for line in missed:
        print(f"MISSED {line}")
    return int(bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())
