"""What swapping costs, as ratios to plain transformers within one run.

python -m benchmarks.swaps [REVIEWS.parquet] [--reviews 4] [--repeats 3] [--range-repeats 1]

Two random models of GPT-2 small's size (12 blocks, width 768, vocabulary 50,257) read real reviews, cut to 256 tokens.
Ours runs all swaps of single blocks, or of all 78 contiguous ranges, in one go. In full: each swapped model, made by
exchanging modules, runs the same batches through its body, no mask, and its head reads the readout position only. The
origin's way: each swapped model is a deep copy, and runs one unpadded review at a time with all logits. The sides take
turns; a side's time is the median over repetitions, in seconds on the clock and of processor time.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from backend.caching.progress import silent
from backend.lab.outputs import Swap
from backend.models.measurements.swaps import AT_ONCE, BRANCHES, block_runs, run_swaps
from backend.models.runtime.batching import make_batches
from backend.models.runtime.devices import finish
from backend.models.runtime.forward import pad
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts
from benchmarks.collect import REVIEWS, read_prompts, small_gpt2

LAYERS = 12
SINGLES = tuple(Swap("block", j, j) for j in range(LAYERS))
RANGES = tuple(Swap("block", first, last) for first in range(LAYERS) for last in range(first, LAYERS))
MOST = {"single blocks / in full": 0.70, "single blocks / the origin's way": 0.35, "ranges / in full": 0.48}
MOST_DEVIATION = 1e-4
Side = Callable[[], np.ndarray]


@contextmanager
def exchanged(model: nn.Module, donor: nn.Module, swap: Swap) -> Iterator[None]:
    """The donor's blocks in the model's list of blocks, and the model's own back again."""
    blocks, others = (one.get_submodule("transformer.h") for one in (model, donor))
    kept = list(blocks.children())
    for j in range(swap.first, swap.last + 1):
        blocks.register_module(str(j), others.get_submodule(str(j)))
    try:
        yield
    finally:
        for j, block in enumerate(kept):
            blocks.register_module(str(j), block)


@torch.inference_mode()
def in_full(host: LoadedModel, donor: LoadedModel, plan: Sequence[Swap], prompts: Prompts) -> np.ndarray:
    """Each swapped model over the same batches, the head at the readout only."""
    found = np.empty((len(plan), len(prompts.token_ids), prompts.classes), np.float32)
    batches = make_batches([len(ids) for ids in prompts.token_ids], AT_ONCE[host.device.type] // BRANCHES)
    body, head = (host.model.get_submodule(name) for name in ("transformer", "lm_head"))
    for row, swap in enumerate(plan):
        with exchanged(host.model, donor.model, swap):
            for batch in batches:
                ids, last, _ = pad([prompts.token_ids[i] for i in batch], "last", host)
                hidden = body(input_ids=ids, use_cache=False).last_hidden_state
                read = hidden[torch.arange(len(ids), device=hidden.device), last]
                found[row, batch] = head(read)[:, list(prompts.label_tokens)].cpu().numpy()
    return found


@torch.inference_mode()
def origins_way(host: LoadedModel, donor: LoadedModel, plan: Sequence[Swap], prompts: Prompts) -> np.ndarray:
    """A deep copy for each swap, one unpadded review at a time, logits at every position."""
    found = np.empty((len(plan), len(prompts.token_ids), prompts.classes), np.float32)
    for row, swap in enumerate(plan):
        model = copy.deepcopy(host.model)
        blocks, others = (one.get_submodule("transformer.h") for one in (model, donor.model))
        for j in range(swap.first, swap.last + 1):
            blocks.register_module(str(j), copy.deepcopy(others.get_submodule(str(j))))
        for i, ids in enumerate(prompts.token_ids):
            logits = model(torch.tensor([ids], device=host.device)).logits
            found[row, i] = logits[0, -1, list(prompts.label_tokens)].cpu().numpy()
    return found


def measure(sides: dict[str, Side], repeats: int, device: torch.device) -> dict[str, tuple[float, float, np.ndarray]]:
    """Median seconds on the clock and of processor time, and the numbers; the order turns with every repetition."""
    clock: dict[str, list[float]] = {name: [] for name in sides}
    processor: dict[str, list[float]] = {name: [] for name in sides}
    numbers: dict[str, np.ndarray] = {}
    names = list(sides)
    for repeat in range(repeats):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            finish(device)
            started, worked = time.perf_counter(), time.process_time()
            numbers[name] = sides[name]()
            finish(device)
            clock[name].append(time.perf_counter() - started)
            processor[name].append(time.process_time() - worked)
            print(f"  {name}: {clock[name][-1]:.2f} s, {processor[name][-1]:.2f} s of processor time", flush=True)
    return {name: (statistics.median(clock[name]), statistics.median(processor[name]), numbers[name]) for name in names}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print seconds, ratios and the largest deviation; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=REVIEWS, help="a Parquet file with a column text")
    parser.add_argument("--reviews", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--range-repeats", type=int, default=1)
    given = parser.parse_args(arguments)
    prompts, host, donor = read_prompts(given.file, given.reviews), small_gpt2(0), small_gpt2(1)
    print(
        f"{given.reviews} reviews, {int(prompts.lengths.sum()):,} tokens, {host.device}, {torch.get_num_threads()} "
        f"threads, float32; median of {given.repeats}, for ranges of {given.range_repeats}",
        flush=True,
    )
    run_swaps(host, donor, SINGLES[-1:], prompts, silent)  # the first run of anything does not count
    missed = 0
    for title, plan, repeats in (("single blocks", SINGLES, given.repeats), ("ranges", RANGES, given.range_repeats)):
        floor = block_runs(plan, LAYERS, len(plan)) / (LAYERS * len(plan))
        print(f"\n{title}: {len(plan)} swaps, {floor:.2f} of the block runs that they take in full")
        sides: dict[str, Side] = {
            "ours": lambda plan=plan: run_swaps(host, donor, plan, prompts, silent),
            "in full": lambda plan=plan: in_full(host, donor, plan, prompts),
        }
        if plan is SINGLES:
            sides["the origin's way"] = lambda plan=plan: origins_way(host, donor, plan, prompts)
        missed += report(title, measure(sides, repeats, host.device))
    return int(missed > 0)


def report(title: str, found: dict[str, tuple[float, float, np.ndarray]]) -> int:
    """Print one comparison; how many targets it misses."""
    missed = 0
    ours = found.pop("ours")
    print(f"{'ours':>16} {ours[0]:8.2f} s, {ours[1]:8.2f} s of processor time")
    for name, side in found.items():
        print(f"{name:>16} {side[0]:8.2f} s, {side[1]:8.2f} s of processor time")
        clock, processor, most = ours[0] / side[0], ours[1] / side[1], MOST[f"{title} / {name}"]
        deviation = float(np.linalg.norm(ours[2] - side[2]) / np.linalg.norm(side[2] - side[2].mean(axis=0)))
        bad = (clock > most) + (deviation > MOST_DEVIATION)
        missed += bad
        print(
            f"ours / {name}: {clock:.3f}, of processor time {processor:.3f} (at most {most:.2f}); the numbers deviate "
            f"by {deviation:.1e} of their spread over swaps (at most {MOST_DEVIATION:.0e}){' MISSED' if bad else ''}",
            flush=True,
        )
    return missed


if __name__ == "__main__":
    sys.exit(main())
