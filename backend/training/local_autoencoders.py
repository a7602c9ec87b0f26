"""The port to sparse autoencoders for the models of this machine. Torch is imported only when a model must run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from backend.caching.progress import Progress, unwatched
from backend.errors import AutoencoderError, UndefinedError
from backend.lab import saelens
from backend.lab.autoencoders import About, AutoencoderSpec, Point, Watch
from backend.lab.outputs import Autoencoder, FeatureActivations, Losses, Trained
from backend.models.local import LocalModels
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts

_RATES = {"cpu": 1e10, "mps": 1e10, "cuda": 2e12}
"""Multiplications per second, assumed until a training has measured them."""
_ENOUGH_POINTS = 20
"""Points of the training curve from which its speed is remembered."""


class LocalAutoencoders:
    """Autoencoders on the residuals of checkpoints that `models` opens, trained and run on the same device."""

    def __init__(self, models: LocalModels) -> None:
        self._models, self._cache = models, models.cache

    def train(
        self,
        checkpoints: tuple[PinnedCheckpoint, ...],
        prompts: Prompts,
        spec: AutoencoderSpec,
        progress: Progress,
        watch: Watch = unwatched,
    ) -> Trained:
        """Train one autoencoder on the residuals of all the checkpoints, read in a random order of the prompts.

        Models are borrowed only while residuals are read. Raises AutoencoderError, CheckpointError, DeviceError,
        PromptError and, at every step, whatever `progress` raises.
        """
        if not checkpoints:
            raise AutoencoderError("No checkpoint was chosen to train an autoencoder on; choose at least one.")
        for checkpoint in checkpoints:
            self._check(checkpoint, prompts)
        progress(0.0, f"Preparing to open {checkpoints[0].label}.")
        store = self._models.store
        from backend.models.measurements.layer_residuals import PIECE_BYTES, Tokens, pieces, read_tokens, some
        from backend.training.autoencoder import check, train

        check(spec)
        order = np.random.default_rng(spec.seed).permutation(len(prompts.token_ids)).tolist()
        parts = pieces(order, prompts, checkpoints[0].facts.width, PIECE_BYTES // len(checkpoints))

        def read(number: int, report: Progress) -> list[Tokens]:
            tokens: list[Tokens] = []
            chosen = some(prompts, parts[number])
            for i, checkpoint in enumerate(checkpoints):
                part = _part(report, i, len(checkpoints))
                with store.borrow(checkpoint, part) as loaded:
                    tokens.append(read_tokens(loaded, chosen, spec.layer, part, f"Reading {checkpoint.label}"))
            return tokens

        times: list[float] = []

        def see(point: Point) -> None:
            times.append(time.perf_counter())
            watch(point)

        trained = train(spec, read, len(parts), _trainer(store.device), progress, see)
        if len(parts) == 1 and len(times) >= _ENOUGH_POINTS:
            self._cache.put_json(self._rate_key(), _work(spec, trained.width) / max(times[-1] - times[0], 1e-6))
        return trained

    def _check(self, checkpoint: PinnedCheckpoint, prompts: Prompts) -> None:
        """Raise what `check_prompts` raises, and UndefinedError where the checkpoint sees other token ids."""
        seen = prompts.seen_by(checkpoint)
        if (seen.token_ids, seen.token_types) != (prompts.token_ids, prompts.token_types):
            raise UndefinedError(
                f"{checkpoint.label} splits the texts into other token ids than the base, so their features cannot be "
                f'compared token by token; set prompt.tokenizer = "base" in study.toml.'
            )
        self._models.check_prompts(checkpoint, prompts)

    def seconds(self, spec: AutoencoderSpec, width: int) -> float:
        """Estimate the seconds of a training from its size and the speed of earlier ones on this device."""
        remembered = self._cache.get_json(self._rate_key())
        rate = remembered if isinstance(remembered, float) else _RATES[self._models.device.partition(":")[0]]
        return _work(spec, width) / rate

    def _rate_key(self) -> str:
        return f"rate/autoencoder/{self._models.device}"

    def activations(
        self, autoencoder: Autoencoder, checkpoint: PinnedCheckpoint, prompts: Prompts, layer: int, progress: Progress
    ) -> FeatureActivations:
        """Return the active features at every token of every prompt. Raises what `train` raises."""
        self._check(checkpoint, prompts)
        with self._models.lend(progress, checkpoint) as (loaded, report):
            from backend.models.measurements.sae_activations import activations

            return activations(autoencoder, loaded, prompts, layer, report)

    def loss_recovered(
        self, autoencoder: Autoencoder, checkpoint: PinnedCheckpoint, prompts: Prompts, layer: int, progress: Progress
    ) -> Losses:
        """Return the loss of predictions with the layer's residuals replaced. Raises UndefinedError for encoders."""
        self._check(checkpoint, prompts)
        with self._models.lend(progress, checkpoint) as (loaded, report):
            from backend.models.measurements.sae_activations import losses

            return losses(autoencoder, loaded, prompts, layer, report)

    def read(self, folder: Path) -> Autoencoder:
        """Read an autoencoder in SAELens' format; see `saelens.read`."""
        return saelens.read(folder)

    def write(self, autoencoder: Autoencoder, folder: Path, about: About) -> None:
        """Write the autoencoder in SAELens' format."""
        saelens.write(autoencoder, folder, about)


def _work(spec: AutoencoderSpec, width: int) -> float:
    """Return the multiplications of the encoder's product, by far the largest part of training."""
    return float(spec.tokens) * spec.features * width


def _trainer(device: Any) -> Any:
    """Return the device to train on: the CPU instead of Apple's GPUs, which lack fast sparse operations."""
    import torch

    return torch.device("cpu") if device.type == "mps" else device


def _part(progress: Progress, number: int, count: int) -> Progress:
    """Return progress for the `number`-th of `count` equal parts."""
    return lambda fraction, sentence: progress((number + fraction) / count, sentence)
