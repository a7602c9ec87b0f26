"""Encoders: BERT, RoBERTa and DistilBERT, with a classification head and without, against plain transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.caching.progress import silent
from backend.errors import CheckpointError
from backend.models.files.facts import most_positions
from backend.models.files.locate import locate
from backend.models.local import LocalModels
from backend.models.runtime.components import anatomy_of
from tests.models.random_encoders import HEADS, NAMES, encoder, some_prompts
from tests.models.random_models import LAYERS, POSITIONS, WIDTH, Pin, ref, save


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", NAMES)
def test_residuals_and_answers_are_those_of_transformers_one_by_one(
    name: str, head: str, models: LocalModels, pin: Pin, tmp_path: Path
):
    model = encoder(name, head)
    prompts = some_prompts()
    found = models.readout(pin(save(model, tmp_path / "model")), prompts, silent)
    for i, ids in enumerate(prompts.token_ids):
        with torch.no_grad():
            plain = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        expected = torch.stack([one[0, 0] for one in plain.hidden_states]).numpy()
        np.testing.assert_allclose(found.residuals[i], expected, atol=2e-5, rtol=1e-4)
        if head == "ForSequenceClassification":
            np.testing.assert_allclose(found.logits[i], plain.logits[0].numpy(), atol=2e-5, rtol=1e-4)
    assert found.residuals.shape[1] == LAYERS + 1
    if head == "ForSequenceClassification":
        assert found.logits.std() > 0.3
    else:
        assert np.isnan(found.logits).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_head_reads_any_residual(name: str, models: LocalModels, pin: Pin, tmp_path: Path):
    checkpoint, prompts = pin(save(encoder(name, classes=3), tmp_path / "model")), some_prompts(3)
    found = models.readout(checkpoint, prompts, silent)
    again = models.label_logits(found.residuals[:, -1], prompts.label_tokens, checkpoint, None, silent)
    np.testing.assert_allclose(again, found.logits, atol=1e-5)
    text = models.read_text(checkpoint, prompts, 5, silent)
    np.testing.assert_allclose(text.residuals[0], found.residuals[0], atol=2e-5)
    np.testing.assert_allclose(text.label_logits[0, -1], found.logits[0], atol=1e-5)
    assert np.isnan(text.next_probability).all()
    assert text.top_tokens.shape == (len(prompts.token_ids[0]), LAYERS + 1, 0)


@pytest.mark.parametrize("name", NAMES)
def test_every_part_of_a_block_is_named(name: str):
    for head in HEADS:
        components = anatomy_of(encoder(name, head))
        assert len(components.blocks) == LAYERS
        for block in components.blocks:
            named = (block.ln1, block.attn, block.ln2, block.mlp, block.mlp_out)
            parts = [part for part in named if part is not None]
            assert {id(p) for p in block.whole.parameters()} == {id(p) for part in parts for p in part.parameters()}


def test_a_head_of_other_classes_is_an_error(models: LocalModels, pin: Pin, tmp_path: Path):
    checkpoint = pin(save(encoder("Bert", classes=3), tmp_path / "model"))
    assert checkpoint.facts.answers == 3
    with pytest.raises(CheckpointError, match="has a head of 3 classes and the study has 2 label words"):
        models.readout(checkpoint, some_prompts(2), silent)


def test_a_model_without_a_head_answers_nothing(models: LocalModels, pin: Pin, tmp_path: Path):
    checkpoint = pin(save(encoder("Bert", "Model"), tmp_path / "model"))
    assert not checkpoint.facts.has_head
    with pytest.raises(CheckpointError, match="is read as a BertModel, which has no classification head"):
        models.label_logits(np.zeros((2, WIDTH), np.float32), (0, 1), checkpoint, None, silent)


@pytest.mark.parametrize("name", NAMES)
def test_a_classifier_stands_beside_its_headless_base(name: str, models: LocalModels, tmp_path: Path):
    base = ref(save(encoder(name, "Model"), tmp_path / "base"))
    trained = ref(save(encoder(name, seed=1), tmp_path / "trained"), "epoch 1")
    models.check(trained, base)
    other = ref(save(encoder(NAMES[NAMES.index(name) - 1], seed=1), tmp_path / "other"), "epoch 2")
    with pytest.raises(CheckpointError, match="its architecture is"):
        models.check(other, base)


@pytest.mark.parametrize("name", NAMES)
def test_positions(name: str, tmp_path: Path):
    assert most_positions(locate(ref(save(encoder(name), tmp_path / name)))) == POSITIONS


def test_a_head_that_the_file_lacks_is_never_made_up(models: LocalModels, pin: Pin, tmp_path: Path):
    save(encoder("Bert"), tmp_path / "classifier")
    headless = save(encoder("Bert", "Model"), tmp_path / "model")
    (headless / "config.json").write_bytes((tmp_path / "classifier" / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match="lacks the head of a BertForSequenceClassification"):
        models.readout(pin(headless), some_prompts(), silent)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_compared_whatever_head_stands_on_the_body(
    name: str, models: LocalModels, pin: Pin, tmp_path: Path
):
    base, trained = encoder(name, "Model"), encoder(name, seed=1)
    folders = [save(base, tmp_path / "base"), save(trained, tmp_path / "trained")]
    found = models.weight_changes(pin(folders[1], folders[0]), pin(folders[0]), silent)
    before = {key: value for key, value in base.state_dict().items() if value.is_floating_point()}
    assert {one.layer for one in found} == {None, *range(LAYERS)}
    assert len(found) == len(before) - sum("pooler" in key and name == "Roberta" for key in before)
    for one in found:
        old = before[one.name.partition(".")[2]].double().numpy()
        change = trained.state_dict()[one.name].double().numpy() - old
        assert one.relative_change == pytest.approx(np.linalg.norm(change) / np.linalg.norm(old), rel=1e-4)
        assert one.vector == (change.ndim == 1)
        spectral = np.linalg.svd(change.reshape(len(change), -1), compute_uv=False)[0]
        assert one.stable_rank == pytest.approx(np.square(change).sum() / spectral**2, rel=1e-4)
