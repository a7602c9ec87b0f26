"""The zip of an autoencoder: unpacked, it is the same one again."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np

from backend.analyses import features
from backend.derived.feature_activations import find, open_folder
from backend.reports.autoencoder_files import zipped
from tests.fakes import FakeModels, fake_lab, fake_study


def test_what_is_unpacked_is_the_same_autoencoder(tmp_path: Path):
    models = FakeModels(layers=4, width=16)
    study, lab = fake_study(models=models), fake_lab(tmp_path, models)
    (query,) = features.queries(study)
    with zipfile.ZipFile(io.BytesIO(zipped(study, query.source, lab))) as archive:
        assert archive.namelist() == ["cfg.json", "sae_weights.safetensors"]
        archive.extractall(tmp_path / "sae")
    before, after = (find(source, lab) for source in (query.source, open_folder(str(tmp_path / "sae"))))
    assert (after.layer, after.k) == (before.layer, before.k)
    np.testing.assert_allclose(after.decoder, before.decoder, rtol=1e-6)
    np.testing.assert_allclose(after.encoder, before.encoder, rtol=1e-5)
    config = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert config["metadata"]["context_size"] == study.study.prompt.max_tokens
