"""Fake sparse autoencoders without training: a planted dictionary, of which base and epochs use different parts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from backend.caching.progress import Progress, silent, unwatched
from backend.errors import AutoencoderError
from backend.lab import saelens
from backend.lab.autoencoders import About, AutoencoderSpec, Point, Watch, decode, encode
from backend.lab.outputs import Autoencoder, FeatureActivations, Losses, Trained
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts

PLANTED = 12
"""Directions that residuals are made of: 0 and 1 speak for their class (of two, in turn), 2 is new in the epochs, 3 is
the base's alone, the others belong to tokens."""


class FakeAutoencoders:
    """`backend.lab.autoencoders.Autoencoders` on the planted dictionary; `trained` lists the specs of every training.

    An autoencoder finds the planted directions that are active in any of its checkpoints, slightly rotated and in an
    order that depends on its seed; its other features are noise that depends on its seed.
    """

    def __init__(self, layers: int = 12, width: int = 32) -> None:
        self.layers, self.width = layers, width
        self.trained: list[AutoencoderSpec] = []

    def train(
        self,
        checkpoints: tuple[PinnedCheckpoint, ...],
        prompts: Prompts,
        spec: AutoencoderSpec,
        progress: Progress = silent,
        watch: Watch = unwatched,
    ) -> Trained:
        """Return ten points of a falling loss."""
        self.trained.append(spec)
        there = sorted({g for one in checkpoints for g in range(PLANTED) if _is_used(g, _epoch(one))})
        rows = _generator("noise", spec.seed, spec.layer).normal(size=(spec.features, self.width))
        bent = _generator("bent", spec.seed, *there).normal(size=(PLANTED, self.width))
        places = _generator("order", spec.seed).permutation(spec.features)[: len(there)]
        rows[places] = (_dictionary(self.width) + 0.02 * bent)[there][: len(places)]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        bias = np.full(spec.features, -30.0)  # noise never fires
        bias[places] = -0.5
        steps = np.linspace(1, max(2, spec.tokens // spec.batch), 10).astype(np.int64)
        share = np.linspace(1.0, 0.15, 10)
        for i, step in enumerate(steps):
            loss = float(share[i])
            watch(Point(int(step), loss, 1 - loss, 0.1))
            progress(i / 10, f"Step {step:,} of {steps[-1]:,}: loss {loss:.3f}, explained variance {1 - loss:.3f}.")
        places_of_text = int(prompts.lengths.sum()) * len(checkpoints)
        return Trained(
            layer=spec.layer,
            k=spec.k,
            encoder=rows.T.astype(np.float32).copy(),
            encoder_bias=bias.astype(np.float32),
            decoder=rows.astype(np.float32),
            decoder_bias=_mean(self.width),
            threshold=np.zeros(spec.features, np.float32),
            step=steps,
            loss=share.astype(np.float32),
            explained_variance=(1 - share).astype(np.float32),
            dead=np.full(10, 0.1, np.float32),
            tokens=int(steps[-1]) * spec.batch,
            distinct=places_of_text - len(prompts.token_ids) * len(checkpoints),
            left_out=len(prompts.token_ids) * len(checkpoints),
        )

    def activations(
        self,
        autoencoder: Autoencoder,
        checkpoint: PinnedCheckpoint,
        prompts: Prompts,
        layer: int,
        progress: Progress = silent,
    ) -> FeatureActivations:
        """Encode residuals of the planted dictionary with the autoencoder."""
        if autoencoder.width != self.width:
            raise AutoencoderError(f"It reads residuals of width {autoencoder.width}, and those are {self.width} wide.")
        progress(0.0, f"Reading features of {checkpoint.label}.")
        x, review, position = self._residuals(_epoch(checkpoint), prompts, layer)
        fires = encode(autoencoder, x)
        index = np.argsort(-fires, axis=1, kind="stable")[:, : min(autoencoder.k, 64)]
        value = np.take_along_axis(fires, index, axis=1)
        index[value == 0] = 0
        counts = position > 0
        mean = x[counts].mean(axis=0)
        error, spread = ((x - there) ** 2 for there in (decode(autoencoder, fires), mean))
        return FeatureActivations(
            review,
            position,
            index.astype(np.int32),
            value,
            ~counts,
            np.linalg.norm(x, axis=1),
            error.sum(axis=1),
            spread.sum(axis=1),
            float(1 - error[counts].sum() / spread[counts].sum()),
            float((fires[counts] > 0).sum(axis=1).mean()),
        )

    def loss_recovered(
        self,
        autoencoder: Autoencoder,
        checkpoint: PinnedCheckpoint,
        prompts: Prompts,
        layer: int,
        progress: Progress = silent,
    ) -> Losses:
        """Return three nats per token, five with mean ablation, and four fifths of the difference recovered."""
        progress(0.0, f"Reading losses of {checkpoint.label}.")
        predicted = prompts.lengths - 1
        noise = _generator("loss", _epoch(checkpoint)).normal(size=len(predicted))
        clean = predicted * (3 + 0.2 * noise)
        ablated = clean + predicted * (2 + 0.1 * noise)
        return Losses(
            predicted,
            clean.astype(np.float32),
            ablated.astype(np.float32),
            (clean + 0.2 * (ablated - clean)).astype(np.float32),
        )

    def seconds(self, spec: AutoencoderSpec, width: int) -> float:
        """Return a tenth of a millisecond per token."""
        return spec.tokens / 10_000

    def read(self, folder: Path) -> Autoencoder:
        """As the real ones."""
        return saelens.read(folder)

    def write(self, autoencoder: Autoencoder, folder: Path, about: About) -> None:
        """As the real ones."""
        saelens.write(autoencoder, folder, about)

    def _residuals(self, epoch: int, prompts: Prompts, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return residuals [tokens, width] of all tokens, and the review and position of each."""
        review = np.repeat(np.arange(len(prompts.token_ids), dtype=np.int32), prompts.lengths)
        position = np.concatenate([np.arange(n, dtype=np.int32) for n in prompts.lengths])
        rows = []
        for ids, label in zip(prompts.token_ids, prompts.labels, strict=True):
            chance = _generator("chance", ids).random(size=(len(ids), 4))
            strength = np.stack([_generator("token", token).random(PLANTED) for token in ids])
            strength = np.where(strength > 0.8, 4 * strength, 0.0)  # a fifth of the features belong to a token
            for g in (0, 1):
                rate = 0.1 + 0.15 * (label % 2 == g) * (1 + min(epoch, 3)) * layer / self.layers
                strength[:, g] = np.where(chance[:, g] < rate, 5.0, 0.0)
            strength[:, 2] *= epoch > 0
            strength[:, 3] *= epoch == 0
            noise = 0.15 * _generator("rest", ids, epoch, layer).normal(size=(len(ids), self.width))
            rows.append(strength @ _dictionary(self.width) + noise)
        return (np.concatenate(rows) + _mean(self.width)).astype(np.float32), review, position


def _dictionary(width: int) -> np.ndarray:
    """Return planted directions [PLANTED, width], orthogonal as far as the width allows."""
    rows = _generator("dictionary").normal(size=(PLANTED, width))
    rows = np.linalg.qr(rows.T)[0].T if width >= PLANTED else rows
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _mean(width: int) -> np.ndarray:
    return _generator("mean").normal(size=width).astype(np.float32)


def _is_used(planted: int, epoch: int) -> bool:
    return planted not in (2, 3) or (planted == 2) == (epoch > 0)


def _generator(*key: object) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little"))


def _epoch(checkpoint: PinnedCheckpoint) -> int:
    digits = "".join(c for c in Path(checkpoint.ref.place).name if c.isdigit())
    return int(digits) if digits else 0
