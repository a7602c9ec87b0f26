"""The part of the port that compares two models token by token, and scales the change between them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64

from backend.caching.progress import Progress
from backend.caching.stopwatch import Stopwatch
from backend.lab.differences import Differences, Merging, Promoted, ScaledPredictions, Scaling
from backend.lab.outputs import Sampling
from backend.models.files.locate import locate
from backend.models.lending import Lender
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts


class Comparisons(Lender):
    """Comparisons of a checkpoint with its reference; imports a measurement only once models are lent."""

    def differences(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        prompts: Prompts,
        groups: Int64[np.ndarray, " texts"],
        positions: int,
        progress: Progress,
    ) -> Differences:
        """Compare residuals and predictions at every position. Raises what `readout` raises."""
        prompts = self.readable(prompts, checkpoint, reference)
        with self.lend(progress, reference, checkpoint) as (before, after, report):
            from backend.models.measurements import differences

            stopwatch = Stopwatch()
            found = differences.differences(after, before, prompts, groups, positions, report)
            self.remember(checkpoint, 2 * int(prompts.lengths.sum()), stopwatch.seconds)
        return found

    def merging(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Merging:
        """Run an adapter merged and unmerged. Raises what `readout` raises."""
        prompts = self.readable(prompts, checkpoint)
        with self.lend(progress, checkpoint) as (loaded, report):
            from backend.models.measurements import merging
            from backend.models.runtime.load import open_unmerged

            report(0.2, "Opening the adapter unmerged.")
            located = locate(checkpoint.base), locate(checkpoint.ref)
            unmerged = open_unmerged(*located, loaded.device, checkpoint.dtype, checkpoint.device_map)
            report(0.6, "Running the adapter merged and unmerged.")
            return merging.merging(loaded, unmerged, prompts)

    def promoted(
        self,
        directions: Float32[np.ndarray, "directions width"],
        random: Float32[np.ndarray, "random width"],
        head: PinnedCheckpoint,
        top: int,
        progress: Progress,
    ) -> Promoted:
        """Read directions with the final norm and unembedding of `head`. UndefinedError if it predicts no tokens."""
        with self.lend(progress, head) as (loaded, report):
            from backend.models.measurements import promoted_tokens

            return promoted_tokens.promoted(directions, random, loaded, top, report)

    def scaled(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        plan: tuple[Scaling, ...],
        prompts: Prompts,
        progress: Progress,
    ) -> Float32[np.ndarray, "scalings reviews classes"]:
        """Return label logits under each scaling. Raises what `readout` raises."""
        head = reference if reference.facts.has_head else checkpoint
        prompts = self.readable(prompts, head, checkpoint if head is reference else reference)
        with self.lend(progress, reference, checkpoint) as (before, after, report):
            from backend.models.measurements import scaling

            return scaling.scaled(before, after, plan, prompts, report)

    def scaled_predictions(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        plan: tuple[Scaling, ...],
        prompts: Prompts,
        progress: Progress,
    ) -> ScaledPredictions:
        """Predict along the texts under each scaling. Raises what `output_space` raises."""
        prompts = self.readable(prompts, checkpoint, reference)
        with self.lend(progress, reference, checkpoint) as (before, after, report):
            from backend.models.measurements import scaling

            return scaling.scaled_predictions(before, after, plan, prompts, report)

    def scaled_text(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        scaling: Scaling | float,
        prompts: Prompts,
        tokens: int,
        sampling: Sampling | None,
        progress: Progress,
    ) -> tuple[int, ...]:
        """Continue the first prompt with scaled weights or amplified logits. Raises what `continuation` raises."""
        prompts = self.readable(prompts, checkpoint, reference)
        with self.lend(progress, reference, checkpoint) as (before, after, report):
            from backend.models.measurements import scaled_text

            if isinstance(scaling, Scaling):
                return scaled_text.scaled_text(before, after, scaling, prompts, tokens, sampling, report)
            return scaled_text.amplified_text(before, after, scaling, prompts, tokens, sampling, report)
