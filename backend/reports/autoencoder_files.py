"""Pack a trained autoencoder for download: SAELens' two files in a zip."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

from backend.derived.feature_activations import Source, find
from backend.lab.autoencoders import About
from backend.lab.lab import Lab
from backend.study.pinned import PinnedStudy


def zipped(study: PinnedStudy, source: Source, lab: Lab) -> bytes:
    """Return a zip of cfg.json and sae_weights.safetensors, which SAELens loads from the unpacked folder."""
    data = study.study.dataset
    about = About(
        model=study.study.base.place,
        blocks=study.base.facts.layers,
        context=study.study.prompt.max_tokens,
        dataset=data.repo or data.path or "",
    )
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(stream, "w") as archive:
        lab.autoencoders.write(find(source, lab), Path(folder), about)
        for file in sorted(Path(folder).iterdir()):
            archive.write(file, file.name)
    return stream.getvalue()
