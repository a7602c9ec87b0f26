"""The part of the fake port that reads: residuals, logits, embeddings, weights and predictions of one checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backend.caching.progress import Progress, silent
from backend.lab.outputs import Contributions, Embedding, Matrix, OutputSpace, Readout, TextReadout, WeightChange
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts
from tests.fake_numbers import VOCABULARY, epoch_of, generator


def fake_axes(epoch: int, classes: int, layers: int, width: int) -> np.ndarray:
    """Return the signal of each class at each layer, with length 1: [classes, layers + 1, width]."""
    axes = generator("axes", classes).normal(size=(2, classes, layers + 1, width))
    mixed = axes[0] + (axes[1] if epoch else 0)
    if classes == 1:
        return np.zeros_like(mixed)
    mixed -= mixed.mean(axis=0)
    return mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)


def fake_residuals(epoch: int, prompts: Prompts, layers: int, width: int) -> np.ndarray:
    """Return residuals whose class signal grows with layer and epoch, in a stream that also grows.

    Layer 0 is constant, dimensions 3 and 7 are massive, half of the signal's direction is shared with the base, and the
    noise of a review is mostly the same in every epoch. float32 [reviews, layers + 1, width].
    """
    depth = np.arange(layers + 1) / layers
    spread = 0.5 + 1.5 * depth
    strength = (0.25 + 1.3 * (1 - np.exp(-epoch))) * np.clip((depth - 0.25) / 0.75, 0, 1) * spread
    common = generator("mean").normal(size=(layers + 1, width)) * (1 + 4 * depth[:, None])
    common[:, [3, min(7, width - 1)]] *= 25
    mixed = fake_axes(epoch, prompts.classes, layers, width)
    rows = []
    for ids, label in zip(prompts.token_ids, prompts.labels, strict=True):
        noise = generator("review", ids).normal(size=(layers + 1, width))
        noise = 0.9 * noise + 0.45 * generator("epoch", epoch, ids).normal(size=(layers + 1, width))
        rows.append(common + spread[:, None] * noise + strength[:, None] * mixed[int(label)])
    residuals = np.stack(rows)
    residuals[:, 0] = common[0]
    return residuals.astype(np.float32)


class FakeReadouts:
    """Deterministic residuals and logits. `ran` lists the fingerprint of every run."""

    layers: int
    width: int
    ran: list[str]
    residuals: Callable[[int, Prompts, int, int], np.ndarray]

    def readout(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress = silent) -> Readout:
        """Return logits from the last residual along its class means; the base is biased towards class 0.

        Prompts that do not cover all classes, such as a typed text, are read by `label_logits`.
        """
        epoch = epoch_of(checkpoint.ref)
        progress(0.0, f"Reading {len(prompts.token_ids)} reviews with {checkpoint.label}.")
        residuals = self.residuals(epoch, prompts, self.layers, self.width)
        if not prompts.asks:
            self.ran.append(checkpoint.fingerprint)
            return Readout(residuals, np.empty((len(residuals), 0), np.float32), residuals[None][:0])
        if len(np.unique(prompts.labels)) < prompts.classes:
            self.ran.append(checkpoint.fingerprint)
            logits = self.label_logits(residuals[:, -1], prompts.label_tokens, checkpoint, checkpoint)
            return Readout(residuals, logits, residuals[None][:0])
        last = residuals[:, -1].astype(np.float64)
        last = last - last.mean(axis=0)
        means = np.stack([last[prompts.labels == c].mean(axis=0) for c in range(prompts.classes)])
        noise = generator("readout", epoch).normal(size=means.shape)
        reader = means + noise * (1.0 if epoch == 0 else 0.15)
        logits = -4.0 + last @ reader.T / np.linalg.norm(reader, axis=1)
        logits[:, 0] += 0.5 if epoch == 0 else 0.1
        self.ran.append(checkpoint.fingerprint)
        progress(1.0, f"Read {len(prompts.token_ids)} reviews with {checkpoint.label}.")
        return Readout(residuals, logits.astype(np.float32), residuals[None][:0])

    def label_logits(
        self,
        residuals: np.ndarray,
        label_tokens: tuple[int, ...],
        head: PinnedCheckpoint,
        norm: PinnedCheckpoint | None,
        progress: Progress = silent,
        normalized: bool = False,
    ) -> np.ndarray:
        """Apply a random head per checkpoint; a norm divides by the length."""
        rows = generator("head", epoch_of(head.ref)).normal(size=(VOCABULARY, self.width))
        x = residuals.astype(np.float64)
        if norm is not None:
            x = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9) * (3 + epoch_of(norm.ref))
        logits = x @ rows.T
        if normalized:
            logits -= np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        return logits[..., list(label_tokens)].astype(np.float32)

    def read_text(
        self, checkpoint: PinnedCheckpoint, prompts: Prompts, top: int, progress: Progress = silent
    ) -> TextReadout:
        """Return at every token the residual of the prompt that ends there, so the last one equals `readout`."""
        ids, epoch = prompts.token_ids[0], epoch_of(checkpoint.ref)
        progress(0.0, f"Reading {len(ids)} tokens.")
        starts = tuple(ids[: t + 1] for t in range(len(ids)))
        labels = np.zeros(len(ids), dtype=np.int64)
        ends = Prompts(
            "", starts, labels, prompts.label_tokens, labels.astype(bool), prompts.readout, count=prompts.count
        )
        residuals = self.residuals(epoch, ends, self.layers, self.width)
        everything = tuple(range(VOCABULARY))
        logits = self.label_logits(residuals, everything, checkpoint, checkpoint).astype(np.float64)
        chances = np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))
        best = np.argsort(-chances, axis=-1)[..., :top]
        following = np.full(chances.shape[:2], np.nan)
        for t, token in enumerate(ids[1:]):
            following[t] = chances[t, :, token]
        self.ran.append(checkpoint.fingerprint)
        return TextReadout(
            residuals,
            logits[..., list(prompts.label_tokens)].astype(np.float32),
            following.astype(np.float32),
            best,
            np.take_along_axis(chances, best, axis=-1).astype(np.float32),
        )

    def embedding(self, checkpoint: PinnedCheckpoint, which: Matrix, progress: Progress = silent) -> Embedding:
        """Return random rows; every epoch moves later rows more; untied."""
        epoch = epoch_of(checkpoint.ref)
        progress(0.0, f"Opening {checkpoint.label}.")
        rows = generator("rows", which).normal(size=(VOCABULARY, self.width))
        moved = generator("moved", which, epoch).normal(size=rows.shape) * np.linspace(0.1, 0.4, VOCABULARY)[:, None]
        return Embedding((rows + epoch * moved + 0.2 * epoch).astype(np.float32), tied=False)

    def weight_changes(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, progress: Progress = silent
    ) -> tuple[WeightChange, ...]:
        """Return changes that grow with layer and epoch."""
        moved = abs(epoch_of(checkpoint.ref) - epoch_of(reference.ref))
        progress(0.0, "Comparing weights.")
        names: list[tuple[int | None, str]] = [(None, "transformer.wte.weight"), (None, "transformer.wpe.weight")]
        inside = ("attn.c_attn.weight", "mlp.c_fc.weight")
        names += [(layer, matrix) for layer in range(self.layers) for matrix in inside]
        return tuple(
            WeightChange(
                matrix if layer is None else f"transformer.h.{layer}.{matrix}",
                layer,
                matrix,
                0.01 * moved * (1 + (layer or 0)),
                1.5 + (layer or 0) if moved else float("nan"),
            )
            for layer, matrix in names
        )

    def contributions(
        self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress = silent
    ) -> Contributions:
        """Split the readout's logits over two heads per block and MLPs, with noise that the MLPs cancel."""
        logits, epoch = self.readout(checkpoint, prompts, progress).logits, epoch_of(checkpoint.ref)
        blocks, heads = self.layers, 2
        share = generator("shares", epoch).dirichlet(np.ones(blocks * (heads + 2)))
        parts = logits[:, None] * share.reshape(-1, 1)
        noise = generator("parts", epoch).normal(size=(len(logits), blocks, prompts.classes))
        by_block = parts.reshape(len(logits), blocks, heads + 2, prompts.classes)
        by_head = by_block[:, :, :heads].copy()
        by_head[:, :, 0] += noise
        constant = np.ones(prompts.classes)
        return Contributions(
            np.tile(-constant, (len(logits), 1)).astype(np.float32),
            by_head.astype(np.float32),
            by_block[:, :, heads].astype(np.float32),
            (by_block[:, :, heads + 1] - noise).astype(np.float32),
            constant.astype(np.float32),
            np.empty((0, prompts.classes), np.float32),
        )

    def output_space(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        prompts: Prompts,
        sets: tuple[tuple[int, ...], ...],
        progress: Progress = silent,
    ) -> OutputSpace:
        """Compare one text at a time, with last residuals and an unembedding that drift with the epoch."""
        epochs = [epoch_of(one.ref) for one in (reference, checkpoint)]
        drift = generator("drift").normal(size=self.width)
        size = (VOCABULARY, self.width)
        rows = generator("head").normal(size=size)
        heads = [rows + 0.15 * e * generator("moved", e).normal(size=size) for e in epochs]
        found: dict[str, list[Any]] = {name: [] for name in OutputSpace.__annotations__}
        for done, ids in enumerate(prompts.token_ids):
            progress(
                done / len(prompts.token_ids), f"Comparing predictions: {done} of {len(prompts.token_ids)} prompts."
            )
            common = generator("hidden", ids).normal(size=(len(ids), self.width))
            streams = [2 * common + 0.5 * e * drift for e in epochs]
            normed = [(2 + 0.2 * epochs[i]) * x / _lengths(x)[:, None] for i, x in enumerate(streams)]
            logits = [x @ heads[i].T for i, x in enumerate(normed)]
            there, here = (x - np.logaddexp.reduce(x, axis=1, keepdims=True) for x in logits)
            ends = np.stack([there[-1], here[-1]])
            pairs = (streams, normed)
            found["cosine"].append([np.mean((a * b).sum(axis=1) / _lengths(a) / _lengths(b)) for a, b in pairs])
            found["norm_ratio"].append([np.mean(_lengths(b) / _lengths(a)) for a, b in pairs])
            found["entropy"].append(-(np.exp(ends[1]) * ends[1]).sum())
            found["set_logprob"].append([ends[:, list(one)].mean(axis=1) if one else [np.nan] * 2 for one in sets])
            found["set_mass"].append([np.exp(ends[:, list(one)]).sum(axis=1) for one in sets])
            found["predicted"].append(len(ids) - 1)
            found["loss"].append(-here[range(len(ids) - 1), ids[1:]].sum())
            found["kl"].append((np.exp(there) * (there - here))[:-1].sum())
            found["probability"].append(np.exp(ends))
            found["logprob_change"].append(ends[1] - ends[0])
            found["rose"].append(ends[1] > ends[0])
        arrays = {name: np.array(values, np.float64) for name, values in found.items()}
        arrays |= {name: arrays[name].mean(axis=0) for name in ("probability", "logprob_change", "rose")}
        arrays |= {name: np.moveaxis(arrays[name], 2, 0) for name in ("set_logprob", "set_mass")}
        predicted = arrays.pop("predicted").astype(np.int64)
        return OutputSpace(predicted=predicted, **{name: x.astype(np.float32) for name, x in arrays.items()})


def _lengths(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x, axis=1)
