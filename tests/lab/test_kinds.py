"""Contrasts, texts, chats and positions on real checkpoints, against plain loops of transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel, AutoTokenizer

from backend import wiring
from backend.__main__ import main
from backend.analyses import direction
from backend.caching.cache import Cache
from backend.errors import PromptError, StudyError, UndefinedError
from backend.lab.lab import Lab
from backend.lab.pinning import pin
from backend.models.local import LocalModels
from backend.study.config import load_study
from backend.study.pinned import PinnedStudy
from backend.training.local_autoencoders import LocalAutoencoders
from tests.tiny import rewrite, tiny_study

WORDS = 'label_words = ["negative", "positive"]\nseparator = " "\n'
TEMPLATE = 'template = "Review: {text} Sentiment:"\n'
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BOS = "{{ bos_token }}" + CHATML
FAMILIES = ["gpt2", "llama", "bert"]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    models = LocalModels(Cache(tmp_path / "cache"))
    return Lab(Cache(tmp_path / "cache"), models, LocalAutoencoders(models))


def contrast(folder: Path, family: str = "gpt2", more: str = "") -> Path:
    """A study of labels without answers."""
    tiny_study(folder, (1, 2), family)
    rewrite(folder, WORDS, more)
    rewrite(folder, "sample = 20", 'sample = 20\nlabel = "label"')
    return folder


def chat(folder: Path, source: str = CHATML, more: str = "", tokens: int = 64) -> Path:
    """A contrast whose prompts are chats; the tokenizers have the template and its special tokens."""
    contrast(folder, "gpt2", more)
    rewrite(folder, TEMPLATE, "")
    rewrite(folder, "max_tokens = 48", f"max_tokens = {tokens}")
    messages = '[[prompt.messages]]\nrole = "system"\ncontent = "Judge films."\n'
    messages += '[[prompt.messages]]\nrole = "user"\ncontent = "Review: {text}"\n[training]'
    rewrite(folder, "[training]", messages)
    for place in ("base", "checkpoints/epoch-1", "checkpoints/epoch-2"):
        tokenizer = AutoTokenizer.from_pretrained(folder / place)
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "bos_token": "<s>"})
        tokenizer.chat_template = source
        tokenizer.save_pretrained(folder / place)
        _grow(folder / place, len(tokenizer))
    return folder


def _grow(place: Path, size: int) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(place)
    torch.manual_seed(0)
    model.resize_token_embeddings(size)
    model.save_pretrained(place)


def opened(folder: Path, lab: Lab) -> PinnedStudy:
    return pin(load_study(folder), lab)


def plain(place: str, prompts: list[list[int]]) -> list[np.ndarray]:
    """Residuals of each prompt at every block's entrance and every token, one prompt at a time."""
    model = AutoModel.from_pretrained(place, dtype=torch.float32).requires_grad_(False)
    return [
        torch.stack(model(torch.tensor([ids]), output_hidden_states=True).hidden_states[:-1])[:, 0].numpy()
        for ids in prompts
    ]


def inside(tokenizer: object, prompt: str, text: str, special: bool = True) -> tuple[list[int], list[int]]:
    """The ids of a prompt, and the tokens that hold characters of its text."""
    made = tokenizer(prompt, return_offsets_mapping=True, add_special_tokens=special)  # type: ignore[operator]
    start = prompt.index(text)
    end = start + len(text)
    places = [t for t, (a, b) in enumerate(made["offset_mapping"]) if a < end and b > start and a < b]
    return made["input_ids"], places


def close(found: np.ndarray, expected: list[np.ndarray]) -> None:
    reference = np.stack(expected)
    np.testing.assert_allclose(found[:, : reference.shape[1]], reference, atol=1e-3 * np.abs(reference).max())


@pytest.mark.parametrize("family", [*FAMILIES, "mixtral"])
@pytest.mark.parametrize("position", ["last", "text_end", "text_mean"])
def test_a_contrast_is_read_where_a_plain_loop_reads_it(tmp_path: Path, lab: Lab, family: str, position: str):
    study = opened(contrast(tmp_path / "study", family, f'position = "{position}"\n'), lab)
    assert not study.prompts.asks and study.prompts.classes == 2 and study.words == ("label 0", "label 1")
    assert not study.answering and len(study.checkpoints) == 3
    rows = [i for i, cut in enumerate(study.prompts.truncated) if not cut][:8]
    assert len(rows) > 3
    for checkpoint in study.checkpoints[:2]:
        tokenizer = AutoTokenizer.from_pretrained(str(checkpoint.ref.path))
        texts = [study.sample.text[i] for i in rows]
        made = [inside(tokenizer, f"Review: {text} Sentiment:", text) for text in texts]
        states = plain(str(checkpoint.ref.path), [ids for ids, _ in made])
        ends = {"last": [0] if family == "bert" else [-1], "text_end": None, "text_mean": None}[position]
        expected = [
            state[:, ends or (places if position == "text_mean" else places[-1:])].mean(axis=1)
            for state, (_, places) in zip(states, made, strict=True)
        ]
        close(lab.readout(checkpoint, study.prompts).residuals[rows], expected)


