"""An autoencoder put to use: where it comes from, what fires where in a model, and which tokens features promote."""

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
from backend.lab.lab import Lab
from backend.lab.outputs import Autoencoder, FeatureActivations, Trained
from backend.lab.saelens import CONFIG, WEIGHTS
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts

LOGITS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Opened:
    """An autoencoder in SAELens' format on this machine, by the digest of its files."""

    digest: str
    folder: Path = field(metadata=NOT_IN_KEY, compare=False)


Source = AutoencoderQuery | Opened
"""Where an autoencoder comes from: it is trained, or read from files."""


def open_folder(said: str) -> Opened:
    """The files in a folder that somebody typed. AutoencoderError if one of the two is not there."""
    folder = Path(said.strip()).expanduser()
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        try:
            with (folder / name).open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError:
            raise AutoencoderError(
                f"{folder} holds no {name} that can be read; give the folder of an autoencoder in SAELens' format, "
                f"with {CONFIG} and {WEIGHTS}."
            ) from None
    return Opened(digest.hexdigest(), folder)


def find(source: Source, lab: Lab) -> Autoencoder:
    """The autoencoder: trained now, from the cache, or from its files. AutoencoderError, and what training raises."""
    return lab.autoencoders.read(source.folder) if isinstance(source, Opened) else lab.autoencoder(source)


def training_of(autoencoder: Autoencoder) -> Trained | None:
    """How its training went, which a file does not tell."""
    return autoencoder if isinstance(autoencoder, Trained) else None


@dataclass(frozen=True)
class ActiveQuery:
    """Which autoencoder reads the residuals of which checkpoint."""

    source: Source
    checkpoint: PinnedCheckpoint
    prompts: Prompts


@memoized(version=1)
def active(query: ActiveQuery, lab: Lab) -> FeatureActivations:
    """What fires at every token of every prompt. AutoencoderError if the autoencoder is of another width or layer."""
    autoencoder = find(query.source, lab.part(0, 2))
    fits(autoencoder, query.checkpoint)
    progress = lab.part(1, 2).progress
    return lab.autoencoders.activations(autoencoder, query.checkpoint, query.prompts, autoencoder.layer, progress)


def fits(autoencoder: Autoencoder, checkpoint: PinnedCheckpoint) -> None:
    """AutoencoderError with one sentence if it cannot read the checkpoint's residuals."""
    facts = checkpoint.facts
    if autoencoder.width != facts.width:
        raise AutoencoderError(
            f"This autoencoder reads residuals of width {autoencoder.width}, and those of {checkpoint.label} have "
            f"{facts.width}; open one that was trained on this architecture."
        )
    if not 0 <= autoencoder.layer <= facts.layers:
        raise AutoencoderError(
            f"This autoencoder reads layer {autoencoder.layer}, and {checkpoint.label} has layers 0 to {facts.layers}; "
            f"open one that was trained on this architecture."
        )


def scores_tokens(checkpoint: PinnedCheckpoint) -> bool:
    """Whether the model has an unembedding, through which a feature can be said to promote tokens."""
    return checkpoint.facts.predicts


def promoted(
    rows: Float[np.ndarray, "features width"], checkpoint: PinnedCheckpoint, top: int, lab: Lab
) -> Int[np.ndarray, "features top"]:
    """Ids of the tokens whose logits each decoder row raises most, likeliest first; of models that score tokens.

    The row goes through the final norm's centring and weight and through the unembedding; the norm's scale, which
    depends on the rest of the stream, changes no order, and the biases are taken off (nostalgebraist 2020, logit lens).
    """
    tokenizer = lab.models.tokenizer(checkpoint.ref, checkpoint.base)
    vocabulary = tuple(range(min(checkpoint.facts.vocabulary, tokenizer.get_vocab_size())))
    top = min(top, len(vocabulary))

    def logits(x: np.ndarray) -> np.ndarray:
        return lab.models.label_logits(x.astype(np.float32), vocabulary, checkpoint, checkpoint, lab.progress)

    found = np.empty((len(rows), top), dtype=np.int64)
    nothing = logits(np.zeros((1, rows.shape[1])))
    chunk = max(1, LOGITS_AT_ONCE // len(vocabulary))
    for start in range(0, len(rows), chunk):
        lab.progress(start / len(rows), f"Looking for what features of {checkpoint.label} promote.")
        raised = logits(rows[start : start + chunk]) - nothing
        best = np.argpartition(-raised, top - 1, axis=1)[:, :top]
        order = np.argsort(-np.take_along_axis(raised, best, axis=1), axis=1, kind="stable")
        found[start : start + chunk] = np.take_along_axis(best, order, axis=1)
    return found
