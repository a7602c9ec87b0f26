"""Read and write sparse autoencoders in SAELens' format: cfg.json and sae_weights.safetensors. No torch here.

https://github.com/decoderesearch/SAELens, `sae_lens/saes/sae.py`; files are read as SAELens 6 reads them, including
older ones.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save_file

from backend.errors import AutoencoderError
from backend.lab.autoencoders import About
from backend.lab.outputs import Autoencoder

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
VERSION = "6.54.12"
"""The version of SAELens whose format is written."""

_OLDER_NAMES = {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}
_HOOK = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")
_ACTIVATIONS = {"topk": "topk", "jumprelu": "jumprelu", "standard": "relu"}
_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
_SAME_LENGTH = 1e-2
"""Relative tolerance; bfloat16 rounds by up to half a percent."""


def write(autoencoder: Autoencoder, folder: Path, about: About) -> None:
    """Write both files in float32, and create the folder if needed. Raises AutoencoderError if that fails."""
    config: dict[str, Any] = {
        "d_in": autoencoder.width,
        "d_sae": autoencoder.features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": VERSION,
            "sae_lens_training_version": None,
            "model_name": about.model,
            "hook_name": hook_name(autoencoder.layer, about.blocks),
            "hook_head_index": None,
            "context_size": about.context,
            "prepend_bos": False,
            "dataset_path": about.dataset,
        },
    }
    tensors = {
        "W_enc": autoencoder.encoder,
        "b_enc": autoencoder.encoder_bias,
        "W_dec": autoencoder.decoder,
        "b_dec": autoencoder.decoder_bias,
    }
    if autoencoder.k < autoencoder.features:
        config |= {"architecture": "topk", "k": autoencoder.k, "rescale_acts_by_decoder_norm": False}
    elif autoencoder.threshold.any():
        config |= {"architecture": "jumprelu"}
        tensors["threshold"] = autoencoder.threshold
    else:
        config |= {"architecture": "standard"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, folder / WEIGHTS)
    except OSError as error:
        raise AutoencoderError(f"{folder} cannot be written ({error.strerror or error}); choose another.") from None


def read(folder: Path) -> Autoencoder:
    """Read a TopK, ReLU or JumpReLU autoencoder of the residual stream, and scale its decoder rows to length 1.

    The scale, and a decoder bias that is not subtracted from the input, move into the other weights, so reconstructions
    stay the same. Raises AutoencoderError for damaged files and unsupported kinds.
    """
    config, weights = _config(folder), _weights(folder)
    activation = _activation(config, folder)
    layer = layer_of(str(config.get("hook_name")), folder)
    names = ["W_enc", "b_enc", "W_dec", "b_dec", *(["threshold"] if activation == "jumprelu" else [])]
    missing = [name for name in names if name not in weights]
    if missing:
        raise AutoencoderError(f"{folder / WEIGHTS} lacks {', '.join(missing)}; save the autoencoder again.")
    encoder, bias, decoder, decoder_bias = (weights[name] for name in names[:4])
    features, width = decoder.shape if decoder.ndim == 2 else (0, 0)
    threshold = weights["threshold"] if activation == "jumprelu" else np.zeros(features, np.float32)
    shapes = [array.shape for array in (encoder, bias, decoder_bias, threshold)]
    if shapes != [(width, features), (features,), (width,), (features,)] or not features:
        raise AutoencoderError(f"The shapes in {folder / WEIGHTS} do not fit together; save the autoencoder again.")
    if not config.get("apply_b_dec_to_input", True):
        bias = bias + decoder_bias @ encoder
    length = np.linalg.norm(decoder, axis=1)
    scaled = bool(config.get("rescale_acts_by_decoder_norm"))
    if activation == "topk" and not scaled and np.ptp(length) > _SAME_LENGTH * length.max():
        raise AutoencoderError(
            f"{folder} ranks features without the norms of its decoder rows, which differ; train it with "
            f"rescale_acts_by_decoder_norm."
        )
    k = int(config.get("k", 0)) if activation == "topk" else features
    if not 0 < k <= features:
        raise AutoencoderError(
            f"{folder / CONFIG} has k = {k} for {features} features; set k to a number from 1 to {features}."
        )
    safe = np.where(length > 0, length, 1)
    return _read_only(
        Autoencoder(
            layer=layer,
            k=k,
            encoder=encoder * safe,
            encoder_bias=bias * safe,
            decoder=decoder / safe[:, None],
            decoder_bias=decoder_bias,
            threshold=threshold * safe,
        )
    )


def hook_name(layer: int, blocks: int) -> str:
    """Return SAELens' name of a layer's residual stream; after the last block it contains that block's number."""
    return f"blocks.{layer}.hook_resid_pre" if layer < blocks else f"blocks.{blocks - 1}.hook_resid_post"


