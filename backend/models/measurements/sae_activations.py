"""A sparse autoencoder on a model's residuals: what fires at every token, and what its reconstruction costs."""

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
from backend.models.measurements.layer_residuals import OUTLIER, Tokens, passing, pieces, read_tokens, run_body, some
from backend.models.measurements.logit_lens import CHUNK_VALUES
from backend.models.runtime.batching import in_batches
from backend.models.runtime.forward import hand_over, pad
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

Replacement = Callable[[Float32[Tensor, "tokens width"]], Float32[Tensor, "tokens width"]]
MOST_KEPT = 128
"""Features kept at one token of an autoencoder without TopK, the largest; all of them count in every number."""


@dataclass(frozen=True, eq=False)
class DeviceAutoencoder:
    """An autoencoder on a device."""

    encoder: Float32[Tensor, "width features"]
    encoder_bias: Float32[Tensor, " features"]
    decoder: Float32[Tensor, "features width"]
    decoder_bias: Float32[Tensor, " width"]
    threshold: Float32[Tensor, " features"]
    k: int

    def fire(self, x: Float32[Tensor, "tokens width"]) -> tuple[Float32[Tensor, "tokens k"], Int64[Tensor, "tokens k"]]:
        """Values and features of what fires, largest first; 0 where fewer do."""
        before = torch.addmm(self.encoder_bias, x - self.decoder_bias, self.encoder)
        before.masked_fill_(before <= self.threshold.clamp(min=0), 0)
        return before.topk(min(self.k, before.shape[1]), dim=1)

    def rebuild(
        self, value: Float32[Tensor, "tokens k"], index: Int64[Tensor, "tokens k"]
    ) -> Float32[Tensor, "tokens width"]:
        """The residuals that these features stand for."""
        if self.k < len(self.decoder) and value.device.type != "mps":
            return embedding_bag(index, self.decoder, per_sample_weights=value, mode="sum") + self.decoder_bias
        every = torch.zeros(len(value), len(self.decoder), device=value.device).scatter_(1, index, value)
        return torch.addmm(self.decoder_bias, every, self.decoder)

    def pass_through(self, x: Float32[Tensor, "tokens width"]) -> Float32[Tensor, "tokens width"]:
        """Every residual's reconstruction, some at a time."""
        return torch.cat([self.rebuild(*self.fire(rows)) for rows in x.split(self.rows)]) if len(x) else x

    @property
    def rows(self) -> int:
        """Tokens at a time."""
        return max(1, CHUNK_VALUES // len(self.decoder))


def load(autoencoder: Autoencoder, loaded: LoadedModel) -> DeviceAutoencoder:
    """The autoencoder on the model's device, in float32. AutoencoderError if it reads residuals of another width."""
    width = loaded.model.config.hidden_size
    if autoencoder.width != width:
        raise AutoencoderError(
            f"The autoencoder reads residuals of width {autoencoder.width}, and those of "
            f"{loaded.model.config.name_or_path} are {width} wide; choose one trained on this model."
        )
    names = ("encoder", "encoder_bias", "decoder", "decoder_bias", "threshold")
    arrays = {name: torch.from_numpy(np.array(getattr(autoencoder, name))).to(loaded.device) for name in names}
    return DeviceAutoencoder(k=autoencoder.k, **arrays)


def activations(
    autoencoder: Autoencoder, loaded: LoadedModel, prompts: Prompts, layer: int, progress: Progress
) -> FeatureActivations:
    """What fires at every token of every prompt.

    Prompts are read in pieces of at most a GiB of residuals; the median that outliers are told by, and the mean that
    spreads are taken from, are each piece's own. Raises AutoencoderError for another width or layer, DeviceError,
    CheckpointError.
    """
    sae = load(autoencoder, loaded)
    order = pieces(range(len(prompts.token_ids)), prompts, autoencoder.width)
    found: dict[str, list[np.ndarray]] = {}
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
            found.setdefault(name, []).append(values)
    arrays = {name: np.concatenate(values) for name, values in found.items()}
    counts = ~arrays["left_out"]
    l0 = float(arrays.pop("fired")[counts].mean())
    hand_over(loaded, *arrays.values())
    error, spread = (float(arrays[name][counts].sum(dtype=np.float64)) for name in ("error", "spread"))
    return FeatureActivations(explained_variance=1 - error / spread if spread else float("nan"), l0=l0, **arrays)


@torch.inference_mode()
def _fire(sae: DeviceAutoencoder, tokens: Tokens, device: torch.device, progress: Progress) -> dict[str, np.ndarray]:
    """What fires at each token of a piece, and how far its reconstruction is off."""
    counted = tokens.residuals[~tokens.left_out]
    mean = torch.from_numpy(counted.mean(axis=0, dtype=np.float64).astype(np.float32)).to(device)
    columns: dict[str, list[Tensor]] = {}
    for start in range(0, len(tokens.residuals), sae.rows):
        progress(1.0, f"Encoding tokens: {start:,} of {len(tokens.residuals):,}.")
        x = torch.from_numpy(tokens.residuals[start : start + sae.rows].copy()).to(device)
        value, index = sae.fire(x)
        parts = {
            "value": value[:, :MOST_KEPT],
            "index": index[:, :MOST_KEPT].masked_fill(value[:, :MOST_KEPT] == 0, 0).int(),
            "fired": (value > 0).sum(1),
            "error": (x - sae.rebuild(value, index)).square().sum(1),
            "spread": (x - mean).square().sum(1),
        }
        for name, part_of_it in parts.items():
            columns.setdefault(name, []).append(part_of_it.cpu())
    return {name: torch.cat(values).numpy() for name, values in columns.items()}


def losses(autoencoder: Autoencoder, loaded: LoadedModel, prompts: Prompts, layer: int, progress: Progress) -> Losses:
    """Cross entropy as the model is, with the layer's mean in place of its residuals, and with their reconstruction.

    The mean is over the tokens that count. Raises UndefinedError where no tokens are predicted, and what
    `activations` raises.
    """
    if not loaded.components.family.predicts:
        raise UndefinedError(
            f"{loaded.model.config.name_or_path} predicts no tokens, so no loss can be recovered; use a causal "
            f"language model."
        )
    sae = load(autoencoder, loaded)
    mean, longest = _mean_and_bound(loaded, prompts, layer, part(progress, 0, 4))
    sums = np.zeros((len(prompts.token_ids), 3), np.float32)

    def read(batch: Prompts) -> np.ndarray:
        return _losses(loaded, sae, batch, layer, mean, longest)

    rest = in_batches(
        read, loaded, prompts, lambda done, said: progress(0.25 + 0.75 * done, said), "Replacing residuals"
    )
    for batch, found in rest:
        sums[batch] = found
    hand_over(loaded, sums)
    predicted = prompts.lengths - 1
    predicted.setflags(write=False)
    return Losses(predicted, *(_column(sums, i) for i in range(3)))


def _mean_and_bound(
    loaded: LoadedModel, prompts: Prompts, layer: int, progress: Progress
) -> tuple[Float32[Tensor, " width"], float]:
    """The mean of the tokens that count, and the length above which a residual does not."""
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
    """Summed cross entropy of each prompt: clean, ablated, reconstructed; here tensors become arrays on the CPU."""
    ids, last, inputs = pad(batch.token_ids, "last", loaded)
    real = torch.arange(ids.shape[1], device=last.device) <= last[:, None]

    def exchange(x: Float[Tensor, "batch tokens width"], into: Replacement) -> Float[Tensor, "batch tokens width"]:
        flat = x.float()
        counts = real.to(x.device) & (flat.norm(dim=-1) <= longest)
        counts[:, 0] = False
        return x.masked_scatter(counts[..., None], into(flat[counts].to(mean.device)).to(x))

    found = []
    for into in (None, mean.expand_as, sae.pass_through):
        with passing(loaded.components, layer, (lambda x: x) if into is None else partial(exchange, into=into)):
            hidden = run_body(loaded, ids, inputs)
        found.append(_cross_entropy(loaded, hidden, ids, real))
    return torch.stack(found, dim=1).numpy()


def _cross_entropy(
    loaded: LoadedModel,
    hidden: Float[Tensor, "batch tokens width"],
    ids: Int64[Tensor, "batch tokens"],
    real: Bool[Tensor, "..."],
) -> Float32[Tensor, " batch"]:
    """-log-probability of the token that came next, summed over each row's real positions but the last."""
    rows = hidden.to(real.device)[:, :-1][real[:, 1:]]
    following = ids[:, 1:][real[:, 1:]]
    row = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)[:, 1:][real[:, 1:]]
    sums = torch.zeros(len(ids), dtype=torch.float64)
    step = max(1, CHUNK_VALUES // loaded.model.config.vocab_size)
    for start in range(0, len(rows), step):
        at = slice(start, start + step)
        logits = loaded.components.unembed(rows[at]).float()
        lost = cross_entropy(logits, following[at].to(logits.device), reduction="none")
        sums.index_add_(0, row[at].cpu(), lost.double().cpu())
    return sums.float()


def part(progress: Progress, number: int, count: int) -> Progress:
    """Progress of the `number`-th of `count` equal parts."""
    return lambda fraction, sentence: progress((number + fraction) / count, sentence)


def _column(array: np.ndarray, i: int) -> np.ndarray:
    column = np.ascontiguousarray(array[:, i])
    column.setflags(write=False)
    return column
