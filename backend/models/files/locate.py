"""Find a checkpoint's files, in a local directory or the snapshot of a hub repository. No torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from backend.errors import CheckpointError
from backend.models.files import downloads
from backend.models.files.misplaced import STEP, check_links, no_weights, not_a_folder, only_pickled
from backend.models.files.safetensors_headers import Entry, read_header
from backend.study.config import CheckpointRef

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
"""Lists the end-of-text tokens where generated text ends."""
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
CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
VOCABULARIES = tuple(name for name in TOKENIZER_FILES if name not in _SETTINGS)
"""The tokenizer's files without those that hold settings only."""
_NAMED = "transformers_weights"


@dataclass(frozen=True)
class Located:
    """A checkpoint's files. `weights` are the safetensors files that will be opened, `commit` is the hub's.

    `outer` is the folder around an adapter in a folder of its own name, or on the hub around one in a sub-folder.
    """

    folder: Path
    weights: tuple[Path, ...]
    adapter: bool
    commit: str | None = None
    outer: Path | None = None

    @property
    def tokenizing(self) -> Located:
        """The same, at the folder of the tokenizer: that of the checkpoint, or the outer one where it has none."""
        if self.outer is None or self.present(VOCABULARIES):
            return self
        return replace(self, folder=self.outer, outer=None)

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
        check_links(folder)
        return _located(folder, None)
    folder, commit = _fetched(ref, ())
    for _ in range(2):  # the file that the config names, then those that this one lists
        if not (missing := [name for name in _named_files(folder) if not (folder / name).is_file()]):
            break
        folder, commit = _fetched(ref, missing)
    try:
        if not folder.is_dir():
            raise _nothing_there(ref)
        found = _located(folder, commit)
    except CheckpointError as error:
        return _elsewhere(ref, folder, commit, error)
    if found.folder != folder:
        _check_only(ref, found)
    return replace(found, outer=_tokenizer_above(ref, found)) if ref.subfolder and found.adapter else found


def _elsewhere(ref: CheckpointRef, folder: Path, commit: str, error: CheckpointError) -> Located:
    """Return an adapter in a folder of its own name on the hub, else raise the `error`, or one that says more."""
    if any(folder.glob("*.safetensors")):
        raise error
    names = downloads.names_of(ref, commit)
    if (inner := downloads.named_adapter(names)) is not None:
        downloads.downloaded(ref, {"allow_patterns": [f"{_prefix(ref)}{inner}/{one}" for one in downloads.WANTED]})
        return _located(folder, commit)
    if places := downloads.inner_folders(names):
        raise downloads.in_folders(ref, places) from None
    if pickled := downloads.pickled(names):
        raise only_pickled(ref.place, str(ref.repo), folder, pickled) from None
    raise error


def _check_only(ref: CheckpointRef, found: Located) -> None:
    """Raise CheckpointError if the repository has more checkpoints than the one that lies in a folder here.

    Another entry of a study may have downloaded that one. Without a network nothing is known about the others.
    """
    names = downloads.names_of(ref, found.commit)
    if names and downloads.named_adapter(names) != found.folder.name:
        raise downloads.in_folders(ref, downloads.inner_folders(names))


def _nothing_there(ref: CheckpointRef) -> CheckpointError:
    """Return the error for a repository without files of a checkpoint in the folder."""
    if ref.subfolder:
        return CheckpointError(f"{ref.place} has no folder {ref.subfolder}; correct subfolder in study.toml.")
    return CheckpointError(f"{ref.place} holds no weights (model.safetensors); name a repository that does.")


def _prefix(ref: CheckpointRef) -> str:
    return f"{ref.subfolder}/" if ref.subfolder else ""


def _fetched(ref: CheckpointRef, more: Sequence[str]) -> tuple[Path, str]:
    """The folder of a checkpoint on the hub, on this machine, and its commit; it may lack the folder."""
    snapshot = downloads.snapshot(ref, more)
    return (snapshot / ref.subfolder if ref.subfolder else snapshot), snapshot.name


