"""SAELens' format: what is written and read again, files made elsewhere, and what cannot be used in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from backend.errors import AutoencoderError
from backend.lab.autoencoders import About, decode, encode
from backend.lab.outputs import Autoencoder
from backend.lab.saelens import CONFIG, WEIGHTS, read, write

WIDTH, FEATURES = 6, 20
ABOUT = About("gpt2", 12, 256, "imdb")


def random_autoencoder(k: int = 4, threshold: float = 0.0, layer: int = 5) -> Autoencoder:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(FEATURES, WIDTH)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    bias = generator.normal(size=FEATURES).astype(np.float32)
    thresholds = np.full(FEATURES, threshold, np.float32)
    encoder = (rows.T + 0.1 * generator.normal(size=rows.T.shape)).astype(np.float32)
    return Autoencoder(layer, k, encoder, bias, rows, rows[0] * 2, thresholds)


def tokens(count: int = 50) -> np.ndarray:
    return (3 * np.random.default_rng(1).normal(size=(count, WIDTH))).astype(np.float32)


def foreign(folder: Path, weights: dict[str, np.ndarray], **config: Any) -> Path:
    """Files as another tool would have written them."""
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(json.dumps({"hook_name": "blocks.2.hook_resid_pre", **config}))
    save_file({name: np.ascontiguousarray(array) for name, array in weights.items()}, folder / WEIGHTS)
    return folder


def random_weights(rows_of_length: float | None = None) -> dict[str, np.ndarray]:
    """Weights with rows of one length or, without it, of lengths between 1 and 3."""
    one = random_autoencoder()
    length = np.linspace(1, 3, FEATURES) if rows_of_length is None else np.full(FEATURES, rows_of_length)
    return {
        "W_enc": one.encoder,
        "b_enc": one.encoder_bias,
        "W_dec": (one.decoder * length[:, None]).astype(np.float32),
        "b_dec": one.decoder_bias,
    }


@pytest.mark.parametrize(("k", "threshold"), [(4, 0.0), (FEATURES, 0.0), (FEATURES, 0.5)])
def test_what_is_written_is_read_again(tmp_path: Path, k: int, threshold: float):
    one = random_autoencoder(k, threshold)
    write(one, tmp_path / "new" / "folder", ABOUT)
    found = read(tmp_path / "new" / "folder")
    assert (found.layer, found.k) == (5, k)
    for name in ("encoder", "encoder_bias", "decoder", "decoder_bias", "threshold"):
        np.testing.assert_allclose(getattr(found, name), getattr(one, name), rtol=1e-6)
        assert not getattr(found, name).flags.writeable


def test_the_keys_are_those_that_saelens_documents(tmp_path: Path):
    write(random_autoencoder(), tmp_path, ABOUT)
    config = json.loads((tmp_path / CONFIG).read_text())
    assert (
        config.items()
        >= {
            "architecture": "topk",
            "k": 4,
            "d_in": WIDTH,
            "d_sae": FEATURES,
            "dtype": "float32",
            "apply_b_dec_to_input": True,
            "normalize_activations": "none",
            "reshape_activations": "none",
            "rescale_acts_by_decoder_norm": False,
        }.items()
    )
    assert (
        config["metadata"].items()
        >= {
            "model_name": "gpt2",
            "hook_name": "blocks.5.hook_resid_pre",
            "context_size": 256,
            "dataset_path": "imdb",
        }.items()
    )
    weights = load_file(tmp_path / WEIGHTS)
    shapes = {name: array.shape for name, array in weights.items()}
    assert shapes == {"W_enc": (WIDTH, FEATURES), "b_enc": (FEATURES,), "W_dec": (FEATURES, WIDTH), "b_dec": (WIDTH,)}


def test_the_layer_after_the_last_block_is_named_for_that_block(tmp_path: Path):
    write(random_autoencoder(layer=12), tmp_path, ABOUT)
    assert json.loads((tmp_path / CONFIG).read_text())["metadata"]["hook_name"] == "blocks.11.hook_resid_post"
    assert read(tmp_path).layer == 12


@pytest.mark.parametrize("architecture", ["standard", "jumprelu"])
@pytest.mark.parametrize("subtracts", [True, False])
def test_files_of_others_give_their_own_reconstructions(tmp_path: Path, architecture: str, subtracts: bool):
    weights = random_weights()
    if architecture == "jumprelu":
        weights["threshold"] = np.linspace(0, 2, FEATURES).astype(np.float32)
    x = tokens()
    before = (x - weights["b_dec"] * subtracts) @ weights["W_enc"] + weights["b_enc"]
    theirs = np.maximum(before, 0) * (before > weights.get("threshold", 0))
    config = {"architecture": architecture, "apply_b_dec_to_input": subtracts}
    one = read(foreign(tmp_path / "sae", weights, **config))
    np.testing.assert_allclose(np.linalg.norm(one.decoder, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(encode(one, x) > 0, theirs > 0)
    np.testing.assert_allclose(
        decode(one, encode(one, x)), theirs @ weights["W_dec"] + weights["b_dec"], rtol=1e-4, atol=1e-4
    )


def test_a_topk_file_ranks_features_as_it_was_trained_to(tmp_path: Path):
    weights, x = random_weights(), tokens()
    length = np.linalg.norm(weights["W_dec"], axis=1)
    before = ((x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]) * length
    kept = before >= np.sort(before, axis=1)[:, -3:-2]
    theirs = np.where(kept, np.maximum(before, 0), 0) / length
    config = {"architecture": "topk", "k": 3}
    one = read(foreign(tmp_path / "sae", weights, rescale_acts_by_decoder_norm=True, **config))
    np.testing.assert_allclose(
        decode(one, encode(one, x)), theirs @ weights["W_dec"] + weights["b_dec"], rtol=1e-4, atol=1e-4
    )
    with pytest.raises(AutoencoderError, match="ranks features without the norms"):
        read(foreign(tmp_path / "sae", weights, **config))
    assert read(foreign(tmp_path / "sae", random_weights(2.0), **config)).k == 3


def test_files_of_older_versions_and_of_half_precision_open(tmp_path: Path):
    weights = random_weights(1.0)
    older = {"hook_point": "blocks.3.hook_resid_post", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 7}}
    folder = foreign(tmp_path / "sae", {name: array.astype(np.float16) for name, array in weights.items()}, **older)
    (folder / CONFIG).write_text(json.dumps(older))
    found = read(folder)
    assert (found.layer, found.k) == (4, 7)
    np.testing.assert_allclose(found.encoder, weights["W_enc"], rtol=1e-3, atol=1e-3)
    raw = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in weights.items()}
    save_file(raw, folder / WEIGHTS)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes().replace(b'"dtype":"U16"', b'"dtype":"BF16"'))
    rewrite_header_length(folder / WEIGHTS)
    np.testing.assert_allclose(read(folder).encoder, weights["W_enc"], rtol=1e-2, atol=1e-2)


def rewrite_header_length(file: Path) -> None:
    """The header may have grown: say so, and keep it a whole number of eight bytes."""
    data = file.read_bytes()
    end = data.index(b"}}") + 2
    while data[end : end + 1] == b" ":
        end += 1
    header, rest = data[8:end], data[end:]
    header += b" " * (-len(header) % 8)
    file.write_bytes(len(header).to_bytes(8, "little") + header + rest)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"architecture": "gated"}, 'architecture "gated"; choose an autoencoder of one of topk, jumprelu, standard'),
        ({"normalize_activations": "layer_norm"}, "normalizes its input"),
        ({"hook_name": "blocks.2.hook_mlp_out"}, "reads blocks.2.hook_mlp_out; choose an autoencoder of the residual"),
        ({"architecture": "topk"}, "has k = 0 for 20 features"),
        ({"architecture": "jumprelu"}, "lacks threshold"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(tmp_path: Path, config: dict[str, Any], sentence: str):
    with pytest.raises(AutoencoderError, match=sentence):
        read(foreign(tmp_path / "sae", random_weights(1.0), **config))


def test_files_that_are_missing_or_damaged_are_said_in_a_sentence(tmp_path: Path):
    with pytest.raises(AutoencoderError, match=r"holds no cfg\.json"):
        read(tmp_path)
    folder = foreign(tmp_path / "sae", random_weights(1.0))
    (folder / CONFIG).write_text("[]")
    with pytest.raises(AutoencoderError, match="is not a JSON object"):
        read(folder)
    foreign(folder, random_weights(1.0) | {"b_dec": np.zeros(3, np.float32)})
    with pytest.raises(AutoencoderError, match="do not fit together"):
        read(folder)
    (folder / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(AutoencoderError, match="is damaged"):
        read(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(AutoencoderError, match=r"holds no sae_weights\.safetensors"):
        read(folder)
    (tmp_path / "file").touch()
    with pytest.raises(AutoencoderError, match="cannot be written"):
        write(random_autoencoder(), tmp_path / "file" / "below", ABOUT)
