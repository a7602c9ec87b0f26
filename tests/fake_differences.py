"""The part of the fake port that compares two models token by token, and scales the change between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from backend.caching.progress import Progress, silent
from backend.lab.differences import Differences, Merging, Predictions, Promoted, ScaledPredictions, Scaling
from backend.lab.outputs import Sampling
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts
from tests.fake_numbers import VOCABULARY, epoch_of, generator

TOP = 10


class FakeComparisons:
    """Residuals and predictions that drift with the epoch."""

    layers: int
    width: int
    ran: list[str]
    readout: Any

    def differences(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        prompts: Prompts,
        groups: np.ndarray,
        positions: int,
        progress: Progress = silent,
    ) -> Differences:
        """Shift every residual by a vector that grows with layer and epoch; predictions shift by a few topics."""
        progress(0.0, f"Comparing both models: 0 of {len(prompts.token_ids)} prompts.")
        self.ran.append(checkpoint.fingerprint)
        moved = epoch_of(checkpoint.ref) - epoch_of(reference.ref)
        size = (int(groups.max()) + 1, positions + 1, self.layers + 1)
        total, lengths, count = np.zeros((*size, self.width)), np.zeros(size), np.zeros(size[:2], np.int64)
        shift = generator("shift").normal(size=(self.layers + 1, self.width)) * np.arange(self.layers + 1)[:, None]
        for ids, group in zip(prompts.token_ids, groups, strict=True):
            noise = generator("noise", ids).normal(size=(len(ids), self.layers + 1, self.width))
            change = moved * (0.1 * shift + 0.05 * noise)
            for k in range(min(positions, len(ids))):
                total[group, k] += change[k]
                lengths[group, k] += 5.0
                count[group, k] += 1
            total[group, positions] += change.sum(axis=0)
            lengths[group, positions] += 5.0 * len(ids)
            count[group, positions] += len(ids)
        total, lengths = total.astype(np.float32), lengths.astype(np.float32)
        predictions = None
        if checkpoint.facts.predicts and reference.facts.predicts:
            predictions = self._changed(moved, prompts, groups)
        return Differences(total, lengths, count, predictions)

    def _changed(self, moved: int, prompts: Prompts, groups: np.ndarray) -> Predictions:
        """Make one of two topics likelier at a position, and one of two others rarer."""
        counts = np.maximum(prompts.lengths - 1, 0)
        positions, sizes = int(counts.sum()), int(groups.max()) + 1
        draw, shares = generator("changed", prompts.digest), np.linspace(1, 0.1, TOP)
        topics = np.arange(4 * TOP, dtype=np.int32).reshape(4, TOP) + 20
        topic, strength = draw.integers(0, 2, positions), abs(moved) * draw.gamma(2, 0.1, positions)
        found: dict[str, Any] = {}
        for name, amount, shift in (("rising", "rise", 0), ("falling", "fall", 2)):
            found[name] = topics[topic + shift]
            found[amount] = (strength[:, None] * shares).astype(np.float32)
        before = np.full(VOCABULARY, 1 / VOCABULARY)
        change = np.zeros((sizes, VOCABULARY))
        predicted = np.bincount(groups, counts, sizes).astype(np.int64)
        for t, sign in enumerate((1, 1, -1, -1)):
            change[:, topics[t]] += sign * 1e-4 * moved * predicted[:, None]
        change += 1e-6 * moved * draw.normal(size=change.shape) * predicted[:, None]
        after = before + change.sum(axis=0) / max(1, positions)
        return Predictions(
            change=change.astype(np.float32),
            predicted=predicted,
            before=before.astype(np.float32),
            after=after.astype(np.float32),
            text=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
            position=np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
            following=np.array([token for ids in prompts.token_ids for token in ids[1:]], np.int32),
            kl=strength.astype(np.float32),
            **found,
        )

    def merging(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress = silent) -> Merging:
        """Return rounding errors, and an adapter that acts more with layer and epoch."""
        progress(0.2, "Opening the adapter unmerged.")
        active = (0.1 * epoch_of(checkpoint.ref) * np.arange(self.layers + 1)).astype(np.float32)
        error = np.full(self.layers + 1, 2e-7, np.float32)
        return Merging(error, active, 3e-6, 2.5, 20.0, int(prompts.lengths[:4].sum()))

    def promoted(
        self,
        directions: np.ndarray,
        random: np.ndarray,
        head: PinnedCheckpoint,
        top: int,
        progress: Progress = silent,
    ) -> Promoted:
        """Read directions with random rows."""
        progress(0.0, "Reading directions as tokens.")
        rows = generator("head", epoch_of(head.ref)).normal(size=(VOCABULARY, self.width))
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        units = np.divide(directions, lengths, out=np.zeros_like(directions), where=lengths > 0)
        scores = units @ rows.T * np.sqrt(self.width) / np.linalg.norm(rows, axis=1)
        token = np.argsort(-scores, axis=1)[:, :top]
        score = np.where(lengths > 0, np.take_along_axis(scores, token, axis=1), np.nan)
        best = (random @ rows.T * np.sqrt(self.width) / np.linalg.norm(rows, axis=1)).max(axis=1)
        return Promoted(token.astype(np.int64), score.astype(np.float32), best.astype(np.float32))

    def scaled(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        plan: tuple[Scaling, ...],
        prompts: Prompts,
        progress: Progress = silent,
    ) -> np.ndarray:
        """Interpolate the logits of both, later blocks more than earlier ones; the head alone is a tenth."""
        progress(0.0, f"Scaling the change, {len(plan)} ways: 0 prompts.")
        before, after = (self.readout(one, prompts).logits for one in (reference, checkpoint))
        found = [before + self._share(scaling) * (after - before) for scaling in plan]
        return np.array(found, np.float32).reshape(len(plan), *before.shape)

    def _share(self, scaling: Scaling) -> float:
        weight = np.arange(1, self.layers + 1) / (self.layers * (self.layers + 1) / 2)
        part = {"attn": 0.3, "mlp": 0.6}.get(scaling.part, 0.9)
        inside = 1.0 if scaling.part == "all" else part * weight[list(scaling.blocks)].sum() if scaling.blocks else 0.1
        return scaling.alpha * float(inside)

    def scaled_predictions(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        plan: tuple[Scaling, ...],
        prompts: Prompts,
        progress: Progress = silent,
    ) -> ScaledPredictions:
        """Return a KL that grows with the square of what is scaled."""
        progress(0.0, f"Scaling the change, {len(plan)} ways: 0 prompts.")
        predicted = np.maximum(prompts.lengths - 1, 0)
        plain = np.array([generator("loss", ids).gamma(20, 0.2) for ids in prompts.token_ids]) * predicted
        amount = np.array([self._share(scaling) ** 2 for scaling in plan])[:, None]
        extra = amount * predicted * generator("price").gamma(2, 0.1, len(predicted))
        return ScaledPredictions((plain + extra).astype(np.float32), extra.astype(np.float32), predicted)

    def scaled_text(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        scaling: Scaling | float,
        prompts: Prompts,
        tokens: int,
        sampling: Sampling | None,
        progress: Progress = silent,
    ) -> tuple[int, ...]:
        """Return random tokens that depend on the scaling and the seed."""
        progress(0.0, f"Generating: 0 of {tokens} tokens.")
        draw = generator("scaled", epoch_of(checkpoint.ref), scaling, sampling, prompts.token_ids[0])
        return tuple(draw.integers(1, 1000, tokens).tolist())
