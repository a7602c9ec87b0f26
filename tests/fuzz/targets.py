"""What is fuzzed: study files, data files, configs, headers of weights, typed names; only own errors may be raised."""

from __future__ import annotations

import gzip
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import HealthCheck
from hypothesis import strategies as st

from backend.errors import LayershiftError, StudyError
from backend.models.files.facts import padding, read_facts, steady_positions
from backend.models.files.locate import locate, tensors
from backend.models.files.safetensors_headers import read_header
from backend.study.config import DatasetSpec, load_study, parse_study
from backend.study.dataset import classify
from backend.study.paths import confine, directories, new_folder, source, stored_name
from backend.study.tables.data_files import read_file
from tests.fuzz.mutations import broken_bytes, broken_tree
from tests.tiny import STUDY, tiny_model

ROOT = Path(__file__).parents[2]
PATIENT = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
"""Checks of hypothesis that broken files do not pass."""
ROWS = [("A fine film, and funny.", 0), ('Dull "script", bad score.', 1), ("Line\nend", 0), ("Ünïcode 😀", 1)] * 3


@dataclass(frozen=True)
class Target:
    """Cases, and what is done with each."""

    cases: st.SearchStrategy[Any]
    run: Callable[[Any], object]


def tried(target: Target, case: Any) -> str:
    """Run a case; return "read", or the name of the project's own error, which must be one clear sentence."""
    try:
        target.run(case)
    except LayershiftError as error:
        said = str(error)
        assert said.strip() and said.rstrip().endswith((".", ")", "`")), said
        assert "Traceback" not in said
        return type(error).__name__
    return "read"


def targets(folder: Path) -> dict[str, Target]:
    """Every target by name; files are written into `folder`."""
    return {
        "study files": _studies(folder / "study"),
        "data files": _data(),
        "configs": _configs(folder / "config"),
        "headers": _headers(folder / "headers"),
        "typed names": _names(folder / "names"),
    }


def _studies(folder: Path) -> Target:
    folder.mkdir()
    shipped = [file.read_bytes() for file in sorted((ROOT / "studies").glob("*/study.toml"))]
    whole = [STUDY.encode(), *shipped]
    trees = [tomllib.loads(text.decode()) for text in whole]
    for name in ("checkpoints/epoch-1", "checkpoints/epoch-2", "base"):
        (folder / name).mkdir(parents=True)

    def run(case: Any) -> object:
        if isinstance(case, dict):
            return parse_study(case, folder)
        (folder / "study.toml").write_bytes(case)
        return load_study(folder)

    return Target(broken_bytes(whole) | st.sampled_from(trees).flatmap(broken_tree).filter(_is_table), run)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _data() -> Target:
    table = pd.DataFrame(ROWS, columns=["text", "label"])
    lines = "\n".join(json.dumps({"text": text, "label": label}) for text, label in ROWS)
    files = {
        ".csv": table.to_csv(index=False).encode(),
        ".tsv": table.to_csv(index=False, sep="\t").encode(),
        ".jsonl": lines.encode(),
        ".json": json.dumps(table.to_dict(orient="records")).encode(),
        ".parquet": table.to_parquet(),
        ".csv.gz": gzip.compress(table.to_csv(index=False).encode()),
    }
    spec = DatasetSpec(path="/x", text="text", label="label")

    def run(case: tuple[str, bytes]) -> object:
        found = read_file(Path(f"reviews{case[0]}"), case[1])
        rows, classes = classify(found, spec, ["negative", "positive"])
        assert len(rows.text) == len(rows.label) and len(classes) == 2
        assert all(isinstance(text, str) and text.strip() for text in rows.text)
        return rows

    def of(ending: str) -> st.SearchStrategy[tuple[str, bytes]]:
        return st.tuples(st.sampled_from([ending, ending, ending, *files]), broken_bytes([files[ending]]))

    return Target(st.sampled_from(sorted(files)).flatmap(of), run)


def _configs(folder: Path) -> Target:
    folder.mkdir()
    models = {}
    for family in ("gpt2", "llama", "bert"):
        tiny_model(folder / family, 1, family)
        models[family] = json.loads((folder / family / "config.json").read_text())

    def run(case: tuple[str, Any]) -> object:
        family, content = case
        raw = content if isinstance(content, bytes) else json.dumps(content).encode("utf-8", "surrogatepass")
        (folder / family / "config.json").write_bytes(raw)
        from tests.models.random_models import ref

        located = locate(ref(folder / family))
        return read_facts(located, family), padding(located), steady_positions(located), tensors(located)

    def of(family: str) -> st.SearchStrategy[tuple[str, Any]]:
        whole = json.dumps(models[family]).encode()
        return st.tuples(st.just(family), broken_tree(models[family]) | broken_bytes([whole]))

    return Target(st.sampled_from(sorted(models)).flatmap(of), run)


def _headers(folder: Path) -> Target:
    folder.mkdir()
    tiny_model(folder / "gpt2", 1)
    whole = (folder / "gpt2" / "model.safetensors").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    tensors = sorted((entry["data_offsets"], name) for name, entry in header.items() if name != "__metadata__")[:4]
    few = {name: header[name] for _, name in tensors}
    data = whole[8 + length :][: tensors[-1][0][1]]  # a file must end with its last tensor
    file = folder / "broken.safetensors"

    def run(case: Any) -> object:
        if isinstance(case, bytes):
            file.write_bytes(case)
        else:
            text = json.dumps(case).encode("utf-8", "surrogatepass")
            file.write_bytes(len(text).to_bytes(8, "little") + text + data)
        return read_header(file)

    return Target(broken_tree(few) | broken_bytes([whole[: 8 + length + 64]]), run)


def _names(folder: Path) -> Target:
    (folder / "open").mkdir(parents=True)
    pieces = st.sampled_from(
        ["..", ".", "/", "~", "*", "**", "[", "]", "?", "open", "x", "\x00", "é", "\ud800", " ", "a" * 300]
    )
    text = st.lists(pieces | st.text(max_size=5), max_size=8).map("/".join) | st.text(max_size=40)

    def run(case: str) -> object:
        refused = 0
        for one in (
            lambda: new_folder(case, folder),
            lambda: stored_name(f"{case}.csv"),
            lambda: confine(case, [folder / "open"]),
            lambda: source(case, folder),
            lambda: source(case, folder, data=True),
            lambda: directories((f"{folder}/open/{case}",)),
        ):
            try:
                one()
            except LayershiftError:
                refused += 1
        if refused == 6:
            raise StudyError("Every use of this name is refused.")
        return None

    return Target(text, run)
