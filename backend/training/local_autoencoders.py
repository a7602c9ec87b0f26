"""The port to sparse autoencoders on models of this machine; torch is imported when one must be run, not before."""

from __future__ import annotations

from pathlib import Path

from backend import saelens
from backend.autoencoders import About, AutoencoderSpec, Watch, unwatched
from backend.checkpoints import LocalModels
from backend.errors import UndefinedError
from backend.lab import PinnedCheckpoint, Progress, Prompts
from backend.readings import Autoencoder, FeatureActivations, Losses, Trained


class LocalAutoencoders:
    """Autoencoders on the residuals of checkpoints that `models` opens, trained and run on the same device."""

    def __init__(self, models: LocalModels) -> None:
        self._models = models

    def train(
        self,
        checkpoints: tuple[PinnedCheckpoint, ...],
        prompts: Prompts,
        spec: AutoencoderSpec,
        progress: Progress,
        watch: Watch = unwatched,
    ) -> Trained:
        """One autoencoder on the residuals of all the checkpoints."""
        raise UndefinedError("Autoencoders cannot be trained here yet.")

    def activations(
        self, autoencoder: Autoencoder, checkpoint: PinnedCheckpoint, prompts: Prompts, layer: int, progress: Progress
    ) -> FeatureActivations:
        """What fires at every token of every prompt."""
        raise UndefinedError("Autoencoders cannot be run here yet.")

    def loss_recovered(
        self, autoencoder: Autoencoder, checkpoint: PinnedCheckpoint, prompts: Prompts, layer: int, progress: Progress
    ) -> Losses:
        """What predictions lose with the layer's residuals replaced."""
        raise UndefinedError("Autoencoders cannot be run here yet.")

    def read(self, folder: Path) -> Autoencoder:
        """An autoencoder in SAELens' format; see `saelens.read`."""
        return saelens.read(folder)

    def write(self, autoencoder: Autoencoder, folder: Path, about: About) -> None:
        """The autoencoder in SAELens' format."""
        saelens.write(autoencoder, folder, about)
