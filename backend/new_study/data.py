"""Find and read the data of a new study: an upload, a local file, a saved dataset, or a dataset on the hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pandas as pd

from backend.errors import DatasetError
from backend.study.config import DatasetSpec
from backend.study.dataset import read_table, source_stamp
from backend.study.paths import is_hub, source, stored_name
from backend.study.tables import arrow_datasets
from backend.study.tables.arrow_datasets import USUAL_SPLIT
from backend.study.tables.data_files import read_file


@dataclass(frozen=True)
class Data:
    """The data as the user named it: a path, a name on the hub, or the `content` of an uploaded file.

    `split` and `config` name a part of a dataset (None: the usual or only one).
    """

    name: str
    split: str | None = None
    config: str | None = None
    content: bytes | None = field(default=None, repr=False)

    @property
    def on_hub(self) -> bool:
        """Return whether the name is, or may be, one on the hub."""
        return self.content is None and bool(self.name.strip()) and is_hub(self.name, data=True)

    def keys(self, folder: Path) -> dict[str, str]:
        """Return the keys of [dataset] in study.toml. Raises DatasetError where a split must be named."""
        split = self._split()
        return {
            **self._place(folder),
            **({"config": self.config} if self.config else {}),
            **({} if split is None else {"split": split}),
        }

    def columns(self, fetch: bool = True) -> list[str]:
        """Return the columns, none of hub data without `fetch`. DatasetError if it cannot be read."""
        if not fetch and "repo" in self._place(Path("/")):
            return []
        return [str(column) for column in self.table().columns]

    def table(self) -> pd.DataFrame:
        """Return all rows. Raises DatasetError if they cannot be read."""
        place = self._place(Path("/"))
        path = str(Path("/") / place["path"]) if "path" in place else None
        if path and self.config:
            raise DatasetError(f"{self.name} is no dataset on the hub, so it has no configurations; name none.")
        return _read(path, place.get("repo"), self._split(), self.config, self.content, source_stamp(path))

    def splits(self) -> tuple[str, ...]:
        """Return the splits of a saved dataset on this machine, none of all other data. Raises DatasetError."""
        path = source(self.name, Path("/"), data=True).get("path")
        return () if path is None else arrow_datasets.splits(Path("/") / path)

    def _place(self, folder: Path) -> dict[str, str]:
        if self.content is not None:
            return {"path": stored_name(self.name)}
        return source(self.name, folder, data=True)

    def _split(self) -> str | None:
        """Return the split that is read, None where the data has none. DatasetError where one must be named."""
        place = self._place(Path("/"))
        if "repo" in place:
            return self.split or USUAL_SPLIT
        return None if self.content else arrow_datasets.choose_split(Path("/") / place["path"], self.split)


@lru_cache(maxsize=2)  # a form asks for its data whenever one of its fields changes
def _read(
    path: str | None, repo: str | None, split: str | None, config: str | None, content: bytes | None, _stamp: object
) -> pd.DataFrame:
    if path is not None and content is not None:
        return read_file(Path(path), content)
    return read_table(DatasetSpec(repo=repo, path=path, config=config, split=split or USUAL_SPLIT))
