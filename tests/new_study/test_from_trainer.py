"""New studies from the output folders of trainers: every layout through the command line, on tiny real models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast, Trainer, TrainingArguments

from backend import wiring
from backend.__main__ import main
from backend.study.config import Study, load_study
from backend.study.training_log import read_training_log
from tests.trainers import LAYOUTS, Layout, Parts, card, make_parts, put, save, state, trainer, trl

Run = Callable[..., int]


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return make_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def studies(tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LAYERSHIFT_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("LAYERSHIFT_CACHE", str(cache_folder))
    wiring.open_lab.cache_clear()
    yield tmp_path / "studies"
    wiring.open_lab.cache_clear()


@pytest.fixture
def new(parts: Parts, studies: Path) -> Run:
    """`new mine FOLDER --data ...` with more options."""

    def run(folder: Path, *more: str) -> int:
        data = ["--data", str(parts.data), "--max-tokens", "48", "--sample", "20"]
        return main(["new", "mine", str(folder), *data, *more])

    return run


def made(studies: Path) -> Study:
    return load_study(studies / "mine")


def refused(studies: Path, capsys: pytest.CaptureFixture[str], code: int) -> str:
    """Return the error of a command that wrote nothing."""
    message = capsys.readouterr().err.strip()
    assert code == 2, message
    assert message and "\n" not in message and "Traceback" not in message
    assert not (studies / "mine").exists()
    return message


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.build.__name__)
def test_a_folder_and_data_make_a_study(
    layout: Layout, parts: Parts, studies: Path, new: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = new(layout.build(parts, tmp_path / "work" / "out"))
    output = capsys.readouterr()
    assert code == 0, output.err
    study = made(studies)
    assert tuple(checkpoint.label for checkpoint in study.checkpoints) == layout.labels
    encoder = layout.build.__name__ == "classifier"
    assert study.family == ("encoder" if encoder else "causal")
    classifies = "classifier" in layout.build.__name__
    assert study.prompt.template == ("{text}" if classifies else "Review: {text} Sentiment:")
    words = ("bad", "good") if layout.build.__name__ == "causal_classifier" else ("negative", "positive")
    assert study.prompt.label_words == words
    base = Path(str(study.base.path))
    theirs = parts.bert if encoder else parts.base
    assert (base / "model.safetensors").read_bytes() == (theirs / "model.safetensors").read_bytes()
    notes = [line for line in output.err.splitlines() if line.startswith("left out")]
    assert len(notes) == len(layout.notes)
    assert all(note.startswith(start) for note, start in zip(notes, layout.notes, strict=True))
    log = read_training_log(study)
    assert (log is not None) == layout.curve
    assert ("curve " in output.out) == layout.curve
    if log is not None:
        steps = {label: step for step, label in log.saved}
        assert steps[layout.labels[0]] < steps[layout.labels[1]] <= log.step[-1]


def test_what_transformers_itself_leaves(
    parts: Parts, studies: Path, new: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(parts.bert)
    rows = [dict(tokenizer(f"the film is {word}"), labels=i % 2) for i, word in enumerate(["good", "bad"] * 8)]
    model = AutoModelForSequenceClassification.from_pretrained(parts.bert, num_labels=2, dtype=torch.float32)
    options = TrainingArguments(
        str(out),
        num_train_epochs=3,
        per_device_train_batch_size=4,
        save_strategy="epoch",
        eval_strategy="epoch",
        logging_steps=1,
        load_best_model_at_end=True,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    training = Trainer(model, options, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)  # pyright: ignore[reportArgumentType]
    training.train()
    training.save_model()
    training.create_model_card()
    code = new(out)
    output = capsys.readouterr()
    if code == 2 and "--base" in output.err:  # this version leaves the base's name nowhere
        code = new(out, "--base", str(parts.bert))
        output = capsys.readouterr()
    assert code == 0, output.err
    study = made(studies)
    assert [checkpoint.label for checkpoint in study.checkpoints] == ["epoch 1", "epoch 2", "epoch 3"]
    assert [Path(str(checkpoint.path)).name for checkpoint in study.checkpoints] == [
        "checkpoint-4",
        "checkpoint-8",
        "checkpoint-12",
    ]
    assert "left out final: it has the weights of epoch" in output.err
    log = read_training_log(study)
    assert log is not None
    assert log.saved == ((4, "epoch 1"), (8, "epoch 2"), (12, "epoch 3"))
    expected = [entry["loss"] for entry in training.state.log_history if "loss" in entry]
    assert [loss for loss in log.loss.tolist() if loss == loss] == expected


def test_options_go_before_what_is_found(parts: Parts, studies: Path, new: Run, tmp_path: Path) -> None:
    folder = trl(parts, tmp_path / "out")
    shutil.copytree(parts.base, tmp_path / "other")
    checkpoints = ["--checkpoints", str(folder / "checkpoint-*")]
    assert (
        new(folder, "--base", str(tmp_path / "other"), *checkpoints, "--template", "{text} is", "--family", "causal")
        == 0
    )
    study = made(studies)
    assert study.base.path == str(tmp_path / "other")
    assert [checkpoint.label for checkpoint in study.checkpoints] == ["step 5", "step 15"]
    later = shutil.copytree(folder / "checkpoint-15", folder / "checkpoint-25")  # the training goes on
    (later / "trainer_state.json").write_text('{"global_step": 25}')
    assert [checkpoint.label for checkpoint in made(studies).checkpoints] == ["step 5", "step 15", "step 25"]
    assert study.prompt.template == "{text} is"


def test_the_base_is_found_for_named_checkpoints_too(parts: Parts, studies: Path, tmp_path: Path) -> None:
    folder = trl(parts, tmp_path / "out")
    arguments = ["--checkpoints", str(folder / "checkpoint-*"), "--data", str(parts.data), "--max-tokens", "48"]
    assert main(["new", "mine", *arguments, "--sample", "20"]) == 0
    assert made(studies).base.path == str(parts.base)


def test_values_to_use_a_separator_and_a_tokenizer(
    parts: Parts, studies: Path, new: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = parts.data.read_text() + '"neither good nor bad",2\n' * 12
    (tmp_path / "three.csv").write_text(table)
    folder = trl(parts, tmp_path / "out")
    data = ["--data", str(tmp_path / "three.csv"), "--label-words", "positive,negative"]
    assert main(["new", "mine", str(folder), *data, "--max-tokens", "48", "--sample", "20"]) == 2
    assert "3 label values" in refused(studies, capsys, 2)
    more = ["--labels", "1,0", "--separator", " ", "--tokenizer", "base", "--max-tokens", "48", "--sample", "20"]
    assert main(["new", "mine", str(folder), *data, *more]) == 0
    study = made(studies)
    assert (study.dataset.labels, study.prompt.label_words) == ((1, 0), ("positive", "negative"))
    assert (study.prompt.separator, study.prompt.tokenizer) == (" ", "base")


@pytest.mark.parametrize(
    ("labels", "words", "message"),
    [
        ("0,7", "a,b", "has no value 7; choose labels from 0, 1"),
        ("0,0", "a,b", "list a value twice"),
        ("0", "a,b", "has 1 distinct value"),
        ("1,0", "0,1", "in different orders"),
    ],
)
def test_labels_that_cannot_be_meant(
    parts: Parts,
    studies: Path,
    new: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    labels: str,
    words: str,
    message: str,
) -> None:
    code = new(trl(parts, tmp_path / "out"), "--labels", labels, "--label-words", words)
    assert message in refused(studies, capsys, code)


def two_runs(parts: Parts, out: Path) -> None:
    for run in ("first", "second"):
        save(parts, "default-1", out / run, 10)


def two_models(parts: Parts, out: Path) -> None:
    put(parts, "default-1", out / "sft")
    put(parts, "default-2", out / "dpo")


def two_adapters(parts: Parts, out: Path) -> None:
    put(parts, "default-1", out / "checkpoint-10" / "one")
    put(parts, "default-2", out / "checkpoint-10" / "two")


def no_base(parts: Parts, out: Path) -> None:
    save(parts, "full-1", out, 10)


def base_elsewhere(parts: Parts, out: Path) -> None:
    no_base(parts, out)
    card(out, "/data/models/tiny")


def two_bases(parts: Parts, out: Path) -> None:
    shutil.copytree(parts.base, out / "other")
    for step, base in ((10, parts.base), (20, out / "other")):
        place = save(parts, f"default-{step // 10}", out, step)
        config = json.loads((place / "adapter_config.json").read_text())
        (place / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(base)}))


def quantized_base(parts: Parts, out: Path) -> None:
    no_base(parts, out)
    card(out, "unsloth/tiny-unsloth-bnb-4bit")


def base_on_the_hub(parts: Parts, out: Path) -> None:
    no_base(parts, out)
    card(out, "somebody/tiny")


def pickled(parts: Parts, out: Path) -> None:
    place = save(parts, "full-1", out, 10)
    (place / "model.safetensors").rename(place / "pytorch_model.bin")


def shards_only(parts: Parts, out: Path) -> None:
    state(out / "checkpoint-10", 10)
    (out / "checkpoint-10" / "pytorch_model_fsdp_0").mkdir()


def no_config(parts: Parts, out: Path) -> None:
    for step in (1, 2):
        (put(parts, f"full-{step}", out / f"step_{step}") / "config.json").unlink()
    card(out, parts.base)


def nothing(_: Parts, out: Path) -> None:
    out.mkdir()


def a_file(_: Parts, out: Path) -> None:
    out.write_text("")


def mixed_units(parts: Parts, out: Path) -> None:
    put(parts, "full-1", out / "epoch_1")
    put(parts, "full-2", out / "step_500")
    card(out, parts.base)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (two_runs, "holds several trainings (first, second); point to one of them."),
        (two_models, "holds several models (dpo, sft) in unknown order"),
        (two_adapters, "checkpoint-10 holds several models (one, two); choose"),
        (no_base, "names the base model; name the base with --base."),
        (base_elsewhere, "names the base /data/models/tiny, which is not on this machine; name the base with --base."),
        (two_bases, "names several bases"),
        (quantized_base, "give its plain weights, for example --base unsloth/tiny."),
        (base_on_the_hub, "names a base that cannot be used; name another with --base: somebody/tiny is not on this"),
        (pickled, "pickled"),
        (shards_only, "checkpoint-10"),
        (no_config, "config.json"),
        (nothing, "out is empty; name the output folder of a training."),
        (a_file, "is a file; name the output folder of a training."),
        (lambda *_: None, "does not exist; name the output folder of a training."),
        (mixed_units, "names some checkpoints by steps and some by epochs (epoch_1, step_500)"),
    ],
)
def test_a_folder_that_cannot_be_read_in_one_way_is_one_sentence(
    parts: Parts,
    studies: Path,
    new: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    build: Callable[[Parts, Path], None],
    message: str,
) -> None:
    build(parts, tmp_path / "out")
    assert message in refused(studies, capsys, new(tmp_path / "out"))


def test_no_folder_and_no_checkpoints(parts: Parts, studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["new", "mine", "--data", str(parts.data)])
    assert "No checkpoints are named" in refused(studies, capsys, code)


def test_a_damaged_log_costs_the_curve_only(
    parts: Parts, studies: Path, new: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trainer(parts, tmp_path / "out")
    for place in (folder, folder / "checkpoint-100"):
        (place / "trainer_state.json").write_text('{"global_step": 10')
    assert new(folder) == 0
    output = capsys.readouterr()
    assert "trainer_state.json is damaged (it cannot be read as JSON" in output.err
    assert "curve " not in output.out
    assert [checkpoint.label for checkpoint in made(studies).checkpoints] == ["step 10", "step 100"]


def test_a_damaged_checkpoint_stays_and_the_others_work(
    parts: Parts, studies: Path, new: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trainer(parts, tmp_path / "out")
    weights = folder / "checkpoint-10" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert new(folder) == 2
    assert "1 of 2 checkpoints cannot be used" in capsys.readouterr().err
    assert [checkpoint.label for checkpoint in made(studies).checkpoints] == ["epoch 1", "epoch 10"]