def layer_of(hook: str, folder: Path) -> int:
    """Return the layer of a hook's name. Raises AutoencoderError for a hook outside the residual stream."""
    match = _HOOK.fullmatch(hook)
    if match is None:
        raise AutoencoderError(
            f"{folder} reads {hook}; choose an autoencoder of the residual stream (blocks.N.hook_resid_pre or _post)."
        )
    return int(match[1]) + (match[2] == "post")


def _config(folder: Path) -> dict[str, Any]:
    """Read cfg.json, with its metadata in the same dict and the keys of older versions renamed to the current ones."""
    file = folder / CONFIG
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise AutoencoderError(f"{folder} holds no {CONFIG}; choose the folder of one SAELens autoencoder.") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise AutoencoderError(f"{file} is not a JSON object; save the autoencoder again.")
    metadata = content.get("metadata")
    named = {_OLDER_NAMES.get(str(key), str(key)): value for key, value in content.items()}
    return (metadata if isinstance(metadata, dict) else {}) | named


def _activation(config: dict[str, Any], folder: Path) -> str:
    """Return topk, relu or jumprelu. Raises AutoencoderError for unsupported architectures and normalizations."""
    architecture = str(config.get("architecture", "standard"))
    activation = _ACTIVATIONS.get(architecture)
    if architecture == "standard" and str(config.get("activation_fn", "relu")).startswith("topk"):
        config["k"] = (config.get("activation_fn_kwargs") or {}).get("k", 0)
        activation = "topk"
    if activation is None:
        raise AutoencoderError(
            f'{folder} has the architecture "{architecture}"; choose an autoencoder of one of '
            f"{', '.join(_ACTIVATIONS)}."
        )
    normalized = config.get("normalize_activations") or "none"
    if normalized != "none" or config.get("finetuning_scaling_factor"):
        raise AutoencoderError(
            f'{folder} normalizes its input ("{normalized}") by numbers that are not in its weights; fold them in with '
            f"SAELens and save it again."
        )
    return activation


def _weights(folder: Path) -> dict[str, Float32[np.ndarray, "..."]]:
    """Read every tensor, in float32."""
    file = folder / WEIGHTS
    try:
        views = deserialize(file.read_bytes())
    except OSError:
        raise AutoencoderError(f"{folder} holds no {WEIGHTS}; copy it there, beside {CONFIG}.") from None
    except SafetensorError as error:
        raise AutoencoderError(f"{file} is damaged ({error}); copy it again.") from None
    return {name: _array(view) for name, view in views}


def _array(view: dict[str, Any]) -> Float32[np.ndarray, "..."]:
    """Convert one tensor; bfloat16 is the upper half of a float32. Integers are not needed and become empty arrays."""
    data, kind = bytes(view["data"]), view["dtype"]
    if kind == "BF16":
        halves = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
        return halves.view(np.float32).reshape(view["shape"])
    if kind not in _DTYPES:
        return np.zeros(0, np.float32)
    return np.frombuffer(data, _DTYPES[kind]).reshape(view["shape"]).astype(np.float32)


def _read_only(autoencoder: Autoencoder) -> Autoencoder:
    for value in vars(autoencoder).values():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
    return autoencoder
