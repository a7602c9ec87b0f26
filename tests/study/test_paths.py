"""Typed names: paths, names on the hub, patterns of folders, names of uploaded files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import DatasetError, LayershiftError, StudyError
from backend.study.paths import confine, directories, is_hub, new_folder, source, stored_name


def test_a_path_inside_the_study_is_relative_and_any_other_absolute(tmp_path: Path) -> None:
    (tmp_path / "study" / "base").mkdir(parents=True)
    (tmp_path / "else").mkdir()
    assert source(str(tmp_path / "study" / "base"), tmp_path / "study") == {"path": "base"}
    assert source(str(tmp_path / "else"), tmp_path / "study") == {"path": str(tmp_path / "else")}


@pytest.mark.parametrize(
    ("name", "data", "hub"),
    [
        ("org/model", False, True),
        ("gpt2", False, True),
        ("./x", False, False),
        ("/x", False, False),
        ("reviews.csv", True, False),
        ("org/reviews", True, True),
    ],
)
def test_what_can_only_be_a_name_on_the_hub(name: str, data: bool, hub: bool) -> None:
    assert is_hub(name, data) is hub
    if hub:
        assert source(name, Path("/study"), data) == {"repo": name}


@pytest.mark.parametrize(("data", "kind"), [(False, StudyError), (True, DatasetError)])
@pytest.mark.parametrize("name", ["", "  ", "./nowhere", "~nobody-there/x", "a\0b"])
def test_no_path_at_all_is_one_sentence(name: str, data: bool, kind: type[LayershiftError]) -> None:
    with pytest.raises(kind, match=r"correct|give a path"):
        source(name, Path("/study"), data)


def test_folders_are_ordered_by_their_numbers(tmp_path: Path) -> None:
    for name in ("checkpoint-900", "checkpoint-1000", "checkpoint-80", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-7").write_text("a file")
    places = directories((str(tmp_path / "checkpoint-*"), str(tmp_path / "checkpoint-80")))
    assert [place.name for place in places] == ["checkpoint-80", "checkpoint-900", "checkpoint-1000"]


@pytest.mark.parametrize(
    ("given", "ordered"),
    [
        (["checkpoint-1000", "checkpoint-500"], ["checkpoint-500", "checkpoint-1000"]),
        (["sft", "dpo"], ["sft", "dpo"]),
        (["step-500", "epoch-1"], ["step-500", "epoch-1"]),
        (["checkpoint-1000", "checkpoint-500", "final"], ["checkpoint-500", "checkpoint-1000", "final"]),
        (["step-9/model", "step-10/model"], ["step-9/model", "step-10/model"]),
        (["epoch-2/step-5", "epoch-1/step-7"], ["epoch-1/step-7", "epoch-2/step-5"]),
    ],
)
def test_folders_that_are_listed(tmp_path: Path, given: list[str], ordered: list[str]) -> None:
    for name in given:
        (tmp_path / name).mkdir(parents=True)
    places = directories(tuple(str(tmp_path / name) for name in given))
    assert [str(place.relative_to(tmp_path)) for place in places] == ordered


@pytest.mark.parametrize("patterns", [(), ("",), ("nowhere-*",), ("***",), ("~nobody-there/*",)])
def test_a_pattern_that_matches_nothing_is_one_sentence(patterns: tuple[str, ...]) -> None:
    with pytest.raises(StudyError, match=r"No directory matches|is not a valid p"):
        directories(patterns)


@pytest.mark.parametrize(
    ("upload", "stored"),
    [
        ("reviews.csv", "reviews.csv"),
        ("../../etc/passwd.csv", "passwd.csv"),
        ("C:\\films\\my films.JSONL", "my-films.jsonl"),
        ("films.CSV.GZ", "films.csv.gz"),
        ("films.tsv", "films.tsv"),
        ("....csv", "data.csv"),
        ("/abs/olute.parquet", "olute.parquet"),
        ("x" * 300 + ".csv", "x" * 60 + ".csv"),
    ],
)
def test_an_upload_is_stored_under_a_plain_name(upload: str, stored: str) -> None:
    assert stored_name(upload) == stored


@given(st.text(max_size=60))
def test_no_upload_leaves_its_folder(name: str) -> None:
    place = (Path("/studies/mine") / stored_name(f"{name}.csv")).resolve()
    assert place.parent == Path("/studies/mine")
    assert place.name != "study.toml"


@pytest.mark.parametrize("upload", ["study.toml", "x.sh", "", "..", "csv"])
def test_an_upload_of_another_kind_is_refused(upload: str) -> None:
    with pytest.raises(DatasetError, match=r"use \.parquet, \.csv, \.tsv, \.json, \.jsonl, \.ndjson"):
        stored_name(upload)


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "é", "a/b"])
def test_a_study_has_a_plain_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="is not a valid study name"):
        new_folder(name, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "/etc",
        "/etc/*",
        "~",
        "~/*",
        "../outside",
        "{open}/../outside",
        "{open}/link",
        "{open}/link/*",
        "{open}/*",
        "{open}/*/../../outside",
        "{open}/**/../../../etc/*",
        "a/../../../../../../../../etc/passwd",
    ],
)
def test_a_typed_path_stays_in_the_open_folders(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = tmp_path / "open"
    (opened / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (opened / "link").symlink_to(tmp_path / "outside")
    monkeypatch.chdir(opened)
    with pytest.raises(StudyError, match=r"outside the folders that this server opens .* LAYERSHIFT_PATHS"):
        confine(name.format(open=opened), [opened])


@pytest.mark.parametrize("name", ["{open}/sub", "{open}/su*", "sub", "openai-community/gpt2", "gpt2", "{open}"])
def test_a_path_inside_and_a_name_on_the_hub_are_open(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = tmp_path / "open"
    (opened / "sub").mkdir(parents=True)
    monkeypatch.chdir(opened)
    assert confine(name.format(open=opened), [opened]) == name.format(open=opened)


@given(st.lists(st.sampled_from(["..", ".", "sub", "link", "*", "x", "~", "[a]"]), min_size=1, max_size=6))
def test_what_is_let_through_is_inside(parts: list[str]) -> None:
    with TemporaryDirectory() as folder:
        opened = Path(folder).resolve() / "open"
        (opened / "sub").mkdir(parents=True)
        (opened / "sub" / "link").symlink_to("/etc")
        name = f"{opened}/{'/'.join(parts)}"
        with suppress(StudyError):
            confine(name, [opened])
            places = [*Path("/").glob(name[1:]), Path(name)]
            assert all(place.resolve().is_relative_to(opened) for place in places)
