"""Checkpoints by pattern and by hub revisions: order, labels, what is left out, and a sentence for each mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.errors import StudyError
from backend.study.config import Study, parse_study
from backend.study.patterns import finding
from backend.study.steps import step_of_ref, steps_of
from backend.study.training_log import read_training_log
from tests.study.trainers.weight_folders import WEIGHTS, saved

FILES = {"config__json": "{}", "model__safetensors": WEIGHTS}


def study(folder: Path, *entries: dict[str, Any], base: dict[str, Any] | None = None) -> Study:
    raw = {
        "title": "Steps",
        "family": "causal",
        "base": base or {"path": "base"},
        "checkpoints": list(entries),
        "dataset": {"path": "reviews.csv"},
        "prompt": {"template": "{text}", "label_words": ["a", "b"]},
    }
    return parse_study(raw, folder)


def train(folder: Path, *steps: int, state: int | None = None) -> None:
    for step in steps:
        place = saved(folder / f"checkpoint-{step}", **FILES)
        if state is not None:
            (place / "trainer_state.json").write_text(json.dumps({"global_step": step + state}))


def labels(one: Study) -> list[str]:
    return [ref.label for ref in one.checkpoints]


def test_a_pattern_is_its_folders_in_the_order_of_steps(tmp_path: Path):
    tmp_path = tmp_path / "alone"  # one pattern looks at all folders beside it
    train(tmp_path / "out", 1000, 50, 400)
    (tmp_path / "out" / "checkpoint-7.txt").write_text("no folder")
    (tmp_path / "out" / "latest").symlink_to("checkpoint-1000")
    for pattern in ("out/checkpoint-*", f"{tmp_path}/out/checkpoint-*", "../*/out/checkpoint-[0-9]*", "out/*"):
        found = study(tmp_path, {"path": pattern})
        assert labels(found) == ["step 50", "step 400", "step 1000"], pattern
        assert found.checkpoints[0].path == str((tmp_path / "out" / "checkpoint-50").resolve())
        assert steps_of(found.base, found.checkpoints) == (0, 50, 400, 1000)
        assert found.notes == ()


def test_the_pattern_of_some_folders(tmp_path: Path):
    tmp_path = tmp_path / "alone"
    train(tmp_path / "out", 50, 400, 1000)
    three = [tmp_path / "out" / f"checkpoint-{step}" for step in (50, 400, 1000)]
    assert finding(three, None) == f"{tmp_path.resolve()}/out/checkpoint-*"
    assert finding(three[:1], None) is None, "the others would join at once"
    assert finding(three[::-1], None) is None, "another order"
    assert finding(three[1:], three[0].resolve()) == f"{tmp_path.resolve()}/out/checkpoint-*"
    narrow = f"{tmp_path.resolve()}/out/checkpoint-[0-9]*0"
    assert finding(three, None, [narrow]) == narrow, "what was entered, not what would find more later"
    assert finding(three, None, [f"{tmp_path}/out/checkpoint-1*"]) is None
    assert finding(three, None, [f"{tmp_path}/out/checkpoint-[14]*", f"{tmp_path}/out/checkpoint-5*"]) is None
    train(tmp_path / "run2" / "epoch-1", 7)
    assert finding([tmp_path / "run2" / "epoch-1" / "checkpoint-7"], None) is not None
    saved(tmp_path / "run2" / "last", **FILES)
    assert finding([tmp_path / "run2" / "last"], None) is None, "other runs are no later checkpoints"
    saved(tmp_path / "out" / "checkpoint-final", **FILES)
    assert finding(three, None) is None, "a step is unknown"
    assert finding([], None) is None


def test_a_new_folder_is_there_the_next_time(tmp_path: Path):
    train(tmp_path, 100)
    assert labels(study(tmp_path, {"path": "checkpoint-*"})) == ["step 100"]
    half = saved(tmp_path / "checkpoint-200", config__json="{}", model__safetensors=WEIGHTS[:-1])
    found = study(tmp_path, {"path": "checkpoint-*"})
    assert labels(found) == ["step 100"]
    assert found.notes == (
        f"{half} is left out until its weights and config are complete; remove it if no training is writing it.",
    )
    (half / "model.safetensors").write_bytes(WEIGHTS)
    found = study(tmp_path, {"path": "checkpoint-*"})
    assert labels(found) == ["step 100", "step 200"] and found.notes == ()


def test_the_state_of_the_trainer_decides_and_epochs_are_named_as_such(tmp_path: Path):
    train(tmp_path / "renamed", 1, 2, state=500)
    assert labels(study(tmp_path, {"path": "renamed/*"})) == ["step 501", "step 502"]
    for epoch in (10, 9):
        saved(tmp_path / f"epoch-{epoch}", **FILES)
    found = study(tmp_path, {"path": "epoch-*"})
    assert labels(found) == ["epoch 9", "epoch 10"]
    assert steps_of(found.base, found.checkpoints) is None, "an epoch's name states no step"
    (tmp_path / "epoch-9" / "trainer_state.json").write_text('{"global_step": 90}')
    (tmp_path / "epoch-10" / "trainer_state.json").write_text('{"global_step": 100}')
    found = study(tmp_path, {"path": "epoch-*"})
    assert labels(found) == ["epoch 9", "epoch 10"]
    assert steps_of(found.base, found.checkpoints) == (0, 90, 100)


def test_a_label_stands_before_the_step_so_that_two_trainings_fit(tmp_path: Path):
    train(tmp_path / "a", 1, 2)
    train(tmp_path / "b", 1)
    both = study(
        tmp_path, {"path": "a/*", "label": "sft"}, {"path": "b/*", "label": "dpo"}, {"path": "c", "label": "c"}
    )
    assert labels(both) == ["sft step 1", "sft step 2", "dpo step 1", "c"]
    assert steps_of(both.base, both.checkpoints) is None
    with pytest.raises(StudyError, match=r'checkpoints\[2\]\.label "step 1" is used twice; labels must be unique'):
        study(tmp_path, {"path": "a/*"}, {"path": "b/*"})


def test_the_folder_of_the_base_is_no_checkpoint_and_states_its_step(tmp_path: Path):
    train(tmp_path, 0, 5, 10)
    found = study(tmp_path, {"path": "checkpoint-*"}, base={"path": "checkpoint-5"})
    assert labels(found) == ["step 0", "step 10"]
    assert steps_of(found.base, found.checkpoints) == (None, 0, 10), "the base is after the first checkpoint"
    found = study(tmp_path, {"path": "checkpoint-*"}, base={"path": "checkpoint-0"})
    assert steps_of(found.base, found.checkpoints) == (0, 5, 10)
    found = study(tmp_path, {"path": "checkpoint-10", "label": "a"}, base={"path": "checkpoint-5", "step": 3})
    assert steps_of(found.base, found.checkpoints) == (3, 10)
    train(tmp_path / "earlier", 900)
    found = study(tmp_path, {"path": "checkpoint-10", "label": "a"}, base={"path": "earlier/checkpoint-900"})
    assert steps_of(found.base, found.checkpoints) == (0, 10), "the steps of an earlier training do not count"


def test_the_training_curve_is_found_in_the_newest_checkpoint(tmp_path: Path):
    train(tmp_path, 10, 20)
    log = [{"step": 10, "epoch": 1.0, "loss": 2.0}, {"step": 20, "epoch": 2.0, "loss": 1.0}]
    for step in (10, 20):
        state = {"global_step": step, "log_history": log[: step // 10]}
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    curve = read_training_log(study(tmp_path, {"path": "checkpoint-*"}))
    assert curve is not None and curve.loss.tolist() == [2.0, 1.0]
    assert curve.saved == ((10, "step 10"), (20, "step 20"))


def test_without_a_checkpoint_yet_the_base_is_alone(tmp_path: Path):
    (tmp_path / "out").mkdir()
    found = study(tmp_path, {"path": "out/checkpoint-*"})
    assert found.checkpoints == ()
    assert found.notes == (
        "No complete checkpoint matches out/checkpoint-* yet; checkpoints appear here once they are saved.",
    )
    assert steps_of(found.base, found.checkpoints) is None


def test_a_folder_whose_own_name_has_wildcards_is_itself(tmp_path: Path):
    train(tmp_path / "run [1]", 5)
    found = study(tmp_path, {"path": "run [1]/checkpoint-5", "label": "mine"})
    assert labels(found) == ["mine"]


def test_hub_revisions_by_steps(tmp_path: Path):
    repo = "EleutherAI/pythia-70m"
    found = study(
        tmp_path,
        {"repo": repo, "revision": "step{n}", "steps": [1, 2, 143000]},
        {"repo": "me/tuned", "subfolder": "checkpoint-{n}", "steps": [7], "label": "tuned"},
        base={"repo": repo, "revision": "step0"},
    )
    assert labels(found) == ["step 1", "step 2", "step 143000", "tuned step 7"]
    assert found.checkpoints[2].place == f"{repo}@step143000" and found.checkpoints[3].place == "me/tuned/checkpoint-7"
    pythia = found.checkpoints[:3]
    assert steps_of(found.base, pythia) == (0, 1, 2, 143000)
    final = found.base.model_copy(update={"revision": None})
    assert steps_of(final, pythia) == (None, 1, 2, 143000), "the main branch of the same repository"
    other = found.base.model_copy(update={"repo": "me/other"})
    assert steps_of(other, pythia) == (0, 1, 2, 143000)
    listed = study(tmp_path, {"label": "x", "repo": repo, "revision": "step32"}, {"label": "y", "repo": repo})
    assert [step_of_ref(ref) for ref in listed.checkpoints] == [32, None]


HUB = {"repo": "a/b", "revision": "step{n}", "steps": [1, 2]}


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (
            {"path": "away/checkpoint-*"},
            r"checkpoints\[1\]\.path is \"away/checkpoint-\*\", but .*away is not a folder",
        ),
        ({"path": "out/a**/b"}, r"checkpoints\[1\]\.path is \"out/a\*\*/b\", which is not a valid pattern of folders"),
        ({"path": "out/*"}, r"path matches .*best, whose step is unknown; narrow the pattern"),
        ({"path": "twice/*/*"}, r"path matches .*checkpoint-5 and .*checkpoint-5, which are both step 5; narrow"),
        ({"path": "out/checkpoint-*", "seed_of": "x"}, r"checkpoints\[1\]\.seed_of belongs to a single checkpoint"),
        ({"path": "out/checkpoint-*", "step": 4}, r"checkpoints\[1\]\.step belongs to a single checkpoint"),
        ({"path": "out/checkpoint-*", "steps": [4]}, r"checkpoints\[1\]\.steps belongs to a repo"),
        ({"path": "out", "label": "x", "steps": [4]}, r"steps needs a repo whose revision or subfolder holds \{n\}"),
        ({"repo": "a/b", "steps": [4]}, r"steps needs a repo whose revision or subfolder holds \{n\}"),
        ({"repo": "a/b", "revision": "step{n}"}, r"checkpoints\[1\]\.revision holds \{n\}, so it needs steps"),
        (HUB | {"steps": []}, r"checkpoints\[1\]\.steps must be rising steps"),
        (HUB | {"steps": [2, 1]}, r"checkpoints\[1\]\.steps must be rising steps"),
        (HUB | {"steps": [1, 1]}, r"checkpoints\[1\]\.steps must be rising steps"),
        (HUB | {"steps": [-1, 1]}, r"checkpoints\[1\]\.steps\[1\] is wrong"),
        (HUB | {"steps": "all"}, r"checkpoints\[1\]\.steps is wrong"),
        (HUB | {"seed_of": "x"}, r"checkpoints\[1\]\.seed_of belongs to a single checkpoint"),
        ({"path": "out"}, r"checkpoints\[1\]\.label is missing"),
    ],
)
def test_a_wrong_entry_is_refused_in_a_sentence(tmp_path: Path, entry: dict[str, Any], says: str):
    train(tmp_path / "out", 5)
    saved(tmp_path / "out" / "best", **FILES)
    train(tmp_path / "twice" / "a", 5)
    train(tmp_path / "twice" / "b", 5)
    with pytest.raises(StudyError, match=says) as error:
        study(tmp_path, entry)
    assert str(error.value).startswith(str(tmp_path / "study.toml")) and str(error.value).endswith(".")


def test_the_base_is_one_model(tmp_path: Path):
    with pytest.raises(StudyError, match=r"base\.steps is not allowed"):
        study(tmp_path, base={"repo": "a/b", "revision": "step{n}", "steps": [1]})
    with pytest.raises(StudyError, match="notes is an unknown key"):
        parse_study({"notes": []}, tmp_path)
