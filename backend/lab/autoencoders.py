"""The port to sparse autoencoders: training them, what fires where, and their files. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from backend.caching.progress import Progress, unwatched
from backend.lab.outputs import Autoencoder, FeatureActivations, Losses, Trained
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts


@dataclass(frozen=True)
class AutoencoderSpec:
    """How a TopK autoencoder is trained: `tokens` in all, `batch` of them a step, at a peak rate of `learning_rate`.

    `layer` is the residual stream that it reads (0..L), `features` how many it has, `k` how many fire at a token.
    """

    layer: int
    features: int
    k: int = 32
    tokens: int = 400_000
    batch: int = 1024
    learning_rate: float = 3e-3
    seed: int = 0


@dataclass(frozen=True)
class AutoencoderQuery:
    """Which checkpoints' residuals, over which prompts, an autoencoder is trained on: of all of them together."""

    checkpoints: tuple[PinnedCheckpoint, ...]
    prompts: Prompts
    spec: AutoencoderSpec


@dataclass(frozen=True)
class About:
    """What an autoencoder's file says about its origin, for SAELens; none of it changes a number.

    `blocks` is how many the model has: the layer after the last one has a name of its own there.
    """

    model: str
    blocks: int
    context: int
    dataset: str


@dataclass(frozen=True)
class Point:
    """Where training stands: see `Trained` for what the numbers mean."""

    step: int
    loss: float
    explained_variance: float
    dead: float


Watch = Callable[[Point], None]
"""Told where training stands, about every second."""


@runtime_checkable
class Autoencoders(Protocol):
    """Port to sparse autoencoders. Implemented by `backend.training`, faked by `tests.fake_autoencoders`."""

    def train(
        self,
        checkpoints: tuple[PinnedCheckpoint, ...],
        prompts: Prompts,
        spec: AutoencoderSpec,
        progress: Progress,
        watch: Watch = unwatched,
    ) -> Trained:
        """One autoencoder on the residuals of all the checkpoints, mixed; seeded."""
        ...

    def activations(
        self, autoencoder: Autoencoder, checkpoint: PinnedCheckpoint, prompts: Prompts, layer: int, progress: Progress
    ) -> FeatureActivations:
        """What fires at every token of every prompt, on the checkpoint's residuals of `layer`."""
        ...

    def loss_recovered(
        self, autoencoder: Autoencoder, checkpoint: PinnedCheckpoint, prompts: Prompts, layer: int, progress: Progress
    ) -> Losses:
        """What predictions lose with the layer's residuals replaced; UndefinedError for encoders."""
        ...

    def seconds(self, spec: AutoencoderSpec, width: int) -> float:
        """Expected seconds of training on residuals of this width, without reading them."""
        ...

    def read(self, folder: Path) -> Autoencoder:
        """An autoencoder in SAELens' format; AutoencoderError with one sentence if it is none or of another kind."""
        ...

    def write(self, autoencoder: Autoencoder, folder: Path, about: About) -> None:
        """The autoencoder in SAELens' format: cfg.json and sae_weights.safetensors."""
        ...


def encode(
    autoencoder: Autoencoder, residuals: Float32[np.ndarray, "tokens width"]
) -> Float32[np.ndarray, "tokens features"]:
    """What fires, as `Autoencoder` says, 0 elsewhere; for few tokens, since all features are written out."""
    before = (residuals - autoencoder.decoder_bias) @ autoencoder.encoder + autoencoder.encoder_bias
    fires = np.where(before > np.maximum(autoencoder.threshold, 0), before, 0)
    silent = np.argpartition(fires, -autoencoder.k, axis=1)[:, : -autoencoder.k]
    np.put_along_axis(fires, silent, 0.0, axis=1)
    return fires.astype(np.float32)


def decode(
    autoencoder: Autoencoder, features: Float32[np.ndarray, "tokens features"]
) -> Float32[np.ndarray, "tokens width"]:
    """The residuals that the features stand for."""
    return features @ autoencoder.decoder + autoencoder.decoder_bias
