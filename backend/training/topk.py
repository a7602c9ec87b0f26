"""Compute the loss and the gradients of one training step of a TopK sparse autoencoder.

Gao et al. 2024, "Scaling and evaluating sparse autoencoders", https://arxiv.org/abs/2406.04093: the k largest
pre-activations fire; features that have not fired lately learn from the remaining error (the auxiliary loss); decoder
rows keep length 1. Only the k active features of a token have gradients, so every product except the encoder's is
sparse: an embedding bag over a token's features, or over a feature's tokens. With width 576, 4,608 features and k = 32
a step takes a third of the dense step's time on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

START = 0.1
"""The encoder starts as this multiple of the decoder, because overlapping features would add up to too much."""
AUX_WEIGHT = 1 / 32
AUX_TOKENS = 256
"""Tokens of a step that dead features learn from; few, because their product is dense."""
CHUNK_VALUES = {"cpu": 2**23, "cuda": 2**28}
"""Pre-activations in memory at a time; on a CPU they fit into its cache."""
ROWS = 512
"""Rows of weights that are changed at a time, also to fit into the cache."""
Tick = Callable[[], None]
Rows = Float32[Tensor, "features width"]


@dataclass(frozen=True, eq=False)
class Step:
    """Sums over the tokens of a step, still on the device, so that the next step does not wait for them."""

    error: Float32[Tensor, ""]
    spread: Float32[Tensor, ""]
    auxiliary: Float32[Tensor, ""]


class TopK:
    """The weights on a device, with gradients that `backward` writes to `.grad`; tokens must be scaled and float32.

    Encoder and decoder both have one row per feature [features, width].
    """

    def __init__(self, features: int, k: int, mean: Float32[Tensor, " width"], generator: torch.Generator) -> None:
        width, device = len(mean), mean.device
        rows = normalize(torch.randn(features, width, generator=generator), dim=1).to(device)
        self.k = min(k, features)
        self.decoder = torch.nn.Parameter(rows)
        self.encoder = torch.nn.Parameter(START * rows)
        self.encoder_bias = torch.nn.Parameter(torch.zeros(features, device=device))
        self.decoder_bias = torch.nn.Parameter(mean.clone())
        self.seen = 0
        self.last_fired = torch.zeros(features, dtype=torch.int64, device=device)

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return the parameters to optimize."""
        return [self.encoder, self.encoder_bias, self.decoder, self.decoder_bias]

    def dead(self, window: int) -> Bool[Tensor, " features"]:
        """Return which features fired at none of the last `window` tokens."""
        return self.seen - self.last_fired >= window

    @torch.no_grad()
    def backward(self, x: Float32[Tensor, "tokens width"], window: int, tick: Tick = lambda: None) -> Step:
        """Compute the step's loss, and its gradients in `.grad`: mean squared error over the tokens' variance.

        The auxiliary loss is added for the features that are dead by `window`. `tick` is called every few tokens.
        """
        centred = x - self.decoder_bias
        spread = centred.norm().square() - len(x) * centred.mean(0).square().sum()
        value, index, slope, error = self._fire(centred, tick)
        per_error = 2 / spread  # of the loss, per unit of reconstruction error
        slope *= per_error
        rates = FeatureRates(index, len(self.decoder))
        self.encoder.grad = rates.sums(slope, centred)
        self.encoder_bias.grad = rates.totals(slope)
        self.decoder.grad = rates.sums(value * per_error, error)
        self.decoder_bias.grad = error.sum(0) * per_error - self.encoder_bias.grad @ self.encoder
        self.seen += len(x)
        self.last_fired.index_fill_(0, index[value > 0], self.seen)
        some = slice(min(AUX_TOKENS, len(x)))
        auxiliary = self._revive(centred[some], error[some], spread * (some.stop / len(x)), window)
        for gradient, rows in zip(self.decoder.grad.split(ROWS), self.decoder.split(ROWS), strict=True):
            gradient.addcmul_(rows, (gradient * rows).sum(1, keepdim=True), value=-1)  # remove the part along the row
        return Step(error.norm().square(), spread, auxiliary)

    @torch.no_grad()
    def keep_length(self) -> None:
        """Scale decoder rows back to length 1, after an optimizer's step."""
        for rows in self.decoder.split(ROWS):
            rows.div_(rows.norm(dim=1, keepdim=True))

    def _fire(self, centred: Float32[Tensor, "tokens width"], tick: Tick) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the active features: value, index, half the slope of the squared error, and output - input."""
        value = centred.new_empty(len(centred), self.k)
        index = torch.empty(value.shape, dtype=torch.int64, device=value.device)
        slope, error = torch.empty_like(value), torch.empty_like(centred)
        rows = max(1, CHUNK_VALUES[centred.device.type] // len(self.decoder))
        for at in (slice(start, start + rows) for start in range(0, len(centred), rows)):
            tick()
            before = torch.addmm(self.encoder_bias, centred[at], self.encoder.T)
            torch.topk(before, self.k, dim=1, sorted=False, out=(value[at], index[at]))
            leaf = value[at].relu_().detach().requires_grad_()
            with torch.enable_grad():
                output = embedding_bag(index[at], self.decoder.detach(), per_sample_weights=leaf, mode="sum")
            torch.sub(output.detach(), centred[at], out=error[at])
            slope[at] = torch.autograd.grad(output, leaf, error[at])[0]
        return value, index, slope.masked_fill_(value == 0, 0), error

    def _revive(
        self,
        centred: Float32[Tensor, "tokens width"],
        error: Float32[Tensor, "tokens width"],
        spread: Tensor,
        window: int,
    ) -> Float32[Tensor, ""]:
        """Return the auxiliary loss: dead features, at most half the width per token, predict the remaining error."""
        dead = self.dead(window).nonzero()[:, 0]
        if not len(dead):
            return spread.new_zeros(())
        k = min(max(1, centred.shape[1] // 2), len(dead))
        weight = AUX_WEIGHT * min(1.0, len(dead) / max(1, centred.shape[1] // 2)) / spread
        encoder, decoder = self.encoder[dead], self.decoder[dead]
        before = torch.addmm(self.encoder_bias[dead], centred, encoder.T)
        value, index = before.topk(k, dim=1, sorted=False)
        fires = torch.zeros_like(before).scatter_(1, index, value.relu_())
        off = fires @ decoder + error  # the remaining error is -error
        slope = (off @ decoder.T).mul_(2 * weight).masked_fill_(fires == 0, 0)
        for parameter, gradient in (
            (self.decoder, fires.T @ (off * (2 * weight))),
            (self.encoder, slope.T @ centred),
            (self.encoder_bias, slope.sum(0)),
        ):
            if parameter.grad is not None:
                parameter.grad.index_add_(0, dead, gradient)
        return weight * off.square().sum()


class FeatureRates:
    """The tokens of each active feature: the transpose of an index [tokens, k], sorted once for several sums."""

    def __init__(self, index: Int64[Tensor, "tokens k"], features: int) -> None:
        flat = index.flatten()
        if flat.device.type == "cpu":  # numpy sorts small integers by their digits, a hundred times faster
            kind = np.uint16 if features <= 2**16 else np.uint32
            self.order = torch.from_numpy(np.argsort(flat.numpy().astype(kind), kind="stable"))
        else:
            self.order = torch.argsort(flat, stable=True)
        counts = torch.bincount(flat, minlength=features)
        self.token = self.order // index.shape[1]
        self.starts = counts.cumsum(0) - counts
        self.feature, self.features = flat, features

    def sums(self, weight: Float32[Tensor, "tokens k"], x: Float32[Tensor, "tokens width"]) -> Rows:
        """Return, per feature, the sum of weight times x over its tokens."""
        return embedding_bag(
            self.token, x, self.starts, per_sample_weights=weight.flatten().index_select(0, self.order), mode="sum"
        )

    def totals(self, weight: Float32[Tensor, "tokens k"]) -> Float32[Tensor, " features"]:
        """Return, per feature, the sum of the weights over its tokens."""
        return weight.new_zeros(self.features).index_add_(0, self.feature, weight.flatten())