@pytest.mark.parametrize("family", ["gpt2", "llama", "mixtral"])
def test_the_first_written_token_is_each_models_own(tmp_path: Path, lab: Lab, family: str):
    from transformers import AutoModelForCausalLM

    study = opened(contrast(tmp_path / "study", family, 'position = "generated"\n'), lab)
    written = set()
    for checkpoint in study.checkpoints:
        place = str(checkpoint.ref.path)
        model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).requires_grad_(False)
        prompts = [list(ids) for ids in study.prompts.token_ids]
        chosen = [int(model(torch.tensor([ids])).logits[0, -1].argmax()) for ids in prompts]
        written.add(tuple(chosen))
        states = plain(place, [[*ids, token] for ids, token in zip(prompts, chosen, strict=True)])
        close(lab.readout(checkpoint, study.prompts).residuals, [state[:, -1] for state in states])
    assert len(written) > 1


def test_an_encoder_writes_no_token(tmp_path: Path, lab: Lab):
    with pytest.raises(StudyError, match="but an encoder writes no tokens"):
        opened(contrast(tmp_path / "study", "bert", 'position = "generated"\n'), lab)


def test_an_encoder_is_read_at_its_first_special_token_in_a_chat_too(tmp_path: Path, lab: Lab):
    """A chat template prints its special tokens itself, and few print that of an encoder."""
    folder = contrast(tmp_path / "study", "bert")
    rewrite(folder, TEMPLATE, "")
    rewrite(folder, "[training]", '[[prompt.messages]]\nrole = "user"\ncontent = "{text}"\n[training]')

    def render(source: str) -> None:
        for place in ("base", "checkpoints/epoch-1", "checkpoints/epoch-2"):
            tokenizer = AutoTokenizer.from_pretrained(folder / place)
            mark = ("Review", tokenizer.convert_tokens_to_ids("Review"))
            tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="Review $A", special_tokens=[mark])
            tokenizer.chat_template = source
            tokenizer.save_pretrained(folder / place)

    render(CHATML)
    with pytest.raises(PromptError, match="base does not begin a prompt with Review, where an encoder is read; add it"):
        opened(folder, lab)
    render("Review" + CHATML)
    study = opened(folder, lab)
    (state,) = plain(str(study.base.ref.path), [list(study.prompts.token_ids[0])])
    close(lab.readout(study.base, study.prompts).residuals[:1], [state[:, 0]])


@pytest.mark.parametrize("position", ["last", "text_end", "text_mean"])
@pytest.mark.parametrize("source", [CHATML, BOS])
def test_a_chat_is_rendered_and_tokenized_as_transformers_does(tmp_path: Path, lab: Lab, source: str, position: str):
    study = opened(chat(tmp_path / "study", source, f'position = "{position}"\n'), lab)
    checkpoint = study.checkpoints[1]
    tokenizer = AutoTokenizer.from_pretrained(str(checkpoint.ref.path))
    rows = [i for i, cut in enumerate(study.prompts.truncated) if not cut][:8]
    assert len(rows) > 3
    expected = []
    for i in rows:
        text = study.sample.text[i]
        messages = [{"role": "system", "content": "Judge films."}, {"role": "user", "content": f"Review: {text}"}]
        whole = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids, places = inside(tokenizer, rendered, text, special=False)
        assert ids == whole and whole.count(tokenizer.bos_token_id) == ("bos" in source)
        seen = list(study.prompts.token_ids[i])
        assert seen == (whole[: places[-1] + 1] if position == "text_end" else whole)
        (state,) = plain(str(checkpoint.ref.path), [whole])
        expected.append(state[:, {"last": [-1], "text_end": places[-1:], "text_mean": places}[position]].mean(axis=1))
    close(lab.readout(checkpoint, study.prompts).residuals[rows], expected)


def test_a_chat_that_is_too_long_loses_only_text(tmp_path: Path, lab: Lab):
    study = opened(chat(tmp_path / "study", tokens=30), lab)
    ids, reader = study.prompts.token_ids, study.readers.first
    before, after = (reader.tokenizer.encode(words, add_special_tokens=False).ids for words in reader.spec.pieces)
    assert study.prompts.truncated.any() and max(map(len, ids)) <= 30
    assert {one[: len(before) - 1] for one in ids} == {tuple(before[:-1])}  # the last one may join the text
    assert {one[-len(after) :] for one in ids} == {tuple(after)}


