"""The port to sparse autoencoders: training them, reading their activations, and their files. No torch here."""

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
    """Settings for training a TopK autoencoder: `tokens` in total, `batch` tokens per step, and the peak learning rate.

    It reads the residual stream of `layer` (0..L), and has `features` features, of which `k` are active at a token.
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
    """The checkpoints and prompts whose residuals train one autoencoder together."""

    checkpoints: tuple[PinnedCheckpoint, ...]
    prompts: Prompts
    spec: AutoencoderSpec


@dataclass(frozen=True)
class About:
    """Metadata of an autoencoder's file, for SAELens; it changes no number.

    `blocks` is the number of blocks of the model, because SAELens names the layer after the last block differently.
    """

    model: str
    blocks: int
    context: int
    dataset: str


@dataclass(frozen=True)
class Point:
    """One point of the training curve; `Trained` defines the numbers."""

    step: int
    loss: float
    explained_variance: float
    dead: float


Watch = Callable[[Point], None]
"""Called with the newest point of the training curve, about every second."""


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
        """Train one autoencoder on the mixed residuals of all the checkpoints; seeded."""
        ...

    def activations(
        self, autoencoder: Autoencoder, checkpoint: PinnedCheckpoint, prompts: Prompts, layer: int, progress: Progress
    ) -> FeatureActivations:
        """Return the active features at every token of every prompt, on the checkpoint's residuals of `layer`."""
        ...

    def loss_recovered(
        self, autoencoder: Autoencoder, checkpoint: PinnedCheckpoint, prompts: Prompts, layer: int, progress: Progress
    ) -> Losses:
        """Return the loss of predictions with the layer's residuals replaced. Raises UndefinedError for encoders."""
        ...

    def seconds(self, spec: AutoencoderSpec, width: int) -> float:
        """Estimate the seconds of training on residuals of this width, without the time to read them."""
        ...

    def read(self, folder: Path) -> Autoencoder:
        """Read an autoencoder in SAELens' format. Raises AutoencoderError for other files or unsupported kinds."""
        ...

    def write(self, autoencoder: Autoencoder, folder: Path, about: About) -> None:
        """Write the autoencoder in SAELens' format: cfg.json and sae_weights.safetensors."""
        ...


def encode(
    autoencoder: Autoencoder, residuals: Float32[np.ndarray, "tokens width"]
) -> Float32[np.ndarray, "tokens features"]:
    """Return the feature activations as `Autoencoder` defines them; dense, so use it for few tokens."""
    before = (residuals - autoencoder.decoder_bias) @ autoencoder.encoder + autoencoder.encoder_bias
    fires = np.where(before > np.maximum(autoencoder.threshold, 0), before, 0)
    silent = np.argpartition(fires, -autoencoder.k, axis=1)[:, : -autoencoder.k]
    np.put_along_axis(fires, silent, 0.0, axis=1)
    return fires.astype(np.float32)


def decode(
    autoencoder: Autoencoder, features: Float32[np.ndarray, "tokens features"]
) -> Float32[np.ndarray, "tokens width"]:
    """Reconstruct the residuals from the features."""
    return features @ autoencoder.decoder + autoencoder.decoder_bias
