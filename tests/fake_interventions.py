"""The part of the fake port that intervenes: swaps, patches, steering, and what is then written."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backend.caching.progress import Progress, silent, unwatched
from backend.lab.outputs import Ablation, Intervention, Patched, Sampling, SideEffects, SteeringVectors, Swap, Swapped
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts
from tests.fake_numbers import epoch_of, generator
from tests.fake_readouts import FakeReadouts, fake_axes
from tests.fake_texts import fake_tokenizer


class FakeInterventions(FakeReadouts):
    """Logits that lie between those of two checkpoints, or move along the signal of a class."""

    def crossed_updates(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, prompts: Prompts, progress: Progress = silent
    ) -> np.ndarray:
        """Apply one matrix per block; it differs more from the base's with every epoch."""
        progress(0.0, "Crossing the blocks.")
        epochs = [epoch_of(one.ref) for one in (reference, checkpoint)]
        size = (self.layers, self.width, self.width)
        common = generator("blocks").normal(size=size)
        blocks = [common + 0.2 * epoch * generator("change", epoch).normal(size=size) for epoch in epochs]
        inputs = [self.residuals(epoch, prompts, self.layers, self.width)[:, :-1] for epoch in epochs]
        crossed = [[np.einsum("rlw,lwv->rlv", x, block) for x in inputs] for block in blocks]
        return np.moveaxis(np.array(crossed), (0, 1), (2, 3)).astype(np.float32)

    def swaps(
        self,
        host: PinnedCheckpoint,
        donor: PinnedCheckpoint,
        plan: tuple[Swap, ...],
        prompts: Prompts,
        progress: Progress = silent,
        watch: Callable[[Swapped], None] = unwatched,
    ) -> np.ndarray:
        """Interpolate the logits of host and donor: later blocks matter more, MLPs more than attention.

        Every other review is a batch; progress is reported again after the second batch.
        """
        own, other = (self.readout(one, prompts).logits for one in (host, donor))
        share = {"block": 1.0, "attn": 0.3, "mlp": 0.6, "embed": 0.05}
        weight = np.arange(1, self.layers + 1) / (self.layers * (self.layers + 1) / 2)
        found = np.empty((len(plan), *own.shape), np.float32)
        for i, swap in enumerate(plan):
            progress(i / len(plan), f"Swapping: {i} of {len(plan)} blocks.")
            through = weight[swap.first : swap.last + 1].sum() if swap.part != "embed" else 1.0
            found[i] = own + share[swap.part] * through * (other - own)
        for start in range(2):
            batch = tuple(range(start, len(own), 2))
            watch(Swapped(batch, found[:, batch]))
            progress(1.0, f"Swapping: {start + 1} of 2 batches.")
        return found

    def steered(
        self,
        checkpoint: PinnedCheckpoint,
        plan: tuple[Intervention, ...],
        prompts: Prompts,
        progress: Progress = silent,
    ) -> np.ndarray:
        """Add a vector's component along the class signal to the logits; an ablation removes the last layer's."""
        read, found = self.readout(checkpoint, prompts, progress), []
        axes = fake_axes(epoch_of(checkpoint.ref), prompts.classes, self.layers, self.width)
        last = read.residuals[:, -1].astype(np.float64)
        for i, one in enumerate(plan):
            progress(i / len(plan), f"Steering: {i} of {len(plan)}.")
            if isinstance(one, Ablation):
                moved = -((last - one.mean[-1]) @ one.unit)[:, None] * (axes[:, -1] @ one.unit)
            else:
                moved = sum(axes[:, layer] @ vector for layer, vector in zip(one.layers, one.vectors, strict=True))
            found.append(read.logits + moved)
        return np.array(found, np.float32).reshape(len(plan), *read.logits.shape)

    def side_effects(
        self,
        checkpoint: PinnedCheckpoint,
        plan: tuple[Intervention, ...],
        prompts: Prompts,
        progress: Progress = silent,
    ) -> SideEffects:
        """Return a small loss for every intervention, larger for later epochs."""
        progress(0.0, "Predicting under interventions.")
        predicted = prompts.lengths - 1
        plain = np.array([generator("loss", ids).gamma(20, 0.2) for ids in prompts.token_ids]) * predicted
        size = (len(plan), len(predicted))
        extra = (0.05 + 0.02 * epoch_of(checkpoint.ref)) * predicted * generator("cost").gamma(2, 0.5, size)
        kl = 1.2 * extra
        loss = (plain + extra).astype(np.float32)
        return SideEffects(plain.astype(np.float32), loss, kl.astype(np.float32), predicted)

    def continuation(
        self,
        checkpoint: PinnedCheckpoint,
        prompts: Prompts,
        intervention: Intervention | None,
        tokens: int,
        sampling: Sampling | None,
        progress: Progress = silent,
    ) -> tuple[int, ...]:
        """Return random tokens that depend on epoch, intervention and seed."""
        pushed = float(intervention.vectors.sum()) if isinstance(intervention, SteeringVectors) else 0.0
        chosen = generator("written", epoch_of(checkpoint.ref), pushed, sampling, prompts.token_ids[0])
        progress(0.0, f"Generating: 0 of {tokens} tokens.")
        return tuple(chosen.integers(1, fake_tokenizer().get_vocab_size(), tokens).tolist())

    def patch(
        self, host: PinnedCheckpoint, donor: PinnedCheckpoint, prompts: Prompts, progress: Progress = silent
    ) -> Patched:
        """Interpolate the logits of host and donor: lower layers act at a middle token, higher layers at the last."""
        ends = [self.read_text(one, prompts, 1).label_logits[-1, -1] for one in (host, donor)]
        tokens = len(prompts.token_ids[0])
        depth = np.arange(self.layers + 1) / self.layers
        share = 0.1 * generator("patched", prompts.token_ids[0]).normal(size=(self.layers + 1, tokens))
        share[:, tokens // 2] += 0.7 * (1 - depth)
        share[:, -1] += depth
        share[-1] = 0.0
        share[-1, -1] = 1.0
        progress(0.5, f"Patching {tokens} tokens.")
        logits = ends[0] + share[:, :, None] * (ends[1] - ends[0])
        return Patched(logits.astype(np.float32), ends[0], ends[1])
