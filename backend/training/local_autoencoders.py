"""The port to sparse autoencoders on models of this machine; torch is imported when one must be run, not before."""

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
"""Multiplications a second, until a training has told."""
_TELLING_POINTS = 20


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
        """One autoencoder on the residuals of all the checkpoints, read in a random order of the prompts.

        Models are lent only while residuals are read. Raises AutoencoderError, CheckpointError, DeviceError,
        PromptError and whatever `progress` raises, at every step.
        """
        if not checkpoints:
            raise AutoencoderError("No checkpoint was chosen to train an autoencoder on.")
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
            found: list[Tokens] = []
            chosen = some(prompts, parts[number])
            for i, checkpoint in enumerate(checkpoints):
                told = _part(report, i, len(checkpoints))
                with store.borrow(checkpoint, told) as loaded:
                    found.append(read_tokens(loaded, chosen, spec.layer, told, f"Reading {checkpoint.label}"))
            return found

        times: list[float] = []

        def see(point: Point) -> None:
            times.append(time.perf_counter())
            watch(point)

        found = train(spec, read, len(parts), _trainer(store.device), progress, see)
        if len(parts) == 1 and len(times) >= _TELLING_POINTS:
            self._cache.put_json(self._rate_key(), _work(spec, found.width) / max(times[-1] - times[0], 1e-6))
        return found

    def _check(self, checkpoint: PinnedCheckpoint, prompts: Prompts) -> None:
        """Raise what `check_prompts` raises, and UndefinedError where the checkpoint sees other token ids."""
        seen = prompts.seen_by(checkpoint)
        if (seen.token_ids, seen.token_types) != (prompts.token_ids, prompts.token_types):
            raise UndefinedError(
                f"{checkpoint.label} makes other token ids of the texts than the base, so their features cannot be "
                f'compared token by token; set prompt.tokenizer = "base" to do so.'
            )
        self._models.check_prompts(checkpoint, prompts)

    def seconds(self, spec: AutoencoderSpec, width: int) -> float:
        """Expected seconds, from the size and how fast earlier trainings on this device were."""
        remembered = self._cache.get_json(self._rate_key())
        rate = remembered if isinstance(remembered, float) else _RATES[self._models.device.partition(":")[0]]
        return _work(spec, width) / rate

    def _rate_key(self) -> str:
        return f"rate/autoencoder/{self._models.device}"

    def activations(
        self, autoencoder: Autoencoder, checkpoint: PinnedCheckpoint, prompts: Prompts, layer: int, progress: Progress
    ) -> FeatureActivations:
        """What fires at every token of every prompt. Raises what `train` raises."""
        self._check(checkpoint, prompts)
        progress(0.0, f"Preparing to open {checkpoint.label}.")
        store = self._models.store
        from backend.models.measurements.sae_activations import activations

        with store.borrow(checkpoint, progress) as loaded:
            return activations(autoencoder, loaded, prompts, layer, _named(progress, checkpoint))

    def loss_recovered(
        self, autoencoder: Autoencoder, checkpoint: PinnedCheckpoint, prompts: Prompts, layer: int, progress: Progress
    ) -> Losses:
        """What predictions lose with the layer's residuals replaced. UndefinedError for encoders."""
        self._check(checkpoint, prompts)
        progress(0.0, f"Preparing to open {checkpoint.label}.")
        store = self._models.store
        from backend.models.measurements.sae_activations import losses

        with store.borrow(checkpoint, progress) as loaded:
            return losses(autoencoder, loaded, prompts, layer, _named(progress, checkpoint))

    def read(self, folder: Path) -> Autoencoder:
        """An autoencoder in SAELens' format; see `saelens.read`."""
        return saelens.read(folder)

    def write(self, autoencoder: Autoencoder, folder: Path, about: About) -> None:
        """The autoencoder in SAELens' format."""
        saelens.write(autoencoder, folder, about)


def _work(spec: AutoencoderSpec, width: int) -> float:
    """Multiplications of the encoder's product, by far the largest part of training."""
    return float(spec.tokens) * spec.features * width


def _trainer(device: Any) -> Any:
    """Where autoencoders are trained: Apple's GPUs lack what makes it fast."""
    import torch

    return torch.device("cpu") if device.type == "mps" else device


def _part(progress: Progress, number: int, count: int) -> Progress:
    """Progress of the `number`-th of `count` equal parts."""
    return lambda fraction, sentence: progress((number + fraction) / count, sentence)


def _named(progress: Progress, checkpoint: PinnedCheckpoint) -> Progress:
    """Progress that says whose it is."""
    return lambda fraction, sentence: progress(fraction, f"{checkpoint.label}: {sentence[0].lower()}{sentence[1:]}")
