"""What a safetensors header tells, and how a damaged file is told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from backend.errors import CheckpointError
from backend.models.files.safetensors_headers import Entry, read_header


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "model.safetensors"
    save_file({"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float16)}, place, {"format": "pt"})
    return place


def test_names_dtypes_and_shapes(file: Path):
    assert set(read_header(file)) == {Entry("a", "F32", (2, 3)), Entry("b", "F16", (4,))}
    assert sum(entry.size for entry in read_header(file)) == 10


def test_every_truncation_is_noticed(file: Path):
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="is truncated, damaged or no safetensors file"):
            read_header(file)
    file.write_bytes(whole + b"0")
    with pytest.raises(CheckpointError, match="not fully covered"):
        read_header(file)


def test_other_files_are_named(file: Path):
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(CheckpointError, match="Git LFS pointer"):
        read_header(file)
    for text in (b"[1, 2]", b'{"a": {}}', b'{"a": 3}', b"not JSON", b'{"a": {"data_offsets": [0]}}'):
        file.write_bytes(len(text).to_bytes(8, "little") + text)
        with pytest.raises(CheckpointError, match="no safetensors file"):
            read_header(file)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_header(file.parent / "absent.safetensors")
