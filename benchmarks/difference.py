"""What the Difference page costs, as ratios to plain transformers within one run, in processor time.

python -m benchmarks.difference [--layers 6] [--width 384] [--texts 32] [--repeats 3]

Two random GPT-2s read random texts of 40 to 120 tokens. *Scaling*: nine alphas for every block alone, and for all
weights, against nine models (per block) that are mixed, and run in full one after the other on the same batches, with
logits at every position as transformers returns them. *Differences*: residuals and predictions of both models compared
at every position, against two plain forward passes, at GPT-2 small's size.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from backend.caching.progress import silent
from backend.derived.scaled_change import plan_of
from backend.derived.texts import groups_of
from backend.lab.differences import Scaling
from backend.models.measurements.differences import differences
from backend.models.measurements.scaling import scaled
from backend.models.runtime.batching import make_batches
from backend.models.runtime.components import anatomy_of
from backend.models.runtime.forward import pad
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

ALPHAS = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
MOST = {"every block": 0.6, "differences": 1.2}
VOCABULARY = 20_000
TOKENS = 512
SMALL = 6
"""Texts that two models of GPT-2 small's size compare."""


def model(layers: int, width: int, seed: int, vocabulary: int = VOCABULARY) -> LoadedModel:
    """Return a random GPT-2."""
    torch.manual_seed(seed)
    config = GPT2Config(n_layer=layers, n_embd=width, n_head=width // 64, vocab_size=vocabulary, n_positions=128)
    made = GPT2LMHeadModel(config).eval().requires_grad_(False)
    return LoadedModel(made, anatomy_of(made), torch.device("cpu"), 0)


def texts(count: int) -> Prompts:
    """Return random texts of 40 to 120 tokens."""
    rng = np.random.default_rng(0)
    ids = tuple(tuple(rng.integers(0, VOCABULARY, int(n)).tolist()) for n in rng.integers(40, 120, count))
    return Prompts("benchmark", ids, np.arange(count) % 2, (7, 11), np.zeros(count, bool))


@torch.inference_mode()
def in_full(one: Any, loaded: LoadedModel, prompts: Prompts) -> np.ndarray:
    """Run a model over the same batches, with all logits; return those of the label tokens at the last token."""
    found = np.empty((len(prompts.token_ids), 2), np.float32)
    for batch in make_batches([len(ids) for ids in prompts.token_ids], TOKENS):
        ids, last, _ = pad([prompts.token_ids[i] for i in batch], "last", loaded)
        logits = one(input_ids=ids, use_cache=False).logits
        found[batch] = logits[torch.arange(len(ids)), last][:, list(prompts.label_tokens)].numpy()
    return found


def mixed_in_full(before: LoadedModel, after: LoadedModel, plan: Sequence[Scaling], prompts: Prompts) -> np.ndarray:
    """Mix each model of the plan as a copy, and run it in full."""
    mixed: Any = copy.deepcopy(before.model)
    ours, theirs = before.model.state_dict(), after.model.state_dict()
    found = []
    for scaling in plan:
        inside = tuple(f"transformer.h.{block}." for block in scaling.blocks)
        mixed.load_state_dict(
            {
                name: torch.lerp(weight, theirs[name], scaling.alpha)
                if scaling.part == "all" or (inside and name.startswith(inside))
                else weight
                for name, weight in ours.items()
            }
        )
        found.append(in_full(mixed, before, prompts))
    return np.stack(found)


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor seconds of a run, and what it returns."""
    started = time.process_time()
    found = run()
    return time.process_time() - started, found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the ratios; 1 if one exceeds its target or numbers deviate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("layers", 6), ("width", 384), ("texts", 32), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args(arguments)
    before, after = (model(given.layers, given.width, seed) for seed in (0, 1))
    prompts = texts(given.texts)
    tokens = int(prompts.lengths.sum())
    print(f"{given.layers} blocks of width {given.width}, {given.texts} texts, {tokens:,} tokens")
    missed = 0
    plans = {"every block": plan_of("block", ALPHAS, given.layers), "all weights": plan_of("all", ALPHAS, 0)}
    for title, plan in plans.items():
        pairs, off = [], 0.0
        for _ in range(given.repeats):
            ours = seconds(lambda plan=plan: scaled(before, after, plan, prompts, silent))
            theirs = seconds(lambda plan=plan: mixed_in_full(before, after, plan, prompts))
            pairs.append((ours[0], theirs[0]))
            off = max(off, float(np.abs(ours[1] - theirs[1]).max()))
        missed += show(title, pairs) + (off > 1e-3)
        print(f"  largest deviation {off:.1e}", flush=True)
    before, after = (model(12, 768, seed, 50_257) for seed in (0, 1))
    prompts = texts(SMALL)
    groups, pairs = groups_of(SMALL, 0), []
    for _ in range(given.repeats):
        ours = seconds(lambda: differences(after, before, prompts, groups, 5, silent))
        theirs = seconds(lambda: [in_full(one.model, one, prompts) for one in (before, after)])
        pairs.append((ours[0], theirs[0]))
    return int(missed + show("differences", pairs) > 0)


def show(title: str, pairs: Sequence[tuple[float, float]]) -> bool:
    """Print the median ratio of pairs of runs; return whether it exceeds the target."""
    ratio = float(np.median([ours / theirs for ours, theirs in pairs]))
    most = MOST.get(title)
    target = "" if most is None else f" (at most {most})"
    print(f"{title}: {ratio:.2f}{target}; {np.median(pairs, axis=0).round(2).tolist()} s", flush=True)
    return most is not None and ratio > most


if __name__ == "__main__":
    sys.exit(main())
