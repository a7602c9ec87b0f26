"""Train a TopK sparse autoencoder on a stream of residuals, in random batches, with Adam."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from backend.caching.progress import Progress, unwatched
from backend.errors import AutoencoderError, DeviceError
from backend.lab.autoencoders import AutoencoderSpec, Point, Watch
from backend.lab.outputs import Trained
from backend.models.measurements.layer_residuals import Tokens
from backend.models.runtime.devices import give_back, is_out_of_memory
from backend.training.topk import TopK

Read = Callable[[int, Progress], Sequence[Tokens]]
"""Reads the residuals of one piece of the prompts, by its number, in every checkpoint."""

WARM_UP, DECAY = 0.05, 0.2
"""Shares of the steps over which the learning rate rises at the start, and falls to 0 at the end."""
POINTS = 200
DEAD_AFTER = 0.1
"""A feature is dead if it has not fired over this share of the training's tokens, at least DEAD_TOKENS."""
DEAD_TOKENS = 50_000
READING = 0.1
"""Share of the progress bar for the first reading of residuals."""
PATIENCE = 0.3
"""Seconds between two reports."""


class Stream:
    """An endless stream of batches of residuals, shuffled within a piece of the prompts; the pieces repeat.

    If everything fits into one piece it is read once, and shuffled again for every pass. `distinct` counts the
    residuals read so far, `left_out` the residuals that are left out.
    """

    def __init__(self, read: Read, pieces: int, seed: int, progress: Progress) -> None:
        self._read, self._pieces, self._progress = read, pieces, progress
        self.generator = torch.Generator().manual_seed(seed)
        self.fraction = 0.0
        self.distinct = self.left_out = 0
        self._seen = 0
        self.rows = self._piece(0)

    def batches(self, size: int) -> Iterator[Float32[Tensor, "batch width"]]:
        """Yield batches forever; an incomplete batch at the end of a pass is dropped."""
        number = 0
        while True:
            size = min(size, len(self.rows))
            order = torch.randperm(len(self.rows), generator=self.generator)
            for start in range(0, len(order) - size + 1, size):
                yield self.rows[order[start : start + size]]
            number = (number + 1) % self._pieces
            if self._pieces > 1:
                self.rows = torch.empty(0)  # free the memory before the next piece is read
                self.rows = self._piece(number)

    def _piece(self, number: int) -> Float32[Tensor, "tokens width"]:
        """Read the residuals of one piece in all checkpoints, without the tokens that are left out."""

        def report(fraction: float, sentence: str) -> None:
            self._progress(max(self.fraction, READING * fraction if number == 0 else 0.0), sentence)

        tokens = self._read(number, report)
        kept = np.concatenate([part.residuals[~part.left_out] for part in tokens])
        if number == self._seen:
            self._seen += 1
            self.distinct += len(kept)
            self.left_out += sum(int(part.left_out.sum()) for part in tokens)
        if len(kept) < 2:
            raise AutoencoderError("Training needs at least two tokens; use more or longer texts.")
        return torch.from_numpy(kept)