def _tokenizer_above(ref: CheckpointRef, found: Located) -> Path | None:
    """Return the nearest folder of the repository, above an adapter without a tokenizer, that has one; or `outer`."""
    if found.present(VOCABULARIES) or found.outer is not None:
        return found.outer
    above = [str(part) for part in PurePosixPath(str(ref.subfolder)).parents]
    prefixes = ["" if part == "." else f"{part}/" for part in above]
    names = [prefix + name for prefix in prefixes for name in (*TOKENIZER_FILES, *CHAT_TEMPLATES, CONFIG)]
    snapshot = downloads.downloaded(ref, {"allow_patterns": names})
    folders = [snapshot / prefix for prefix in prefixes]
    return next((one for one in folders if any((one / name).is_file() for name in VOCABULARIES)), None)


def _located(folder: Path, commit: str | None) -> Located:
    inner = _named_adapter(folder)
    if inner is not None:
        return Located(inner, _weights(inner, "adapter_model"), True, commit, folder)
    if (folder / ADAPTER_CONFIG).is_file():
        outer = folder.parent if commit is None and folder in _adapters(folder.parent) else None
        return Located(folder, _weights(folder, "adapter_model"), True, commit, outer)
    weights = _named_weights(folder) or _weights(folder, "model")
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            f"{folder} has weights but no {CONFIG}; copy the one of its base, or save the model with save_pretrained."
        )
    return Located(folder, weights, False, commit)


def _named_adapter(folder: Path) -> Path | None:
    """Return the folder of the only adapter inside, which PEFT names after an adapter that is not called "default"."""
    inner = _adapters(folder)
    if len(inner) > 1:
        raise CheckpointError(
            f"{folder} holds {len(inner)} adapters ({', '.join(path.name for path in inner)}); name the folder of one."
        )
    return inner[0] if inner else None


def _adapters(folder: Path) -> list[Path]:
    """The folders of the adapters inside a folder without weights of its own."""
    if (folder / ADAPTER_CONFIG).is_file() or next(folder.glob("*.safetensors"), None):
        return []
    return sorted(file.parent for file in folder.glob(f"*/{ADAPTER_CONFIG}") if not STEP.fullmatch(file.parent.name))


def _named(folder: Path) -> Any:
    """What config.json names as the weights, which transformers then opens in place of the usual file."""
    file = folder / CONFIG
    return read_json(file).get(_NAMED) if file.is_file() else None


def _named_files(folder: Path) -> tuple[str, ...]:
    """The file that config.json names, and the files that it lists."""
    named = _named(folder)
    if not isinstance(named, str):
        return ()
    listed = read_json(folder / named).get("weight_map") if (folder / named).is_file() and _lists(named) else None
    return (named, *sorted(map(str, listed.values()))) if isinstance(listed, dict) else (named,)


def _lists(name: str) -> bool:
    return name.endswith(".safetensors.index.json")


def _named_weights(folder: Path) -> tuple[Path, ...]:
    """The weights that config.json names, none where it names none. Raises CheckpointError."""
    named = _named(folder)
    if named is None:
        return ()
    how = f"which {CONFIG} names as the weights ({_NAMED})"
    if not isinstance(named, str) or Path(named).name != named or not (_lists(named) or named.endswith(".safetensors")):
        raise CheckpointError(
            f"{folder} cannot be read from {named}, {how}, for that is no safetensors file in the folder; take the key "
            f"out, or save the model again with save_pretrained."
        )
    if not (folder / named).is_file():
        raise CheckpointError(f"{folder} lacks {named}, {how}; copy that file there, or take the key out.")
    return _shards(folder / named) if _lists(named) else (folder / named,)


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
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read as JSON ({error}); save or copy the checkpoint again.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} is not a JSON object; save or copy the checkpoint again.")
    return value
