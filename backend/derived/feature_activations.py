"""Get an autoencoder, its active features in a model, and the tokens that its features promote."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from backend.caching.memoize import memoized
from backend.caching.serialize import NOT_IN_KEY
from backend.errors import AutoencoderError
from backend.lab.autoencoders import AutoencoderQuery
from backend.lab.cost import Cost
from backend.lab.lab import Lab
from backend.lab.outputs import Autoencoder, FeatureActivations, Trained
from backend.lab.saelens import CONFIG, WEIGHTS
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts

LOGITS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Opened:
    """An autoencoder in SAELens' format on this machine, identified by the digest of its files."""

    digest: str
    folder: Path = field(metadata=NOT_IN_KEY, compare=False)


Source = AutoencoderQuery | Opened
"""The source of an autoencoder: training, or files."""


def open_folder(text: str) -> Opened:
    """Find the files in the folder that the user typed. Raises AutoencoderError if one of the two is missing."""
    folder = Path(text.strip()).expanduser()
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        try:
            with (folder / name).open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError:
            raise AutoencoderError(
                f"{folder} has no readable {name}; give the folder of an autoencoder in SAELens' format, "
                f"with {CONFIG} and {WEIGHTS}."
            ) from None
    return Opened(digest.hexdigest(), folder)


def find(source: Source, lab: Lab) -> Autoencoder:
    """Return the autoencoder: trained now, cached, or read from its files. Raises what reading and training raise."""
    return lab.autoencoders.read(source.folder) if isinstance(source, Opened) else lab.autoencoder(source)


def training_of(autoencoder: Autoencoder) -> Trained | None:
    """Return the autoencoder with its training curve, or None for one from a file."""
    return autoencoder if isinstance(autoencoder, Trained) else None


@dataclass(frozen=True)
class ActiveQuery:
    """An autoencoder, and the checkpoint and prompts whose residuals it reads."""

    source: Source
    checkpoint: PinnedCheckpoint
    prompts: Prompts

    @property
    def cost(self) -> Cost:
        """The training, a pass, and the encoder."""
        trainings = (self.source,) if isinstance(self.source, AutoencoderQuery) else ()
        return Cost(trainings=trainings).with_passes(self.checkpoint, self.prompts, 0.6)


@memoized(version=1)
def active(query: ActiveQuery, lab: Lab) -> FeatureActivations:
    """Return the active features at every token of every prompt. Raises AutoencoderError for another width or layer."""
    autoencoder = find(query.source, lab.part(0, 2))
    fits(autoencoder, query.checkpoint)
    progress = lab.part(1, 2).progress
    return lab.autoencoders.activations(autoencoder, query.checkpoint, query.prompts, autoencoder.layer, progress)


def fits(autoencoder: Autoencoder, checkpoint: PinnedCheckpoint) -> None:
    """Raise AutoencoderError if the autoencoder cannot read the checkpoint's residuals."""
    facts = checkpoint.facts
    if autoencoder.width != facts.width:
        raise AutoencoderError(
            f"This autoencoder reads residuals of width {autoencoder.width}, but {checkpoint.label} has width "
            f"{facts.width}; open an autoencoder that was trained on this architecture."
        )
    if not 0 <= autoencoder.layer <= facts.layers:
        raise AutoencoderError(
            f"This autoencoder reads layer {autoencoder.layer}, but {checkpoint.label} has layers 0 to {facts.layers}; "
            f"open an autoencoder that was trained on this architecture."
        )


def scores_tokens(checkpoint: PinnedCheckpoint) -> bool:
    """Return whether the model has an unembedding, so that features can promote tokens."""
    return checkpoint.facts.predicts


def promoted(
    rows: Float[np.ndarray, "features width"], checkpoint: PinnedCheckpoint, top: int, lab: Lab
) -> Int[np.ndarray, "features top"]:
    """Return the ids of the tokens whose logits each decoder row raises most, largest first, in a language model.

    The row goes through the final norm and the unembedding. The norm's scale, which depends on the rest of the stream,
    changes no order, and the biases are subtracted (nostalgebraist 2020, logit lens).
    """
    tokenizer = lab.models.tokenizer(checkpoint.ref, checkpoint.base)
    vocabulary = tuple(range(min(checkpoint.facts.vocabulary, tokenizer.get_vocab_size())))
    top = min(top, len(vocabulary))

    def logits(x: np.ndarray) -> np.ndarray:
        return lab.models.label_logits(x.astype(np.float32), vocabulary, checkpoint, checkpoint, lab.progress)

    tokens = np.empty((len(rows), top), dtype=np.int64)
    bias_logits = logits(np.zeros((1, rows.shape[1])))
    chunk = max(1, LOGITS_AT_ONCE // len(vocabulary))
    for start in range(0, len(rows), chunk):
        lab.progress(start / len(rows), f"Finding the tokens that features of {checkpoint.label} promote.")
        raised = logits(rows[start : start + chunk]) - bias_logits
        best = np.argpartition(-raised, top - 1, axis=1)[:, :top]
        order = np.argsort(-np.take_along_axis(raised, best, axis=1), axis=1, kind="stable")
        tokens[start : start + chunk] = np.take_along_axis(best, order, axis=1)
    return tokens
