"""Find a checkpoint's files, in a local directory or the snapshot of a hub repository. No torch."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import CheckpointError
from backend.models.files.misplaced import no_weights, not_a_folder
from backend.models.files.safetensors_headers import Entry, read_header
from backend.study.config import CheckpointRef

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_STEP = re.compile(r"checkpoint-\d+")
_WANTED = ("model*.safetensors", "adapter_model*.safetensors", "*.json", "*.txt", "*.model", "README.md")


@dataclass(frozen=True)
class Located:
    """A checkpoint's files: `weights` are its safetensors files, `commit` is the hub's."""

    folder: Path
    weights: tuple[Path, ...]
    adapter: bool
    commit: str | None = None

    def present(self, names: tuple[str, ...]) -> tuple[Path, ...]:
        """Return the named files that exist."""
        return tuple(file for name in names if (file := self.folder / name).is_file())


def locate(ref: CheckpointRef) -> Located:
    """Find the checkpoint's files, and download from the hub those that are not on this machine yet.

    Raises CheckpointError for a missing directory or repository, missing shards, or a format other than safetensors.
    """
    if ref.path is not None:
        folder = Path(ref.path)
        if not folder.is_dir():
            raise not_a_folder(folder)
        return _located(folder, None)
    snapshot = _snapshot(ref)
    folder = snapshot / ref.subfolder if ref.subfolder else snapshot
    if not folder.is_dir():
        raise CheckpointError(f"{ref.place} has no folder {ref.subfolder}; correct subfolder in study.toml.")
    return _located(folder, snapshot.name)


def _located(folder: Path, commit: str | None) -> Located:
    folder = _named_adapter(folder) or folder
    if (folder / ADAPTER_CONFIG).is_file():
        return Located(folder, _weights(folder, "adapter_model"), True, commit)
    weights = _weights(folder, "model")
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            f"{folder} has weights but no {CONFIG}; copy the one of its base, or save the model with save_pretrained."
        )
    return Located(folder, weights, False, commit)


def _named_adapter(folder: Path) -> Path | None:
    """Return the subfolder of a single adapter; PEFT creates one for an adapter with a name other than "default"."""
    if (folder / ADAPTER_CONFIG).is_file() or next(folder.glob("*.safetensors"), None):
        return None
    inner = sorted(file.parent for file in folder.glob(f"*/{ADAPTER_CONFIG}") if not _STEP.fullmatch(file.parent.name))
    if len(inner) > 1:
        raise CheckpointError(
            f"{folder} holds {len(inner)} adapters ({', '.join(path.name for path in inner)}); name the folder of one."
        )
    return inner[0] if inner else None


def _weights(folder: Path, stem: str) -> tuple[Path, ...]:
    """Return the weight file, or the files in the index; the order of preference is transformers'."""
    single = folder / f"{stem}.safetensors"
    if single.is_file():
        return (single,)
    index = folder / f"{stem}.safetensors.index.json"
    if index.is_file():
        return _shards(index)
    raise no_weights(folder, single.name)


def _shards(index: Path) -> tuple[Path, ...]:
    """Return the shards, after checking that each exists and holds its tensors of the index."""
    placed = read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise CheckpointError(f"{index} lists no weights; save or copy the checkpoint again.")
    names = sorted({str(name) for name in placed.values()})
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{index.parent} lacks {len(missing)} of {len(names)} weight files (first: {missing[0]}); copy or "
            f"download the rest."
        )
    shards = tuple(index.parent / name for name in names)
    held = {(file.name, entry.name) for file in shards for entry in read_header(file)}
    lacking = [tensor for tensor, name in placed.items() if (name, tensor) not in held]
    if lacking:
        raise CheckpointError(
            f"{index} and its weight files come from different saves ({lacking[0]} is not where the index says); "
            f"save or copy the checkpoint again."
        )
    return shards


def tensors(located: Located) -> tuple[Entry, ...]:
    """Return every stored tensor, from the headers. Raises CheckpointError when a file is truncated."""
    return tuple(entry for file in located.weights for entry in read_header(file))


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object. Raises CheckpointError for other content."""
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"))  # some editors write a byte order mark
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read as JSON ({error}); save or copy the checkpoint again.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} is not a JSON object; save or copy the checkpoint again.")
    return value


def _snapshot(ref: CheckpointRef) -> Path:
    """Return the repository's snapshot; a complete one on this machine needs no network."""
    from huggingface_hub import snapshot_download  # slow to import, and only for the hub
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    repo = str(ref.repo)
    prefix = f"{ref.subfolder}/" if ref.subfolder else ""
    allowed = [prefix + pattern for pattern in _WANTED]
    deeper = [f"{prefix}*/*"]  # patterns also match inside subfolders, which may hold other epochs

    def fetch(local: bool) -> Path:
        options = {"allow_patterns": allowed, "ignore_patterns": deeper, "local_files_only": local}
        return Path(snapshot_download(repo, revision=ref.revision, **options))

    try:
        return fetch(local=True)
    except HFValidationError:
        raise CheckpointError(f'"{repo}" is not the name of a hub repository; correct repo in study.toml.') from None
    except OSError:  # not on this machine, or not all of it
        pass
    try:
        return fetch(local=False)
    except GatedRepoError:
        raise CheckpointError(
            f"{ref.place} is gated on the hub; ask for access on its page, then run `hf auth login`."
        ) from None
    except RepositoryNotFoundError:
        raise CheckpointError(
            f"The hub has no public repository {repo}; correct repo in study.toml, or if it is private run "
            f"`hf auth login`."
        ) from None
    except RevisionNotFoundError:
        raise CheckpointError(f"{repo} has no revision {ref.revision}; correct revision in study.toml.") from None
    except OSError:
        raise CheckpointError(
            f"{ref.place} is not on this machine and the hub cannot be reached; check the network, or download the "
            f"checkpoint and name its folder with path."
        ) from None
