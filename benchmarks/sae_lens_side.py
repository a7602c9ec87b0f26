"""The other side of `benchmarks.autoencoders`: SAELens' trainer, for a Python that has sae-lens; imports none of ours.

python sae_lens_side.py FOLDER, where plan.json says how, and residuals.npy holds [tokens, width]; writes an autoencoder
to FOLDER/theirs and prints seconds of training, on the clock and of processor time, as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch


def batches(rows: torch.Tensor, size: int, seed: int) -> Iterator[torch.Tensor]:
    """The rows in random order, again and again."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(rows), generator=generator)
        for start in range(0, len(order) - size + 1, size):
            yield rows[order[start : start + size]]


def main(folder: Path) -> None:
    """Train and save; only `fit` is timed."""
    logit_diff: Any = importlib.import_module("sae_lens")
    settings: Any = importlib.import_module("sae_lens.config")
    training: Any = importlib.import_module("sae_lens.training.sae_trainer")
    plan = json.loads((folder / "plan.json").read_text())
    torch.manual_seed(plan["seed"])
    torch.set_num_threads(plan["threads"])
    rows = torch.from_numpy(np.load(folder / "residuals.npy"))
    sae = logit_diff.TopKTrainingSAE(
        logit_diff.TopKTrainingSAEConfig(
            d_in=rows.shape[1],
            d_sae=plan["features"],
            k=plan["k"],
            normalize_activations="expected_average_only_in",
            use_sparse_activations=plan["sparse"],
            device=plan["device"],
        )
    )
    config = settings.SAETrainerConfig(
        total_training_samples=plan["steps"] * plan["batch"],
        train_batch_size_samples=plan["batch"],
        lr=plan["learning_rate"],
        lr_end=plan["learning_rate"],
        lr_warm_up_steps=plan["rise"],
        lr_decay_steps=plan["fall"],
        n_batches_for_norm_estimate=10,
        device=plan["device"],
    )
    trainer = training.SAETrainer(config, sae, batches(rows, plan["batch"], plan["seed"]))
    clock, processor = time.perf_counter(), time.process_time()
    trainer.fit()
    if plan["device"] != "cpu":
        torch.cuda.synchronize()
    found = {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor}
    sae.cfg.metadata.hook_name = f"blocks.{plan['layer']}.hook_resid_pre"
    sae.save_inference_model(str(folder / "theirs"))
    print(json.dumps(found | {"version": logit_diff.__version__}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
