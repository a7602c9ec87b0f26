"""Fine-tuning for real, on a tiny model: checkpoints, log, resume after a kill, and nothing lost on a second call."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from backend.errors import LayershiftError, PromptError, StudyError
from backend.study.config import load_study
from backend.study.prompts import make_prompts
from backend.study.reader import plain_reader
from backend.study.training_log import COLUMNS, read_training_log
from backend.training import finetune as finetuning
from backend.training.finetune import finetune
from backend.training.recorder import held_out_logits
from tests.fake_texts import fake_tokenizer
from tests.models.encoder_pairs import pair_study as encoder_pairs
from tests.tiny import pair_study, rewrite, tiny_study

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study with a random base of two blocks and 120 labelled reviews."""
    return tiny_study(tmp_path)


def log(folder: Path) -> list[dict[str, str]]:
    with (folder / "training.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("recipe", ["sound", "as-published"])
def test_each_epoch_leaves_a_checkpoint_in_hugging_face_format(folder: Path, recipe: str) -> None:
    rewrite(folder, '"sound"', f'"{recipe}"')
    finetune(load_study(folder))
    states = []
    for epoch in (1, 2):
        place = folder / "checkpoints" / f"epoch-{epoch}"
        model = AutoModelForCausalLM.from_pretrained(place, dtype="auto")
        assert model.dtype == torch.float16, "stored in the precision of the base"
        sizes = [(folder / name / "model.safetensors").stat().st_size for name in ("base", f"checkpoints/{place.name}")]
        assert sizes[0] == sizes[1], "tied matrices are stored once"
        assert AutoTokenizer.from_pretrained(place).encode(" positive") == fake_tokenizer().encode(" positive").ids
        states.append(model.state_dict()["transformer.h.0.mlp.c_fc.weight"])
    assert not torch.equal(*states)
    rows = log(folder)
    assert tuple(rows[0]) == COLUMNS
    steps = 100 // 4 if recipe == "sound" else 100 // 16 + 1
    assert int(rows[-1]["step"]) == 2 * steps
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    assert losses[-1] < losses[0]
    tests = [row for row in rows if row["held_out_accuracy"]]
    assert tests and all(
        float(r["held_out_low"]) <= float(r["held_out_accuracy"]) <= float(r["held_out_high"]) for r in tests
    )
    assert not (folder / "finetune-training").exists(), "the resume state is deleted at the end"


def test_a_second_call_loses_nothing(folder: Path) -> None:
    (folder / "checkpoints" / "epoch-1").mkdir(parents=True)
    with pytest.raises(LayershiftError, match="exists already; pass --overwrite"):
        finetune(load_study(folder))


def test_epochs_and_checkpoints_must_agree(folder: Path) -> None:
    rewrite(folder, "epochs = 2", "epochs = 3")
    with pytest.raises(StudyError, match="must list 3 checkpoints with a local path; it lists 2"):
        finetune(load_study(folder))


def saves_within_epochs(folder: Path, steps: str = "[5, 30]", names: tuple[str, ...] = ("step-5", "epoch-1")) -> None:
    """Let the study of 25 steps an epoch save within its epochs too, to folders of these names, then two more."""
    text = (folder / "study.toml").read_text().replace("epochs = 2", f"epochs = 2\nsave_steps = {steps}")
    head, rest = text.split("[[checkpoints]]", 1)[0], text[text.index("[dataset]") :]
    places = [*names, "step-30", "epoch-2"]
    listed = "".join(f'[[checkpoints]]\nlabel = "{name}"\npath = "checkpoints/{name}"\n' for name in places)
    (folder / "study.toml").write_text(head + listed + rest)


def test_checkpoints_within_an_epoch(folder: Path) -> None:
    saves_within_epochs(folder)
    study = load_study(folder)
    finetune(study)
    saved = read_training_log(study)
    assert saved is not None
    assert saved.saved == ((5, "step-5"), (25, "epoch-1"), (30, "step-30"), (50, "epoch-2"))
    tested = {int(row["step"]) for row in log(folder) if row["held_out_accuracy"]}
    assert {5, 25, 30, 50} <= tested, "each checkpoint has its held-out accuracy"
    weights = [
        AutoModelForCausalLM.from_pretrained(folder / "checkpoints" / name).state_dict()["lm_head.weight"]
        for _, name in saved.saved
    ]
    assert all(not torch.equal(left, right) for left, right in pairwise(weights))


@pytest.mark.parametrize(
    ("steps", "names", "reason"),
    [
        ("[5, 25]", ("step-5", "epoch-1"), "lists 25, which is the end of epoch 1 and is saved anyway"),
        ("[5, 51]", ("step-5", "epoch-1"), "lists 51, but the training has 50 steps"),
        ("[30, 5]", ("step-5", "epoch-1"), "training.save_steps must be rising steps"),
        ("[5]", ("step-5", "epoch-1"), "training.save_steps lists 1 step, so the study must list 3 checkpoints"),
        ("[5, 30]", ("epoch-1", "step-5"), r"epoch-1 would hold step 5; list .* steps 5, 25, 30, 50\."),
        ("[5, 30]", ("step-5", "step-24"), "step-24 would hold step 25, the end of epoch 1; list the checkpoints in"),
    ],
)
def test_save_steps_that_fit_no_checkpoint(folder: Path, steps: str, names: tuple[str, ...], reason: str) -> None:
    saves_within_epochs(folder, steps, names)
    with pytest.raises(StudyError, match=reason):
        finetune(load_study(folder))


def test_a_killed_run_goes_on_where_it_was(folder: Path) -> None:
    command = [sys.executable, "-m", "backend", "finetune", str(folder)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = folder / "finetune-training"
    deadline = time.monotonic() + 120
    while (
        time.monotonic() < deadline
        and process.poll() is None
        and not list(state.glob("checkpoint-*/trainer_state.json"))
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = max(int(place.name.split("-")[1]) for place in state.glob("checkpoint-*"))
    for step, left in ((900, None), (901, '{"epoch": 1.')):  # killed while it was saving
        (state / f"checkpoint-{step}").mkdir()
        if left is not None:
            (state / f"checkpoint-{step}" / "trainer_state.json").write_text(left)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "checkpoints" / "epoch-2" / "model.safetensors").exists()
    tested = [int(row["step"]) for row in log(folder) if row["held_out_accuracy"]]
    assert tested == sorted(set(tested)), "no step is logged twice"
    assert saved > 0 and tested[-1] == 50


def test_an_encoder_gets_a_classification_head(tmp_path: Path) -> None:
    folder = tiny_study(tmp_path, family="bert")
    finetune(load_study(folder))
    for epoch in (1, 2):
        model = AutoModelForSequenceClassification.from_pretrained(folder / "checkpoints" / f"epoch-{epoch}")
        assert model.config.id2label == {0: "negative", 1: "positive"}
    rows = log(folder)
    assert [row["held_out_n"] for row in rows if row["held_out_accuracy"]] == ["20"] * 10
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    assert sum(losses[25:]) < 0.9 * sum(losses[:25])


def test_a_causal_model_trains_on_pairs(tmp_path: Path) -> None:
    folder = pair_study(tmp_path / "tiny")
    finetune(load_study(folder))
    losses = [float(row["loss"]) for row in log(folder) if row["loss"]]
    assert sum(losses[25:]) < 0.9 * sum(losses[:25])


def test_an_encoder_trains_on_pairs_as_transformers_reads_them(tmp_path: Path) -> None:
    folder = encoder_pairs(tmp_path / "pairs", "Bert")
    training = 'path = "pairs.csv"\nepochs = 1\nbatch_size = 4\nlearning_rate = 1e-3\nheld_out = 12\n'
    (folder / "study.toml").write_text((folder / "study.toml").read_text() + f"[training]\n{training}")
    finetune(load_study(folder), overwrite=True)
    tokens = AutoTokenizer.from_pretrained(folder / "tuned")
    model = AutoModelForSequenceClassification.from_pretrained(folder / "tuned").eval()
    study = load_study(folder)
    _, held_out = finetuning._rows(study, finetuning._training_spec(study, None))
    with torch.inference_mode():
        theirs = np.stack([model(**tokens(*pair, return_tensors="pt")).logits[0] for pair in held_out.parts])
    right = float((theirs.argmax(1) == held_out.label).mean())
    tests = [row["held_out_accuracy"] for row in log(folder) if row["held_out_accuracy"]]
    assert float(tests[-1]) == pytest.approx(right)
    reader = plain_reader(tokens.backend_tokenizer, study.prompt, "encoder", token_types=True)
    ours = held_out_logits(model, make_prompts(reader, held_out.inputs, held_out.label))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    rewrite(folder, "{premise} {hypothesis}", "{premise} [SEP] {hypothesis}")
    with pytest.raises(PromptError, match="tells the texts of a pair apart by token types"):
        finetune(load_study(folder), overwrite=True)


def test_rows_split_special_tokens_where_the_base_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_study(tmp_path)
    file = folder / "base" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"split_special_tokens": True}))
    given = []

    def seen(_: object, tokenizer: Tokenizer, *__: object) -> None:
        given.append(tokenizer)
        raise StudyError("seen")

    monkeypatch.setattr(finetuning, "_reader", seen)
    with pytest.raises(StudyError, match="seen"):
        finetune(load_study(folder))
    theirs = AutoTokenizer.from_pretrained(folder / "base")
    ids = theirs(theirs.all_special_tokens[0], add_special_tokens=False).input_ids
    assert given[0].encode(theirs.all_special_tokens[0], add_special_tokens=False).ids == ids
    assert len(ids) > 1


