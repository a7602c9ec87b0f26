"""The command line on odd inputs: `check` finds what `export` would refuse, and both say it in the same sentence."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend import wiring
from backend.__main__ import main
from tests.models.misplaced_folders import MISPLACED
from tests.models.odd_adapters import DAMAGE
from tests.models.odd_folders import BROKEN
from tests.models.random_adapters import TARGETS, trained
from tests.models.random_models import random_model, save
from tests.odd_studies import DATA, PARTLY, REFUSED
from tests.study.tables.files import READ, ROWS
from tests.study.tables.files import REFUSED as REFUSED_FILES
from tests.tiny import rewrite, tiny_study

FOLDERS = MISPLACED | BROKEN


@dataclass(frozen=True)
class Said:
    """The exit code of a command, and its lines; progress bars are left out."""

    code: int
    out: list[str]
    err: list[str]


@dataclass(frozen=True)
class Shelf:
    """Sound studies of each family, which rows copy and spoil; what is remembered of their models is shared."""

    folder: Path

    def study(self, family: str, place: Path) -> Path:
        """A copy of the sound study of a family."""
        clean = self.folder / family
        if not clean.exists():
            if family == "adapter":
                self._adapter(clean)
            else:
                tiny_study(clean, (1, 2), family)
        return Path(shutil.copytree(clean, place))

    @staticmethod
    def _adapter(folder: Path) -> None:
        """A study of a Llama and two copies of one LoRA on it."""
        tiny_study(folder)
        shutil.rmtree(folder / "base")
        save(random_model("llama"), folder / "base")
        trained(folder / "base", folder / "checkpoints" / "epoch-1", target_modules=TARGETS["llama"])
        shutil.copytree(folder / "checkpoints" / "epoch-1", folder / "checkpoints" / "epoch-2")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("shelf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERSHIFT_CACHE", str(folder / "cache"))
        wiring.open_lab.cache_clear()
        yield Shelf(folder)
        wiring.open_lab.cache_clear()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Said:
    code = main(arguments)
    found = capsys.readouterr()
    err = [line for line in re.split("[\r\n]", found.err) if line.strip() and "%|" not in re.sub(r"\s", "", line)]
    return Said(code, found.out.splitlines(), err)


def refused(capsys: pytest.CaptureFixture[str], study: Path, says: str) -> None:
    """Both commands end with code 2 and the same line, and nothing is written."""
    out = study.parent / "out"
    check, export = run(capsys, "check", str(study)), run(capsys, "export", str(study), "--out", str(out))
    assert (check.code, export.code) == (2, 2)
    assert len(check.err) == 1
    assert check.err == export.err
    assert says in check.err[0]
    assert check.err[0].endswith(".")
    assert check.out == []
    assert not out.exists()


def partly(capsys: pytest.CaptureFixture[str], study: Path, labels: tuple[str, ...], says: str) -> None:
    """`check` ends with 2 and says why of these checkpoints, `export` leaves them out with the same sentences."""
    out = study.parent / "out"
    check = run(capsys, "check", str(study))
    export = run(capsys, "export", str(study), "--out", str(out), "--only", "direction")
    assert (check.code, export.code) == (2, 0)
    left = [line.removeprefix("left out ").partition(": ") for line in export.err if line.startswith("left out ")]
    assert tuple(label for label, _, _ in left) == labels
    for label, _, reason in left:
        assert f"  {label:<12} {reason}" in check.out
        assert says in reason or re.search(says, reason)
        assert reason.endswith(".")
    assert len(check.err) == 1
    assert check.err[0].startswith(f"{len(labels)} of 2 checkpoints cannot be used (reasons above)")
    table = (out / "direction.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in table[1:]} == {"base", "epoch 1", "epoch 2"} - set(labels)


@pytest.mark.parametrize("case", REFUSED)
def test_a_study_that_contradicts_itself(
    case: str, shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = shelf.study(REFUSED[case].family, tmp_path / "odd")
    REFUSED[case].change(study)
    refused(capsys, study, REFUSED[case].says)


@pytest.mark.parametrize("case", PARTLY)
def test_a_checkpoint_that_contradicts_the_study(
    case: str, shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = shelf.study(PARTLY[case].family, tmp_path / "odd")
    PARTLY[case].change(study)
    partly(capsys, study, PARTLY[case].labels, PARTLY[case].says)


@pytest.mark.parametrize("case", REFUSED_FILES)
def test_data_that_would_be_a_guess(
    case: str, shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = shelf.study("gpt2", tmp_path / "odd")
    name, content, says = REFUSED_FILES[case]
    (study / name).write_bytes(content.encode() if isinstance(content, str) else content)
    rewrite(study, DATA, f'path = "{name}"\nsample')
    refused(capsys, study, says)


@pytest.mark.parametrize("case", READ)
def test_data_of_one_reading(case: str, shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = shelf.study("gpt2", tmp_path / "odd")
    name, content = READ[case]
    (study / name).write_bytes(content.encode() if isinstance(content, str) else content)
    rewrite(study, f"{DATA} = 20", f'path = "{name}"\nsample = 2')
    assert run(capsys, "check", str(study)).code == 0
    assert run(capsys, "export", str(study), "--out", str(tmp_path / "out"), "--only", "accuracy").code == 0
    lines = map(json.loads, (tmp_path / "out" / "sample.jsonl").read_text().splitlines())
    assert [(line["text"], line["label"]) for line in lines] == ROWS


@pytest.mark.parametrize("case", FOLDERS)
def test_a_broken_checkpoint(case: str, shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = shelf.study(FOLDERS[case].family, tmp_path / "odd")
    FOLDERS[case].change(study / "checkpoints" / "epoch-2")
    partly(capsys, study, ("epoch 2",), FOLDERS[case].says)


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_adapter(case: str, shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = shelf.study("adapter", tmp_path / "odd")
    change, says = DAMAGE[case]
    change(study / "checkpoints" / "epoch-2")
    partly(capsys, study, ("epoch 2",), says)
