"""Train a TopK sparse autoencoder on a stream of residuals: batches in random order, Adam, progress and cancel."""

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
"""Residuals of one piece of the prompts, by number, as each checkpoint has them."""

WARM_UP, DECAY = 0.05, 0.2
"""Shares of the steps over which the learning rate rises, and falls to 0 in the end."""
POINTS = 200
DEAD_AFTER = 0.1
"""A feature is dead that has not fired over so large a share of the training, but not over so few tokens as these:"""
DEAD_TOKENS = 50_000
READING = 0.1
"""Share of the progress bar that the first reading of residuals has."""
PATIENCE = 0.3
"""Seconds between two reports."""


class Stream:
    """Batches of residuals that count, shuffled within a piece of the prompts, over the pieces again and again.

    Where all fit into one piece they are read once, and shuffled anew for every pass. `distinct` counts the residuals
    read so far, `left_out` those that do not count.
    """

    def __init__(self, read: Read, pieces: int, seed: int, progress: Progress) -> None:
        self._read, self._pieces, self._progress = read, pieces, progress
        self.generator = torch.Generator().manual_seed(seed)
        self.fraction = 0.0
        self.distinct = self.left_out = 0
        self._seen = 0
        self.rows = self._piece(0)

    def batches(self, size: int) -> Iterator[Float32[Tensor, "batch width"]]:
        """Without end; the last few of a pass are left for the next one."""
        number = 0
        while True:
            size = min(size, len(self.rows))
            order = torch.randperm(len(self.rows), generator=self.generator)
            for start in range(0, len(order) - size + 1, size):
                yield self.rows[order[start : start + size]]
            number = (number + 1) % self._pieces
            if self._pieces > 1:
                self.rows = torch.empty(0)  # before the next ones come
                self.rows = self._piece(number)

    def _piece(self, number: int) -> Float32[Tensor, "tokens width"]:
        """Residuals of one piece, of all checkpoints, without those that do not count."""

        def report(fraction: float, sentence: str) -> None:
            self._progress(max(self.fraction, READING * fraction if number == 0 else 0.0), sentence)

        found = self._read(number, report)
        kept = np.concatenate([one.residuals[~one.left_out] for one in found])
        if number == self._seen:
            self._seen += 1
            self.distinct += len(kept)
            self.left_out += sum(int(one.left_out.sum()) for one in found)
        if len(kept) < 2:
            raise AutoencoderError("There are fewer than two tokens to train on; use more or longer texts.")
        return torch.from_numpy(kept)


class Report:
    """Where training stands, told every third of a second; a cancel arrives here."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self.last: Point | None = None
        self._progress, self._steps, self._step = progress, steps, 0
        self._told = time.monotonic()

    def done(self, step: int) -> float:
        """So many steps are done; the fraction of the bar that this is."""
        self._step = step
        if step == self._steps:
            self._told = -PATIENCE
        self.now_and_then()
        return self._fraction

    def now_and_then(self) -> None:
        """Tell if it is time."""
        if time.monotonic() - self._told >= PATIENCE:
            self._told = time.monotonic()
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
    """The autoencoder, in units of the residuals. Equal seeds give equal weights on one machine.

    Residuals are scaled to a mean squared length of their width about their mean, which is where the decoder's bias
    starts; both come from the first piece. Raises AutoencoderError for a spec that cannot be, DeviceError.
    """
    check(spec)
    stream = Stream(read, pieces, spec.seed, progress)
    try:
        return _fit(spec, stream, device, progress, watch)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    give_back(device)
    raise DeviceError(
        f"An autoencoder of {spec.features:,} features does not fit into the free memory of {device}; choose fewer "
        f"features or a smaller batch."
    )


def check(spec: AutoencoderSpec) -> None:
    """Raise AutoencoderError for numbers that no training can use."""
    if not 0 < spec.k <= spec.features:
        raise AutoencoderError(f"k is {spec.k} and must be between 1 and the {spec.features} features.")
    if spec.batch < 2 or spec.tokens < spec.batch:
        raise AutoencoderError(
            f"{spec.tokens:,} tokens in batches of {spec.batch:,} make no step; train on at least one batch of two."
        )
    if not spec.learning_rate > 0:
        raise AutoencoderError(f"The learning rate is {spec.learning_rate} and must be above 0.")


def rate(step: int, steps: int) -> float:
    """The share of the peak learning rate at a step (from 0): a rise, a plateau, a fall."""
    rise, fall = max(1, round(WARM_UP * steps)), max(1, round(DECAY * steps))
    return min(1.0, (step + 1) / rise, (steps - step) / fall)


def dead_window(spec: AutoencoderSpec) -> int:
    """Tokens after which a feature that has not fired counts as dead."""
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
        found = model.backward(rows.to(device) * scale, window, report.now_and_then)
        optimizer.step()
        model.keep_length()
        if step % every == 0 or step == steps - 1:
            missing = float(found.error / found.spread)
            dead = float(model.dead(window).float().mean())
            points.append(Point(step + 1, missing + float(found.auxiliary), 1 - missing, dead))
            watch(points[-1])
            report.last = points[-1]
        stream.fraction = report.done(step + 1)
    return _trained(spec, model, scale, points, stream)


def _trained(spec: AutoencoderSpec, model: TopK, scale: float, points: list[Point], stream: Stream) -> Trained:
    """Everything on the CPU, read-only; the scale goes into the biases: features and residuals are scaled alike."""
    arrays = {
        "encoder": model.encoder.detach().T,
        "encoder_bias": model.encoder_bias.detach() / scale,
        "decoder": model.decoder.detach(),
        "decoder_bias": model.decoder_bias.detach() / scale,
        "threshold": torch.zeros(spec.features),
    }
    found = {name: np.ascontiguousarray(tensor.cpu().numpy()) for name, tensor in arrays.items()}
    found["step"] = np.array([point.step for point in points], np.int64)
    for name in ("loss", "explained_variance", "dead"):
        found[name] = np.array([getattr(point, name) for point in points], np.float32)
    if not all(np.isfinite(array).all() for array in found.values()):
        raise AutoencoderError("Training diverged; choose a lower learning rate.")
    for array in found.values():
        array.setflags(write=False)
    return Trained(
        layer=spec.layer,
        k=spec.k,
        tokens=spec.tokens // spec.batch * min(spec.batch, stream.distinct),
        distinct=stream.distinct,
        left_out=stream.left_out,
        **found,
    )
