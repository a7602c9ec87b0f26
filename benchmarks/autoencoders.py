"""Sparse autoencoders against sae-lens: explained variance and tokens per second, on the same residuals and steps.

python -m benchmarks.autoencoders CHECKPOINT REVIEWS.parquet --sae-lens ENVIRONMENT/bin/python [--layer 3]
    [--count 500] [--steps 400] [--batch 1024] [--rounds 3] [--learning-rate 1e-3] [--residuals FILE.npy] [--sparse]

sae-lens wants libraries of its own, so it runs in an environment of its own, which this makes:
    python3.11 -m venv ENVIRONMENT && ENVIRONMENT/bin/pip install sae-lens

Residuals entering the middle block at every token of the reviews (cut to 200 tokens, position 0 and outliers left out)
are read once. Both sides train TopK autoencoders of eight times the width, k = 32, on the same tokens, in as many
passes, with the same rates: theirs is SAETrainer on TopKTrainingSAE with scaled inputs. The sides take turns, each in a
process of its own with as many threads; only training is timed. The 8,000 residuals held out are explained by one
function for both, which opens theirs from the files that sae-lens saves.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from backend.caching.cache import Cache
from backend.caching.progress import silent
from backend.lab import saelens
from backend.lab.autoencoders import About, AutoencoderSpec
from backend.lab.outputs import Autoencoder
from backend.models.local import LocalModels
from backend.models.measurements.layer_residuals import Tokens, read_tokens
from backend.models.measurements.sae_activations import DeviceAutoencoder
from backend.models.runtime.devices import finish
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.config import CheckpointRef
from backend.study.prompts import bare_prompts
from backend.study.token_ids import Prompts
from backend.training.autoencoder import DECAY, WARM_UP, train

HELD_OUT, K, TIMES = 8_000, 32, 8
LENGTH = 200
MOST_BEHIND, LEAST_SPEED = 0.02, 0.8


def residuals(checkpoint: Path, reviews: Path, count: int, layer: int | None) -> tuple[np.ndarray, int]:
    """Shuffled residuals [tokens, width] that count, and the layer that they enter."""
    with tempfile.TemporaryDirectory() as folder:
        models, ref = LocalModels(Cache(Path(folder))), CheckpointRef(label="base", path=str(checkpoint.resolve()))
        facts = models.facts(ref, ref)
        pinned = PinnedCheckpoint(models.fingerprint(ref, ref), "float32", ref, ref, facts)
        texts = pd.read_parquet(reviews, columns=["text"])["text"].sample(count, random_state=3).tolist()
        prompts = bare_prompts(models.tokenizer(ref, ref), texts, (0, 1), LENGTH)
        if facts.kind == "encoder":
            prompts = Prompts(**{**vars(prompts), "readout": "first"})
        middle = facts.layers // 2 if layer is None else layer
        with models.store.borrow(pinned) as loaded:
            tokens = read_tokens(loaded, prompts, middle, silent, "Reading")
    kept = tokens.residuals[~tokens.left_out]
    return kept[np.random.default_rng(0).permutation(len(kept))], middle


def ours(folder: Path) -> None:
    """Train in this process, save to FOLDER/ours, print seconds: what `sae_lens_side` does."""
    plan = json.loads((folder / "plan.json").read_text())
    torch.set_num_threads(plan["threads"])
    rows = np.load(folder / "residuals.npy")
    zero = np.zeros(len(rows), np.int32)
    tokens = Tokens(rows, np.linalg.norm(rows, axis=1), zero, zero + 1, np.zeros(len(rows), bool))
    spec = AutoencoderSpec(**{name: plan[name] for name in AutoencoderSpec.__dataclass_fields__})
    clock, processor = time.perf_counter(), time.process_time()
    device = torch.device(plan["device"])
    found = train(spec, lambda _number, _report: [tokens], 1, device, silent)
    finish(device)
    seconds = {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor}
    saelens.write(found, folder / "ours", About("benchmark", plan["layer"] + 1, LENGTH, "reviews"))
    print(json.dumps(seconds))


@torch.inference_mode()
def explained(autoencoder: Autoencoder, x: np.ndarray) -> tuple[float, float, float]:
    """Explained variance, L0 and the share of features that never fire, on residuals [tokens, width]."""
    names = ("encoder", "encoder_bias", "decoder", "decoder_bias", "threshold")
    loaded = DeviceAutoencoder(k=autoencoder.k, **{name: torch.tensor(getattr(autoencoder, name)) for name in names})
    error, fired = 0.0, torch.zeros(autoencoder.features)
    for rows in torch.from_numpy(x).split(512):
        value, index = loaded.fire(rows)
        error += float((rows - loaded.rebuild(value, index)).square().sum())
        fired.index_add_(0, index.flatten(), (value > 0).float().flatten())
    spread = float(((x - x.mean(axis=0, dtype=np.float64)) ** 2).sum())
    return 1 - error / spread, float(fired.sum()) / len(x), float((fired == 0).float().mean())


def run(side: str, folder: Path, python: str) -> dict[str, float]:
    """One side in a process of its own."""
    script = Path(__file__).with_name("sae_lens_side.py")
    command = [python, str(script), str(folder)]
    if side == "ours":
        command = [sys.executable, "-m", "benchmarks.autoencoders", "--ours", str(folder)]
    threads = json.loads((folder / "plan.json").read_text())["threads"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "WANDB_MODE": "disabled"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both sides and the ratios; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", type=Path)
    parser.add_argument("reviews", nargs="?", type=Path)
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--sae-lens", help="a Python that has sae-lens")
    parser.add_argument("--layer", type=int)
    parser.add_argument("--count", type=int, default=500, help="reviews to read")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--residuals", type=Path, help="residuals are kept here, and read from here if they are there")
    parser.add_argument("--sparse", action="store_true", help="theirs with use_sparse_activations")
    given = parser.parse_args(arguments)
    if given.ours:
        ours(given.ours)
        return 0
    if given.checkpoint is None or given.reviews is None or given.sae_lens is None:
        parser.error("CHECKPOINT, REVIEWS and --sae-lens are needed; see --help for how to install sae-lens.")
    with tempfile.TemporaryDirectory() as name:
        return compare(given, Path(name))


def compare(given: argparse.Namespace, folder: Path) -> int:
    """Residuals, rounds, report."""
    if subprocess.run([given.sae_lens, "-c", "import sae_lens"], capture_output=True, check=False).returncode:
        raise SystemExit(f"{given.sae_lens} has no sae-lens; run {given.sae_lens} -m pip install sae-lens")
    x, layer = np.empty((0, 0), np.float32), given.layer or 0
    if given.residuals and given.residuals.exists():
        x = np.load(given.residuals)
    else:
        x, layer = residuals(given.checkpoint, given.reviews, given.count, given.layer)
        if given.residuals:
            np.save(given.residuals, x)
    held_out, rows = x[:HELD_OUT], x[HELD_OUT:]
    np.save(folder / "residuals.npy", rows)
    spec = AutoencoderSpec(
        layer, TIMES * x.shape[1], K, given.steps * given.batch, given.batch, given.learning_rate, seed=0
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    plan = asdict(spec) | {"steps": given.steps, "threads": given.threads, "device": device, "sparse": given.sparse}
    plan |= {"rise": max(1, round(WARM_UP * given.steps)), "fall": max(1, round(DECAY * given.steps))}
    (folder / "plan.json").write_text(json.dumps(plan))
    print(
        f"{date.today()}, {platform.processor() or platform.machine()}, {device}, {given.threads} threads; width "
        f"{x.shape[1]}, {spec.features:,} features, k = {K}; {given.steps} steps of {given.batch:,} tokens, "
        f"{len(rows):,} distinct, at {given.learning_rate:g}",
        flush=True,
    )
    seconds: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    for number in range(given.rounds):
        for side in ("ours", "theirs") if number % 2 == 0 else ("theirs", "ours"):
            seconds[side].append(run(side, folder, given.sae_lens))
            print(f"round {number + 1}, {side}: {seconds[side][-1]}", flush=True)
    return report(seconds, {side: explained(saelens.read(folder / side), held_out) for side in seconds}, spec.tokens)


def report(
    seconds: dict[str, list[dict[str, float]]], quality: dict[str, tuple[float, float, float]], tokens: int
) -> int:
    """Print both sides; how many targets are missed."""
    speed = {}
    for side, times in seconds.items():
        clock, processor = (statistics.median(one[kind] for one in times) for kind in ("clock", "processor"))
        speed[side] = tokens / processor if processor else 0.0
        ev, l0, silent_share = quality[side]
        print(
            f"{side:>7} {tokens / clock:8,.0f} tokens/s, {speed[side]:8,.0f} per processor second; explained variance "
            f"{ev:.4f}, L0 {l0:.1f}, {silent_share:.1%} of features silent on the tokens held out"
        )
    clocks = {side: statistics.median(one["clock"] for one in times) for side, times in seconds.items()}
    ratio, gap = clocks["theirs"] / clocks["ours"], quality["ours"][0] - quality["theirs"][0]
    slow, worse = ratio < LEAST_SPEED, gap < -MOST_BEHIND
    print(
        f"throughput {ratio:.2f} of theirs, {speed['ours'] / speed['theirs']:.2f} per processor second (at least "
        f"{LEAST_SPEED}){' MISSED' if slow else ''}; explained variance {gap:+.4f} (at least -{MOST_BEHIND})"
        f"{' MISSED' if worse else ''}"
    )
    return int(slow or worse)


if __name__ == "__main__":
    sys.exit(main())
