"""Find where one feature is active: its activations in both models, and the contexts with the largest ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from backend.caching.memoize import memoized
from backend.derived.feature_activations import ActiveQuery, Source, active, find, fits
from backend.errors import AutoencoderError
from backend.lab.autoencoders import encode
from backend.lab.lab import Lab
from backend.lab.outputs import FeatureActivations
from backend.stats.rows import cell
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts
from backend.vocabulary.display import pieces

AROUND = 14
"""Tokens shown on each side."""


@dataclass(frozen=True)
class ContextQuery:
    """One feature of an autoencoder in both models; contexts come from the `most` reviews where it is largest."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    source: Source
    feature: int
    most: int = 8


@dataclass(frozen=True, eq=False)
class Contexts:
    """Where one feature is active, among the tokens left out in neither model; models are reference, checkpoint.

    `reference` and `checkpoint` are its activations where it is active. A context is the token of a review with the
    largest activation in one `model`, largest first, and up to AROUND tokens on each side, from `start` on. It has
    their `pieces`, and the activation `value` at each in both models (0 if inactive or left out, padded with NaN).
    """

    reference: Float32[np.ndarray, " firings"]
    checkpoint: Float32[np.ndarray, " others"]
    model: Int[np.ndarray, " contexts"]
    review: Int[np.ndarray, " contexts"]
    position: Int[np.ndarray, " contexts"]
    start: Int[np.ndarray, " contexts"]
    pieces: tuple[tuple[str, ...], ...]
    value: Float32[np.ndarray, "contexts models window"]

    def of(self, model: int) -> list[int]:
        """Return the indices of one model's contexts."""
        return np.flatnonzero(self.model == model).tolist()

    def rows(self, query: ContextQuery, index: Int[np.ndarray, " reviews"]) -> Iterator[dict[str, Any]]:
        """Yield one row per context, token and model; `index` are the source rows of the reviews."""
        models = (query.reference, query.checkpoint)
        for i, (m, review) in enumerate(zip(self.model.tolist(), self.review.tolist(), strict=True)):
            for t, piece in enumerate(self.pieces[i]):
                for column, model in enumerate(models):
                    yield {
                        "feature": query.feature,
                        "highest_in": models[m].label,
                        "review": int(index[review]),
                        "label": int(query.prompts.labels[review]),
                        "position": int(self.start[i]) + t,
                        "token": piece,
                        "checkpoint": model.label,
                        "activation": cell(self.value[i, column, t]),
                    }


def at_tokens(activations: FeatureActivations, feature: int) -> Float32[np.ndarray, " tokens"]:
    """Return the activation of one feature at every token, 0 where it is inactive."""
    return np.where(activations.index == feature, activations.value, np.float32(0)).sum(axis=1, dtype=np.float32)


def highest(
    activations: Float[np.ndarray, " tokens"], review: Int[np.ndarray, " tokens"], most: int
) -> Int[np.ndarray, " contexts"]:
    """Return the tokens with the largest activation, one per review, for at most `most` reviews; largest first."""
    order = np.argsort(-activations, kind="stable")
    order = order[activations[order] > 0]
    _, first = np.unique(review[order], return_index=True)
    return order[np.sort(first)][:most]


@memoized(version=1)
def contexts(query: ContextQuery, lab: Lab) -> Contexts:
    """Find the feature among the active features of both models."""
    models, prompts = (query.reference, query.checkpoint), query.prompts
    activations = [active(ActiveQuery(query.source, model, prompts), lab.part(i, 2)) for i, model in enumerate(models)]
    counts = ~(activations[0].left_out | activations[1].left_out)
    values = np.stack([np.where(counts, at_tokens(model, query.feature), np.float32(0)) for model in activations])
    review, position = activations[0].review, activations[0].position
    chosen = [(m, t) for m in range(2) for t in highest(values[m], review, query.most).tolist()]
    tokenizer = lab.models.tokenizer(models[1].ref, models[1].base)
    window = np.full((len(chosen), 2, 2 * AROUND + 1), np.nan, np.float32)
    starts, shown = [], []
    for i, (_, t) in enumerate(chosen):
        ids, at = prompts.token_ids[review[t]], int(position[t])
        start, end = max(0, at - AROUND), min(len(ids), at + AROUND + 1)
        window[i, :, : end - start] = values[:, t - (at - start) : t + (end - at)]
        starts.append(start)
        shown.append(pieces(tokenizer, ids[start:end]))
    places = np.array([t for _, t in chosen], dtype=np.int64)
    return Contexts(
        reference=values[0][values[0] > 0],
        checkpoint=values[1][values[1] > 0],
        model=np.array([m for m, _ in chosen], dtype=np.int64),
        review=review[places].astype(np.int64),
        position=position[places].astype(np.int64),
        start=np.array(starts, dtype=np.int64),
        pieces=tuple(shown),
        value=window,
    )


@dataclass(frozen=True)
class TextQuery:
    """One feature at every token of a text that the user typed: `text` holds only its prompt."""

    checkpoint: PinnedCheckpoint
    source: Source
    text: Prompts
    feature: int


@dataclass(frozen=True, eq=False)
class InText:
    """The feature's activation at every token and layer, 0 where it is inactive, in residual units.

    The autoencoder was trained on one `layer`; the other layers have other residuals. NaN at position 0, which was left
    out of its training.
    """

    layer: int
    activation: Float32[np.ndarray, "tokens layers"]

    def rows(self, query: TextQuery, pieces: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield one row per token and layer."""
        for t, piece in enumerate(pieces):
            for layer, value in enumerate(self.activation[t]):
                yield {
                    "checkpoint": query.checkpoint.label,
                    "feature": query.feature,
                    "position": t,
                    "token": piece,
                    "layer": layer,
                    "activation": cell(value),
                }


@memoized(version=1, private=True)
def in_text(query: TextQuery, lab: Lab) -> InText:
    """Read the text, then every layer's residuals with the autoencoder. Raises AutoencoderError if it does not fit."""
    autoencoder = find(query.source, lab.part(0, 2))
    fits(autoencoder, query.checkpoint)
    if query.feature >= autoencoder.features:
        raise AutoencoderError(
            f"Feature {query.feature} is out of range; choose one of this autoencoder's features 0 to "
            f"{autoencoder.features - 1}."
        )
    read = lab.models.read_text(query.checkpoint, query.text, 1, lab.part(1, 2).progress)
    layers = read.residuals.swapaxes(0, 1)
    activation = np.stack([encode(autoencoder, x)[:, query.feature] for x in layers], axis=1)
    activation[0] = np.nan
    return InText(autoencoder.layer, activation)