class Report:
    """Reports progress every third of a second; `progress` may raise Cancelled."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self.last: Point | None = None
        self._progress, self._steps, self._step = progress, steps, 0
        self._reported = time.monotonic()

    def done(self, step: int) -> float:
        """Record that `step` steps are done, and return the fraction of the bar."""
        self._step = step
        if step == self._steps:
            self._reported = -PATIENCE
        self.now_and_then()
        return self._fraction

    def now_and_then(self) -> None:
        """Report if the last report is old enough."""
        if time.monotonic() - self._reported >= PATIENCE:
            self._reported = time.monotonic()
            self._progress(self._fraction, self._sentence)

    @property
    def _fraction(self) -> float:
        return READING + (1 - READING) * self._step / self._steps

    @property
    def _sentence(self) -> str:
        if self.last is None:
            return f"Step 1 of {self._steps:,}."
        return (
            f"Step {self._step:,} of {self._steps:,}: loss {self.last.loss:.3f}, explained variance "
            f"{self.last.explained_variance:.3f}, {self.last.dead:.0%} of features dead."
        )


def train(
    spec: AutoencoderSpec, read: Read, pieces: int, device: torch.device, progress: Progress, watch: Watch = unwatched
) -> Trained:
    """Train an autoencoder, in units of the residuals. Equal seeds give equal weights on one machine.

    Residuals are scaled so that their mean squared distance from their mean equals their width. The decoder's bias
    starts at that mean. Both come from the first piece. Raises AutoencoderError for an impossible spec, DeviceError.
    """
    check(spec)
    stream = Stream(read, pieces, spec.seed, progress)
    try:
        return _fit(spec, stream, device, progress, watch)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    give_back()
    raise DeviceError(
        f"An autoencoder of {spec.features:,} features does not fit into the free memory of {device}; choose fewer "
        f"features or a smaller batch."
    )


def check(spec: AutoencoderSpec) -> None:
    """Raise AutoencoderError for impossible numbers in a spec."""
    if not 0 < spec.k <= spec.features:
        raise AutoencoderError(f"k is {spec.k}; choose a number from 1 to {spec.features}, the number of features.")
    if spec.batch < 2 or spec.tokens < spec.batch:
        raise AutoencoderError(
            f"{spec.tokens:,} tokens do not fill a batch of {spec.batch:,}; choose at least one batch of two tokens."
        )
    if not spec.learning_rate > 0:
        raise AutoencoderError(f"The learning rate is {spec.learning_rate}; choose one above 0.")


def rate(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step (from 0): a rise, a plateau, a fall."""
    rise, fall = max(1, round(WARM_UP * steps)), max(1, round(DECAY * steps))
    return min(1.0, (step + 1) / rise, (steps - step) / fall)


def dead_window(spec: AutoencoderSpec) -> int:
    """Return the number of tokens after which a feature that has not fired counts as dead."""
    return max(DEAD_TOKENS, int(DEAD_AFTER * spec.tokens))


def _fit(spec: AutoencoderSpec, stream: Stream, device: torch.device, progress: Progress, watch: Watch) -> Trained:
    mean = stream.rows.mean(0, dtype=torch.float64)
    spread = float((stream.rows - mean.float()).square().sum(1, dtype=torch.float64).mean())
    scale = (stream.rows.shape[1] / spread) ** 0.5 if spread > 0 else 1.0
    model = TopK(spec.features, spec.k, (mean * scale).float().to(device), stream.generator)
    optimizer = torch.optim.Adam(model.parameters(), spec.learning_rate, eps=6.25e-10, fused=True)
    steps = spec.tokens // spec.batch
    window, every = dead_window(spec), max(1, steps // POINTS)
    points: list[Point] = []
    report = Report(progress, steps)
    for step, rows in zip(range(steps), stream.batches(spec.batch), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = spec.learning_rate * rate(step, steps)
        result = model.backward(rows.to(device) * scale, window, report.now_and_then)
        optimizer.step()
        model.keep_length()
        if step % every == 0 or step == steps - 1:
            missing = float(result.error / result.spread)
            dead = float(model.dead(window).float().mean())
            points.append(Point(step + 1, missing + float(result.auxiliary), 1 - missing, dead))
            watch(points[-1])
            report.last = points[-1]
        stream.fraction = report.done(step + 1)
    return _trained(spec, model, scale, points, stream)


def _trained(spec: AutoencoderSpec, model: TopK, scale: float, points: list[Point], stream: Stream) -> Trained:
    """Return read-only arrays in units of the residuals; only biases are rescaled, as features scale like residuals."""
    arrays = {
        "encoder": model.encoder.detach().T,
        "encoder_bias": model.encoder_bias.detach() / scale,
        "decoder": model.decoder.detach(),
        "decoder_bias": model.decoder_bias.detach() / scale,
        "threshold": torch.zeros(spec.features),
    }
    fields = {name: np.ascontiguousarray(tensor.cpu().numpy()) for name, tensor in arrays.items()}
    fields["step"] = np.array([point.step for point in points], np.int64)
    for name in ("loss", "explained_variance", "dead"):
        fields[name] = np.array([getattr(point, name) for point in points], np.float32)
    if not all(np.isfinite(array).all() for array in fields.values()):
        raise AutoencoderError("Training diverged; choose a lower learning rate.")
    for array in fields.values():
        array.setflags(write=False)
    return Trained(
        layer=spec.layer,
        k=spec.k,
        tokens=spec.tokens // spec.batch * min(spec.batch, stream.distinct),
        distinct=stream.distinct,
        left_out=stream.left_out,
        **fields,
    )
