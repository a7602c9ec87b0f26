"""An autoencoder put to use: files by their content, sizes that fit, tokens that are promoted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.derived.feature_activations import ActiveQuery, active, find, fits, open_folder, promoted, training_of
from backend.errors import AutoencoderError
from backend.lab.autoencoders import AutoencoderQuery, AutoencoderSpec
from backend.lab.outputs import Autoencoder
from tests.fakes import FakeModels, fake_lab, fake_study


def written(folder: Path, content: bytes = b"stands in") -> Path:
    folder.mkdir()
    for name in ("cfg.json", "sae_weights.safetensors"):
        (folder / name).write_bytes(content)
    return folder


def test_a_folder_is_known_by_what_is_in_it(tmp_path: Path):
    one, same, other = (written(tmp_path / name, text) for name, text in (("a", b"x"), ("b", b"x"), ("c", b"y")))
    assert open_folder(f" {one} ").digest == open_folder(str(same)).digest != open_folder(str(other)).digest
    assert ActiveQuery.__annotations__  # the folder itself is no part of a key
    assert open_folder(str(one)) == open_folder(str(same))


def test_a_folder_without_an_autoencoder_is_told(tmp_path: Path):
    with pytest.raises(AutoencoderError, match=r"cfg\.json"):
        open_folder(str(tmp_path / "nowhere"))
    (tmp_path / "cfg.json").write_text("{}")
    with pytest.raises(AutoencoderError, match=r"sae_weights\.safetensors"):
        open_folder(str(tmp_path))


def test_sizes_that_do_not_fit_are_told():
    (checkpoint,) = fake_study(models=FakeModels(layers=2, width=4), epochs=0).checkpoints
    zeros = np.zeros(3, np.float32)
    for layer, width, said in ((0, 5, "width 5"), (3, 4, "layer 3")):
        other = Autoencoder(
            layer,
            1,
            np.zeros((width, 3), np.float32),
            zeros,
            np.zeros((3, width), np.float32),
            np.zeros(width, np.float32),
            zeros,
        )
        with pytest.raises(AutoencoderError, match=said):
            fits(other, checkpoint)


def test_what_is_trained_is_kept_and_tells_how_it_went(tmp_path: Path):
    models = FakeModels(layers=2, width=16)
    study, lab = fake_study(models=models, epochs=1), fake_lab(tmp_path, models)
    source = AutoencoderQuery(study.checkpoints, study.prompts, AutoencoderSpec(1, 32, 8))
    query = ActiveQuery(source, study.base, study.prompts)
    found = active(query, lab)
    assert active(query, lab) is found or np.array_equal(active(query, lab).value, found.value)
    assert len(lab.autoencoders.trained) == 1  # type: ignore[attr-defined]
    trained = training_of(find(source, lab))
    assert trained is not None and len(trained.step) == len(trained.loss)


def test_promoted_tokens_do_not_depend_on_the_rows_length(tmp_path: Path):
    models = FakeModels(layers=2, width=16)
    study, lab = fake_study(models=models, epochs=1), fake_lab(tmp_path, models)
    rows = np.random.default_rng(0).normal(size=(5, 16))
    first = promoted(rows, study.base, 6, lab)
    assert first.shape == (5, 6)
    assert np.array_equal(first, promoted(9 * rows, study.base, 6, lab))
    assert not np.array_equal(first, promoted(rows, study.checkpoints[1], 6, lab))