def test_the_origins_recipe_is_not_for_encoders(tmp_path: Path) -> None:
    folder = tiny_study(tmp_path, family="bert")
    rewrite(folder, '"sound"', '"as-published"')
    with pytest.raises(StudyError, match="is only for causal models; set it to"):
        finetune(load_study(folder))


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_an_ordered_label_is_trained_as_classes_with_a_word_each_or_not(tmp_path: Path, family: str) -> None:
    folder = tiny_study(tmp_path, family=family)
    stars = pd.read_csv(folder / "reviews.csv")
    stars["label"] = [1 + row % 3 for row in stars.index]
    stars.to_csv(folder / "reviews.csv", index=False)
    text, words = (folder / "study.toml").read_text(), 'label_words = ["negative", "positive"]\nseparator = " "\n'
    ordered = text.replace(words, "").replace("sample = 20", "sample = 21\nordered = true", 1)
    (folder / "study.toml").write_text(ordered)
    with pytest.raises(StudyError, match=r"remove dataset.ordered and list its values in dataset.labels"):
        finetune(load_study(folder))
    (folder / "study.toml").write_text(ordered.partition("[training]")[0])
    with pytest.raises(StudyError, match=r"an ordered label has none"):  # not first: add [training]
        finetune(load_study(folder))
    assert not (folder / "checkpoints").exists() and not (folder / "finetune-training").exists()
    named = words.replace('"positive"', '"positive", "good"')
    advised = text.replace(words, named).replace("sample = 20", "sample = 21\nlabels = [1, 2, 3]", 1)
    (folder / "study.toml").write_text(
        advised.replace("epochs = 2", "epochs = 1").replace("held_out = 20", "held_out = 21")
    )
    rewrite(folder, '[[checkpoints]]\nlabel = "epoch 2"\npath = "checkpoints/epoch-2"\n', "")
    finetune(load_study(folder))
    assert [row["held_out_n"] for row in log(folder) if row["held_out_accuracy"]] == ["21"] * 5