def test_label_words_answer_after_the_generation_prompt(tmp_path: Path, lab: Lab):
    folder = chat(tmp_path / "study", more=WORDS, tokens=60)
    study = opened(folder, lab)
    checkpoint = study.base
    from transformers import AutoModelForCausalLM

    place = str(checkpoint.ref.path)
    model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(place)
    logits = lab.readout(checkpoint, study.prompts).logits
    for i in [i for i, cut in enumerate(study.prompts.truncated) if not cut][:5]:
        messages = [{"role": "system", "content": "Judge films."}]
        messages += [{"role": "user", "content": f"Review: {study.sample.text[i]}"}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        words = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in ("negative", "positive")]
        expected = model(torch.tensor([ids])).logits[0, -1, words].numpy()
        np.testing.assert_allclose(logits[i], expected, atol=1e-3 * np.abs(expected).max())


def test_the_chat_template_is_found_in_every_file(tmp_path: Path, lab: Lab):
    folder = chat(tmp_path / "study")
    expected = opened(folder, lab).prompts.digest
    for place in ("base", "checkpoints/epoch-1", "checkpoints/epoch-2"):
        (folder / place / "chat_template.jinja").unlink()
    config = folder / "base" / "tokenizer_config.json"
    named = [{"name": "tools", "template": "x"}, {"name": "default", "template": CHATML}]
    for value in (CHATML, named):
        config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": value}))
        assert opened(folder, lab).prompts.digest == expected
    raw = json.loads(config.read_text())
    del raw["chat_template"]
    config.write_text(json.dumps(raw))
    with pytest.raises(PromptError, match="has no chat template"):
        opened(folder, lab)
    (folder / "base" / "chat_template.json").write_text(json.dumps({"chat_template": CHATML}))
    assert opened(folder, lab).prompts.digest == expected


def test_a_base_without_a_template_reads_that_of_its_checkpoints(tmp_path: Path, lab: Lab):
    folder = chat(tmp_path / "study")
    own = opened(folder, lab)
    assert not own.warnings
    (folder / "base" / "chat_template.jinja").unlink()
    borrowed = opened(folder, lab)
    assert borrowed.prompts.digest == own.prompts.digest
    lender = borrowed.checkpoints[1].label
    assert borrowed.warnings == (
        f"Without a chat template of its own, the prompts are rendered by that of {lender}: base; save "
        "chat_template.jinja with the tokenizer to change this.",
    )


def test_check_says_whose_chat_template_is_borrowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("LAYERSHIFT_CACHE", str(tmp_path / "cache"))
    wiring.open_lab.cache_clear()
    folder = chat(tmp_path / "study")
    assert main(["check", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "kind         " in out and "called" in out and "<|im_start|>" in out and "warning" not in out
    (folder / "base" / "chat_template.jinja").unlink()
    assert main(["check", str(folder)]) == 0
    borrowed = "Without a chat template of its own, the prompts are rendered by that of epoch 1: base; save "
    assert f"warning      {borrowed}" in capsys.readouterr().out
    assert main(["export", str(folder), "--out", str(tmp_path / "out"), "--only", "weights"]) == 0
    (warning,) = json.loads((tmp_path / "out/manifest.json").read_text())["warnings"]
    assert warning.startswith(borrowed)
    wiring.open_lab.cache_clear()


def test_a_template_that_refuses_its_messages_says_so(tmp_path: Path, lab: Lab):
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}" + CHATML
    with pytest.raises(PromptError, match=r"cannot render prompt.messages \(No system role\); change the roles"):
        opened(chat(tmp_path / "study", refuses), lab)
    with pytest.raises(PromptError, match=r"must print \{text\} once"):
        opened(chat(tmp_path / "other", "Hello"), lab)


def test_texts_without_labels_are_one_class(tmp_path: Path, lab: Lab):
    folder = tiny_study(tmp_path / "study", (1,))
    rewrite(folder, WORDS, "")
    pd.read_csv(folder / "reviews.csv")[["text"]].to_csv(folder / "reviews.csv", index=False)
    study = opened(folder, lab)
    assert study.study.kind == "texts" and study.words == ("all texts",) and study.prompts.classes == 1
    with pytest.raises(UndefinedError, match=r"add dataset\.label"):
        direction.recipe(direction.Query(study.base, study.base, study.prompts), lab)
