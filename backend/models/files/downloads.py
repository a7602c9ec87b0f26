"""Download a checkpoint's files from the hub, and list what a repository holds. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from backend.errors import CheckpointError
from backend.models.files.misplaced import STEP, is_pickled
from backend.study import hub
from backend.study.config import CheckpointRef

WANTED = ("model*.safetensors", "adapter_model*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md")
"""Patterns of the files of a checkpoint."""
_SHOWN = 4


def names_of(ref: CheckpointRef, commit: str | None) -> tuple[str, ...]:
    """Return the files of a commit below the checkpoint's folder, by name; none without a network."""
    prefix = f"{ref.subfolder}/" if ref.subfolder else ""
    try:
        every = _every_name(str(ref.repo), commit or ref.revision)
    except hub.failures():
        return ()
    return tuple(sorted(name.removeprefix(prefix) for name in every if name.startswith(prefix)))


@lru_cache(maxsize=64)
def _every_name(repo: str, revision: str | None) -> tuple[str, ...]:
    from huggingface_hub import snapshot_download

    return tuple(one.filename for one in snapshot_download(repo, revision=revision, dry_run=True))


def pickled(names: Sequence[str]) -> str | None:
    """Return the first file of pickled weights, or None."""
    return next((name for name in names if is_pickled(name)), None)


def inner_folders(names: Sequence[str]) -> tuple[str, ...]:
    """Return the folders among a repository's files that hold a whole model or an adapter in safetensors."""
    held: dict[str, set[str]] = {}
    for path in map(PurePosixPath, names):
        held.setdefault(str(path.parent), set()).add(path.name)

    def holds(files: set[str]) -> bool:
        adapter = {"adapter_config.json", "adapter_model.safetensors"} <= files
        return adapter or (
            "config.json" in files and any(PurePosixPath(one).match("model*.safetensors") for one in files)
        )

    return tuple(sorted(folder for folder, files in held.items() if folder != "." and holds(files)))


def named_adapter(names: Sequence[str]) -> str | None:
    """Return the folder of the only checkpoint in a repository if it is an adapter in a folder of its own name."""
    inner = inner_folders(names)
    if len(inner) != 1 or "/" in inner[0] or STEP.fullmatch(inner[0]):
        return None
    return inner[0] if f"{inner[0]}/adapter_config.json" in names else None


def in_folders(ref: CheckpointRef, inner: Sequence[str]) -> CheckpointError:
    """Return the error for a repository whose checkpoints are in folders."""
    prefix = f"{ref.subfolder}/" if ref.subfolder else ""
    names = ", ".join(prefix + one for one in inner[:_SHOWN]) + (", ..." if len(inner) > _SHOWN else "")
    choice = "to that folder" if len(inner) == 1 else "to one of these folders"
    return CheckpointError(
        f"{ref.place} holds no weights itself, but {names} in it {'does' if len(inner) == 1 else 'do'}; set subfolder "
        f"in study.toml {choice}."
    )


def snapshot(ref: CheckpointRef, more: Sequence[str]) -> Path:
    """The repository's snapshot with a checkpoint's files, and `more` of them."""
    prefix = f"{ref.subfolder}/" if ref.subfolder else ""
    deeper = [f"{prefix}*/*"]  # patterns match across folders, and other epochs may lie beside this one
    allowed = [prefix + pattern for pattern in (*WANTED, *more)]
    return downloaded(ref, {"allow_patterns": allowed, "ignore_patterns": deeper})


def downloaded(ref: CheckpointRef, patterns: dict[str, Any]) -> Path:
    """The snapshot with the files of these patterns: the one on this machine if it is complete, without a network."""
    from huggingface_hub import snapshot_download  # slow to import, and only for the hub
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    repo = str(ref.repo)

    def fetch(local: bool) -> Path:
        return Path(snapshot_download(repo, revision=ref.revision, local_files_only=local, **patterns))

    try:
        return fetch(local=True)
    except HFValidationError:
        raise CheckpointError(f'"{repo}" is not the name of a hub repository; correct repo in study.toml.') from None
    except hub.failures():  # not on this machine, or not all of it
        pass
    if hub.hangs():
        raise CheckpointError(
            f"{ref.place} is not on this machine and the hub does not answer within {hub.SECONDS:.0f} s; try again "
            f"later, or download the checkpoint and name its folder with path."
        )
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
    except hub.failures():
        raise CheckpointError(
            f"{ref.place} is not on this machine and the hub cannot be reached; check the network, or download the "
            f"checkpoint and name its folder with path."
        ) from None
