"""Read datasets of the `datasets` library, from the hub or from save_to_disk, with their class names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from backend.errors import DatasetError
from backend.study import hub

CLASS_NAMES = "class_names"
"""Key of the class names in the `attrs` of a table: {column: names}; the column holds indices into the names."""
_DICTIONARY, _STATE = "dataset_dict.json", "state.json"
_SHOWN = 8
USUAL_SPLIT = "test"
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_LIST = re.compile(r"\[([^\]]*)\]")


def read_hub(repo: str, split: str, config: str | None = None) -> pd.DataFrame:
    """Load a split of a hub repository. Raises DatasetError if it cannot be loaded."""
    if not _NAME.fullmatch(repo):
        raise DatasetError(f'"{repo}" is no name of a hub dataset; write it as OWNER/NAME, or name a file with path.')
    if hub.hangs():
        raise DatasetError(
            f"The hub dataset {repo} (split {split}) cannot be loaded, as the hub does not answer within "
            f"{hub.SECONDS:.0f} s; try again later, or name a local file with path."
        )
    from datasets import load_dataset  # slow to import, and only for the hub

    try:
        return _table(load_dataset(repo, config, split=split))
    except (ValueError, RuntimeError, *hub.failures()) as error:
        raise DatasetError(_hub_error(str(error) or type(error).__name__, repo, split, config)) from None


def _hub_error(reason: str, repo: str, split: str, config: str | None) -> str:
    """Say what to change where the hub has the repository, but not this part of it."""
    listed = _LIST.search(reason)
    there = ", ".join(re.findall(r"'([^']+)'", listed[1])) if listed else ""
    if there and reason.startswith("Config name is missing"):
        return f"{repo} has several configurations; name one as config: {there}."
    if there and reason.startswith("BuilderConfig"):
        return f'{repo} has no configuration "{config}"; name one of these as config: {there}.'
    if there and reason.startswith("Unknown split"):
        return f'{repo} has no split "{split}"; name one of these as split: {there}.'
    if "gated dataset" in reason:
        return f"The dataset {repo} is gated on the hub; ask for access on its page, then run `hf auth login`."
    return (
        f"The hub dataset {repo} (split {split}) cannot be loaded ({reason.splitlines()[0].rstrip('.')}); check its "
        f"name and the network, or name a local file with path."
    )


def splits(folder: Path) -> tuple[str, ...]:
    """The names of the splits that a saved dataset has; none where it is a single table. Raises DatasetError."""
    file = folder / _DICTIONARY
    if not file.is_file():
        return ()
    try:
        return tuple(str(name) for name in json.loads(file.read_text("utf-8"))["splits"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DatasetError(f"{file} names no splits; save or copy the dataset again.") from None


def choose_split(folder: Path, named: str | None) -> str | None:
    """The split to read: the one named, else "test" or the only one; None where the dataset has none.

    Raises DatasetError where one of several must be named.
    """
    there = splits(folder)
    if not there or named is not None:
        return named if there else None
    if len(there) > 1 and USUAL_SPLIT not in there:
        raise DatasetError(f"{folder} holds the splits {', '.join(there)}; name one of them with --split.")
    return USUAL_SPLIT if USUAL_SPLIT in there else next(iter(there))


def read_saved(folder: Path, split: str) -> pd.DataFrame:
    """A folder that save_to_disk wrote; of several splits, the one asked for. Raises DatasetError."""
    there = splits(folder)
    if there and split not in there:
        raise DatasetError(f'{folder} has no split "{split}"; set split in study.toml to one of: {", ".join(there)}.')
    if there:
        folder = folder / split
    if not (folder / _STATE).is_file():
        raise DatasetError(f"{folder} is a folder without a dataset of save_to_disk; {_inside(folder)}.")
    from datasets import load_from_disk  # slow to import

    try:
        return _table(load_from_disk(str(folder)))
    except (ValueError, OSError, RuntimeError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{folder} cannot be loaded as a dataset ({reason}); save or copy it again.") from None


def _inside(folder: Path) -> str:
    files = sorted(file.relative_to(folder).as_posix() for file in folder.glob("**/*") if file.is_file())
    data = [name for name in files if not name.startswith(".") and "/." not in name]
    if not data:
        return "it is empty, so name a data file"
    return f"name one data file in it: {', '.join(data[:_SHOWN])}" + (", ..." if len(data) > _SHOWN else "")


def _table(dataset: Any) -> pd.DataFrame:
    from datasets import ClassLabel

    table: pd.DataFrame = dataset.to_pandas()
    features = {name: {"names": item.names} for name, item in dataset.features.items() if isinstance(item, ClassLabel)}
    return with_class_names(table, features)


def with_class_names(table: pd.DataFrame, features: Mapping[str, Any]) -> pd.DataFrame:
    """Add the names of ClassLabel columns to `attrs` of the table, except names that repeat their numbers."""
    class_names: dict[str, tuple[str, ...]] = {}
    for column, feature in features.items():
        names = feature.get("names") if isinstance(feature, Mapping) else None
        if names and column in table.columns and list(names) != [str(i) for i in range(len(names))]:
            class_names[column] = tuple(map(str, names))
    table.attrs[CLASS_NAMES] = class_names
    return table
