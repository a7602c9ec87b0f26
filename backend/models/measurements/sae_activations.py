"""Run a sparse autoencoder on a model's residuals: active features at every token, and the reconstruction's loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding_bag

from backend.caching.progress import Progress
from backend.errors import AutoencoderError, UndefinedError
from backend.lab.outputs import Autoencoder, FeatureActivations, Losses
from backend.models.measurements.layer_residuals import OUTLIER, Tokens, pieces, read_tokens, run_body, some
from backend.models.measurements.logit_lens import CHUNK_VALUES
from backend.models.runtime.batching import in_batches
from backend.models.runtime.forward import hand_over, pad
from backend.models.runtime.hooks import replacing
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

Replacement = Callable[[Float32[Tensor, "tokens width"]], Float32[Tensor, "tokens width"]]
MOST_KEPT = 128
"""Active features stored per token, the largest; scores count all of them. Matters only without TopK."""


@dataclass(frozen=True, eq=False)
class DeviceAutoencoder:
    """An autoencoder's weights on a device."""

    encoder: Float32[Tensor, "width features"]
    encoder_bias: Float32[Tensor, " features"]
    decoder: Float32[Tensor, "features width"]
    decoder_bias: Float32[Tensor, " width"]
    threshold: Float32[Tensor, " features"]
    k: int

    def fire(self, x: Float32[Tensor, "tokens width"]) -> tuple[Float32[Tensor, "tokens k"], Int64[Tensor, "tokens k"]]:
        """Return values and indices of the active features, largest first; 0 if fewer than k are active."""
        before = torch.addmm(self.encoder_bias, x - self.decoder_bias, self.encoder)
        before.masked_fill_(before <= self.threshold.clamp(min=0), 0)
        return before.topk(min(self.k, before.shape[1]), dim=1)

    def rebuild(
        self, value: Float32[Tensor, "tokens k"], index: Int64[Tensor, "tokens k"]
    ) -> Float32[Tensor, "tokens width"]:
        """Reconstruct the residuals from these features."""
        if self.k < len(self.decoder) and value.device.type != "mps":
            return embedding_bag(index, self.decoder, per_sample_weights=value, mode="sum") + self.decoder_bias
        every = torch.zeros(len(value), len(self.decoder), device=value.device).scatter_(1, index, value)
        return torch.addmm(self.decoder_bias, every, self.decoder)

    def pass_through(self, x: Float32[Tensor, "tokens width"]) -> Float32[Tensor, "tokens width"]:
        """Reconstruct every residual, some at a time."""
        return torch.cat([self.rebuild(*self.fire(rows)) for rows in x.split(self.rows)]) if len(x) else x

    @property
    def rows(self) -> int:
        """The number of tokens to encode at a time."""
        return max(1, CHUNK_VALUES // len(self.decoder))


def load(autoencoder: Autoencoder, loaded: LoadedModel) -> DeviceAutoencoder:
    """Copy the autoencoder to the model's device, in float32. Raises AutoencoderError if their widths differ."""
    width = loaded.model.config.hidden_size
    if autoencoder.width != width:
        raise AutoencoderError(
            f"The autoencoder reads residuals of width {autoencoder.width}, but {loaded.model.config.name_or_path} has "
            f"width {width}; choose an autoencoder trained on this model."
        )
    names = ("encoder", "encoder_bias", "decoder", "decoder_bias", "threshold")
    arrays = {name: torch.from_numpy(np.array(getattr(autoencoder, name))).to(loaded.device) for name in names}
    return DeviceAutoencoder(k=autoencoder.k, **arrays)


def activations(
    autoencoder: Autoencoder, loaded: LoadedModel, prompts: Prompts, layer: int, progress: Progress
) -> FeatureActivations:
    """Return the active features at every token of every prompt.

    Prompts are read in pieces of at most a GiB of residuals. Each piece has its own median, for outliers, and its own
    mean, for the variance. Raises AutoencoderError for another width or layer, DeviceError, CheckpointError.
    """
    sae = load(autoencoder, loaded)
    order = pieces(range(len(prompts.token_ids)), prompts, autoencoder.width)
    parts: dict[str, list[np.ndarray]] = {}
    for number, chosen in enumerate(order):
        report = part(progress, number, len(order))
        tokens = read_tokens(loaded, some(prompts, chosen), layer, report, "Reading features")
        columns = _fire(sae, tokens, loaded.device, report) | {
            "review": tokens.review + np.int32(chosen[0]),
            "position": tokens.position,
            "left_out": tokens.left_out,
            "norm": tokens.norm,
        }
        for name, values in columns.items():
            parts.setdefault(name, []).append(values)
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    counts = ~arrays["left_out"]
    l0 = float(arrays.pop("fired")[counts].mean())
    hand_over(loaded, *arrays.values())
    error, spread = (float(arrays[name][counts].sum(dtype=np.float64)) for name in ("error", "spread"))
    return FeatureActivations(explained_variance=1 - error / spread if spread else float("nan"), l0=l0, **arrays)


@torch.inference_mode()
def _fire(sae: DeviceAutoencoder, tokens: Tokens, device: torch.device, progress: Progress) -> dict[str, np.ndarray]:
    """Return the active features at each token of a piece, with squared errors of the reconstruction."""
    counted = tokens.residuals[~tokens.left_out]
    mean = torch.from_numpy(counted.mean(axis=0, dtype=np.float64).astype(np.float32)).to(device)
    columns: dict[str, list[Tensor]] = {}
    for start in range(0, len(tokens.residuals), sae.rows):
        progress(1.0, f"Encoding tokens: {start:,} of {len(tokens.residuals):,}.")
        x = torch.from_numpy(tokens.residuals[start : start + sae.rows].copy()).to(device)
        value, index = sae.fire(x)
        columns_of_chunk = {
            "value": value[:, :MOST_KEPT],
            "index": index[:, :MOST_KEPT].masked_fill(value[:, :MOST_KEPT] == 0, 0).int(),
            "fired": (value > 0).sum(1),
            "error": (x - sae.rebuild(value, index)).square().sum(1),
            "spread": (x - mean).square().sum(1),
        }
        for name, values in columns_of_chunk.items():
            columns.setdefault(name, []).append(values.cpu())
    return {name: torch.cat(tensors).numpy() for name, tensors in columns.items()}


def losses(autoencoder: Autoencoder, loaded: LoadedModel, prompts: Prompts, layer: int, progress: Progress) -> Losses:
    """Return the cross entropy of the model with its own residuals, with the layer's mean, and with reconstructions.

    The mean is over the tokens that are not left out. Raises UndefinedError for a model that predicts no tokens, and
    what `activations` raises.
    """
    if not loaded.components.family.predicts:
        raise UndefinedError(
            f"{loaded.model.config.name_or_path} predicts no tokens, so loss recovered is undefined; use a causal "
            f"language model."
        )
    sae = load(autoencoder, loaded)
    mean, longest = _mean_and_bound(loaded, prompts, layer, part(progress, 0, 4))
    sums = np.zeros((len(prompts.token_ids), 3), np.float32)

    def read(batch: Prompts) -> np.ndarray:
        return _losses(loaded, sae, batch, layer, mean, longest)

    batches = in_batches(
        read, loaded, prompts, lambda done, sentence: progress(0.25 + 0.75 * done, sentence), "Replacing residuals"
    )
    for batch, result in batches:
        sums[batch] = result
    hand_over(loaded, sums)
    predicted = prompts.lengths - 1
    predicted.setflags(write=False)
    return Losses(predicted, *(_column(sums, i) for i in range(3)))


def _mean_and_bound(
    loaded: LoadedModel, prompts: Prompts, layer: int, progress: Progress
) -> tuple[Float32[Tensor, " width"], float]:
    """Return the mean over the tokens that are not left out, and the norm above which a token is left out."""
    order = pieces(range(len(prompts.token_ids)), prompts, loaded.model.config.hidden_size)
    total, count, bounds = np.zeros(loaded.model.config.hidden_size), 0, []
    for number, chosen in enumerate(order):
        report = part(progress, number, len(order))
        tokens = read_tokens(loaded, some(prompts, chosen), layer, report, "Reading the mean residual")
        total += tokens.residuals[~tokens.left_out].sum(axis=0, dtype=np.float64)
        count += int((~tokens.left_out).sum())
        bounds.append(OUTLIER * float(np.median(tokens.norm[tokens.position > 0])))
    return torch.from_numpy((total / count).astype(np.float32)).to(loaded.device), float(np.median(bounds))


@torch.inference_mode()
def _losses(
    loaded: LoadedModel,
    sae: DeviceAutoencoder,
    batch: Prompts,
    layer: int,
    mean: Float32[Tensor, " width"],
    longest: float,
) -> Float32[np.ndarray, "batch 3"]:
    """Return each prompt's summed cross entropy: clean, ablated, reconstructed. Tensors become arrays here."""
    ids, last, inputs = pad(batch.token_ids, "last", loaded, batch.token_types)
    real = torch.arange(ids.shape[1], device=last.device) <= last[:, None]

    def exchange(x: Float[Tensor, "batch tokens width"], into: Replacement) -> Float[Tensor, "batch tokens width"]:
        flat = x.float()
        counts = real.to(x.device) & (flat.norm(dim=-1) <= longest)
        counts[:, 0] = False
        return x.masked_scatter(counts[..., None], into(flat[counts].to(mean.device)).to(x))

    losses = []
    for into in (None, mean.expand_as, sae.pass_through):
        with replacing(loaded.components, layer, (lambda x: x) if into is None else partial(exchange, into=into)):
            hidden = run_body(loaded, ids, inputs)
        losses.append(_cross_entropy(loaded, hidden, ids, real))
    return torch.stack(losses, dim=1).numpy()


def _cross_entropy(
    loaded: LoadedModel,
    hidden: Float[Tensor, "batch tokens width"],
    ids: Int64[Tensor, "batch tokens"],
    real: Bool[Tensor, "..."],
) -> Float32[Tensor, " batch"]:
    """Return -log-probability of the next token, summed over each row's tokens except the last."""
    rows = hidden.to(real.device)[:, :-1][real[:, 1:]]
    following = ids[:, 1:][real[:, 1:]]
    row = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)[:, 1:][real[:, 1:]]
    sums = torch.zeros(len(ids), dtype=torch.float64)
    step = max(1, CHUNK_VALUES // loaded.model.config.vocab_size)
    for start in range(0, len(rows), step):
        at = slice(start, start + step)
        logits = loaded.logits(rows[at]).float()
        lost = cross_entropy(logits, following[at].to(logits.device), reduction="none")
        sums.index_add_(0, row[at].cpu(), lost.double().cpu())
    return sums.float()


def part(progress: Progress, number: int, count: int) -> Progress:
    """Return progress for the `number`-th of `count` equal parts."""
    return lambda fraction, sentence: progress((number + fraction) / count, sentence)


def _column(array: np.ndarray, i: int) -> np.ndarray:
    column = np.ascontiguousarray(array[:, i])
    column.setflags(write=False)
    return column
