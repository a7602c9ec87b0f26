"""The command line on a tiny study with real weights: output, files and error messages."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from backend import wiring
from backend.__main__ import main
from backend.reports import report as reporting
from backend.reports.sections import SECTIONS
from tests.models.odd_folders import BROKEN
from tests.models.random_adapters import trained
from tests.tiny import remove, rewrite, tiny_model


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command with a user error and return its message."""
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip()
    assert message and "\n" not in message and "Traceback" not in message
    return message


def test_studies_lists_what_can_and_cannot_be_opened(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = root / "studies" / "broken"
    broken.mkdir()
    (broken / "study.toml").write_text("title = 3")
    assert main(["studies"]) == 0
    printed = capsys.readouterr().out
    assert "Tiny (2 checkpoints)" in printed and "cannot be read" in printed


def test_check_shows_prompts_as_the_model_sees_them(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "tiny"]) == 0
    printed = capsys.readouterr().out
    assert "GPT2LMHeadModel, 2 blocks, width 16" in printed
    assert printed.count("Sentiment:'") == 3


def test_check_says_whether_a_merged_adapter_is_the_trained_one(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = root / "studies" / "tiny"
    remove(folder / "checkpoints" / "epoch-2")
    trained(folder / "base", folder / "checkpoints" / "epoch-2", target_modules=["c_attn"], fan_in_fan_out=True)
    assert main(["check", "tiny"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  merged")]
    assert "epoch 2 equals the unmerged adapter up to rounding" in line and "The adapter is active" in line


def test_check_of_a_study_by_path_with_a_missing_checkpoint(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = root / "studies" / "tiny"
    remove(folder / "checkpoints" / "epoch-2")
    assert main(["check", str(folder / "study.toml")]) == 2
    assert "python -m backend finetune" in capsys.readouterr().err


def test_checkpoints_by_pattern_while_training_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = root / "studies" / "tiny"
    for epoch, step in ((1, 40), (2, 100)):
        (folder / "checkpoints" / f"epoch-{epoch}").rename(folder / "checkpoints" / f"checkpoint-{step}")
    for epoch in (1, 2):
        rewrite(folder, f'[[checkpoints]]\nlabel = "epoch {epoch}"\npath = "checkpoints/epoch-{epoch}"\n', "")
    rewrite(folder, "[dataset]", '[[checkpoints]]\npath = "checkpoints/checkpoint-*"\n[dataset]')
    weights = folder / "checkpoints" / "checkpoint-100" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    assert main(["check", "tiny"]) == 0
    printed = capsys.readouterr().out
    assert "step 40" in printed and "step 100" not in printed
    assert f"warning      {weights.parent} is left out until its weights and config are complete" in printed
    export = ["export", "tiny", "--out", str(root / "out"), "--only", "trajectory"]
    assert main(export) == 0
    assert "is left out until its weights and config are complete" in capsys.readouterr().err
    assert {row["step"] for row in read(root / "out" / "trajectory.csv")} == {"0", "40"}
    weights.write_bytes(whole)
    assert main(export) == 0 and "left out" not in capsys.readouterr().err
    assert {row["step"] for row in read(root / "out" / "trajectory.csv")} == {"0", "40", "100"}


@pytest.mark.parametrize("case", ["a norm that is missing", "a head that is not tied", "a file that is too long"])
def test_good_checkpoints_work_beside_a_bad_one(root: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    BROKEN[case].change(root / "studies" / "tiny" / "checkpoints" / "epoch-2")
    assert main(["check", "tiny"]) == 2
    assert BROKEN[case].says in capsys.readouterr().out
    assert main(["export", "tiny", "--out", str(root / "out"), "--only", "accuracy"]) == 0
    assert f"left out epoch 2: {root}" in capsys.readouterr().err
    assert {row["checkpoint"] for row in read(root / "out" / "accuracy.csv")} == {"base", "epoch 1"}


def test_a_bad_base_ends_every_command(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = BROKEN["a norm that is missing"]
    case.change(root / "studies" / "tiny" / "base")
    for command in (["check", "tiny"], ["export", "tiny", "--out", str(root / "out")], ["report", "tiny"]):
        assert case.says in fails(capsys, *command)


def test_warm_leaves_everything_in_the_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["warm", "tiny", "--only", "accuracy"]) == 0

    def never(*_: object) -> None:
        raise RuntimeError("a model was run although everything is in the cache")

    monkeypatch.setattr(type(wiring.open_lab().models), "readout", never)
    assert main(["export", "tiny", "--out", str(root / "out"), "--only", "accuracy"]) == 0


def test_retraining_into_the_same_path_changes_the_numbers(root: Path) -> None:
    folder = root / "studies" / "tiny"
    main(["export", "tiny", "--out", str(root / "a"), "--only", "accuracy"])
    remove(folder / "checkpoints" / "epoch-1")
    tiny_model(folder / "checkpoints" / "epoch-1", seed=77)
    main(["export", "tiny", "--out", str(root / "b"), "--only", "accuracy"])
    before, after = ({r["checkpoint"]: r["gap"] for r in read(root / name / "accuracy.csv")} for name in ("a", "b"))
    assert before["base"] == after["base"] and before["epoch 1"] != after["epoch 1"]


def test_any_checkpoint_can_be_the_reference(root: Path) -> None:
    out = root / "out"
    arguments = ["--out", str(out), "--only", "direction", "--reference", "epoch 1", "--drop-largest", "2"]
    assert main(["export", "tiny", *arguments]) == 0
    own = [row["cosine_to_base"] for row in read(out / "direction.csv") if row["checkpoint"] == "epoch 1"]
    base = [row["cosine_to_base"] for row in read(out / "direction.csv") if row["checkpoint"] == "base"]
    assert [float(value) for value in own] == pytest.approx([1.0] * len(own))
    assert max(abs(float(value)) for value in base) < 0.999
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["reference"], manifest["drop_largest"], manifest["layer"]) == ("epoch 1", 2, None)


def test_the_largest_dimensions_are_left_out(root: Path) -> None:
    for k in ("0", "2"):
        arguments = ["--out", str(root / k), "--only", "direction", "--drop-largest", k]
        assert main(["export", "tiny", *arguments]) == 0
    all_of_them, fewer = ([float(row["norm"]) for row in read(root / k / "direction.csv")] for k in ("0", "2"))
    assert all(b <= a for a, b in zip(all_of_them, fewer, strict=True))
    assert sum(fewer) < sum(all_of_them)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--reference", "epoch 9"], 'no checkpoint "epoch 9" to compare with; choose from base, epoch 1, epoch 2.'),
        (["--reference", "epoch 2"], "finetune"),
        (["--drop-largest", "16"], "choose 0 to 15"),
        (["--drop-largest", "-1"], "choose 0 to 15"),
        (["--layer", "3"], "choose from 0 to 2"),
    ],
)
def test_what_is_not_there_to_compare_with_is_one_line(
    root: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    if "epoch 2" in change:
        remove(root / "studies" / "tiny" / "checkpoints" / "epoch-2")
    assert message in fails(capsys, "export", "tiny", "--out", str(root / "o"), "--only", "direction", *change)
    assert not (root / "o").exists()
    assert message in fails(capsys, "warm", "tiny", "--only", "direction", *change)


def test_new_writes_a_study_that_can_be_checked(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = root / "studies" / "tiny"
    code = main(
        ["new", "mine", "--base", str(tiny / "base"), "--checkpoints", str(tiny / "checkpoints" / "epoch-*"),
         "--data", str(tiny / "reviews.csv"), "--max-tokens", "48", "--sample", "20"]
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    text = (root / "studies" / "mine" / "study.toml").read_text()
    assert f'path = "{tiny / "checkpoints" / "epoch-*"}"' in text and 'label_words = ["negative", "positive"]' in text
    assert "already exists" in fails(capsys, "new", "mine", "--base", "b", "--checkpoints", "x", "--data", "d.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--data", "nowhere.csv"], "does not exist; correct the path"),
        (["--checkpoints", "nowhere-*"], "No directory matches"),
        (["--label", "stars"], 'has no column "stars"'),
        (["--text", "body"], 'has no column "body"'),
        (["--label-words", "a,b,c"], "give one word per value"),
        (["--sample", "4000"], "fewer than the 2000 needed for sample = 4000"),
        (["--template", "no place"], "has no {text}"),
    ],
)
def test_new_refuses_in_one_sentence_and_writes_nothing(
    root: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    tiny = root / "studies" / "tiny"
    arguments = ["new", "mine", "--base", str(tiny / "base"), "--data", str(tiny / "reviews.csv")]
    arguments += ["--checkpoints", str(tiny / "checkpoints" / "epoch-*"), *change]
    assert message in fails(capsys, *arguments)
    assert not (root / "studies" / "mine").exists()


def test_bad_input_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = root / "studies" / "tiny"
    assert "There is no study" in fails(capsys, "check", "nothing")
    assert "choose from ablation, accuracy, activation_differences, attribution" in fails(
        capsys, "export", "tiny", "--out", str(root / "o"), "--only", "magic"
    )
    blocked = root / "file"
    blocked.write_text("")
    assert "choose another --out" in fails(capsys, "export", "tiny", "--out", str(blocked / "o"), "--only", "accuracy")
    rewrite(tiny, '"negative", "positive"', '"negative", "xylophone"')
    rewrite(tiny, "sample = 20", "sample = 400")
    assert "lower dataset.sample" in fails(capsys, "check", "tiny")


def test_an_interrupt_is_130(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("backend.__main__.pin", interrupted)
    assert main(["warm", "tiny", "--only", "accuracy"]) == 130
    assert "kept" in capsys.readouterr().err


def test_report_writes_one_file(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reporting, "SECTIONS", {name: SECTIONS[name] for name in ("accuracy", "weights")})
    file = root / "out" / "report.html"
    assert main(["report", "tiny", "--out", str(file), "--reference", "epoch 1"]) == 0
    assert str(file) in capsys.readouterr().out
    assert "epoch 2 compared with epoch 1" in file.read_text()
    assert "choose another --out" in fails(capsys, "report", "tiny", "--out", str(root))
    assert "choose from base, epoch 1" in fails(capsys, "report", "tiny", "--out", str(file), "--reference", "x")


def test_the_cache_is_listed_and_cleared_by_study(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(root / "studies" / "tiny", root / "studies" / "other")
    rewrite(root / "studies" / "other", "sample = 20", "sample = 16")
    for name in ("tiny", "other"):
        assert main(["warm", name, "--only", "accuracy"]) == 0
    capsys.readouterr()
    assert main(["cache"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in listed[1:]} == {"tiny", "other", "(shared)"}
    assert fails(capsys, "cache", "tiny", "--clear").startswith("Nothing was deleted")
    assert "nothing of a study" in fails(capsys, "cache", "../tiny")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, deleted in (("n", "Nothing was deleted."), ("", "Nothing was deleted."), ("y", "deleted")):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert main(["cache", "tiny", "--clear"]) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith(deleted)
    assert main(["cache"]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]} == {"other", "(shared)"}
    assert main(["warm", "tiny", "--only", "accuracy"]) == 0, "what was deleted is computed again"
    assert main(["cache", "--clear", "--yes"]) == 0
    assert not list((root / "cache").glob("??/??/*.val"))
    capsys.readouterr()
    assert main(["cache"]) == 0
    assert " 0 entries" in capsys.readouterr().out
