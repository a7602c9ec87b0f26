"""Finding a checkpoint's files: local, sharded, adapters, the hub's cache; and what is missing, in one sentence."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import GPT2LMHeadModel

from backend.caching.progress import silent
from backend.errors import CheckpointError
from backend.models.files import downloads
from backend.models.files.locate import locate, tensors
from backend.models.local import LocalModels
from backend.study.config import CheckpointRef
from tests.models.random_adapters import adapter_on
from tests.models.random_models import LABEL_TOKENS, Pin, make_prompts, random_model, ref, save


def test_a_single_file_and_shards(gpt2: Path, tmp_path: Path):
    one = locate(ref(gpt2))
    assert one.weights == (gpt2 / "model.safetensors",)
    assert not one.adapter
    assert one.commit is None
    sharded = save(random_model("gpt2"), tmp_path / "shards", max_shard_size="20KB")
    several = locate(ref(sharded))
    assert len(several.weights) > 2
    assert {(e.name, e.shape) for e in tensors(several)} == {(e.name, e.shape) for e in tensors(one)}


def test_a_missing_shard_is_counted(tmp_path: Path):
    folder = save(random_model("gpt2"), tmp_path / "shards", max_shard_size="20KB")
    shards = locate(ref(folder)).weights
    shards[1].unlink()
    with pytest.raises(CheckpointError, match=f"lacks 1 of {len(shards)} weight files .first: {shards[1].name}"):
        locate(ref(folder))


def test_shards_of_another_save_are_noticed(tmp_path: Path):
    folder = save(random_model("gpt2"), tmp_path / "shards", max_shard_size="20KB")
    first, second = locate(ref(folder)).weights[:2]
    second.write_bytes(first.read_bytes())
    with pytest.raises(CheckpointError, match="come from different saves"):
        locate(ref(folder))


def test_an_index_that_is_no_index(tmp_path: Path):
    folder = save(random_model("gpt2"), tmp_path / "shards", max_shard_size="20KB")
    index = folder / "model.safetensors.index.json"
    for text, message in (("{", "cannot be read as JSON"), ("[]", "is not a JSON object"), ("{}", "lists no weights")):
        index.write_text(text)
        with pytest.raises(CheckpointError, match=message):
            locate(ref(folder))


@pytest.mark.parametrize(
    ("left", "message"),
    [
        (None, "does not exist; train it with"),
        ((), "is empty"),
        (("pytorch_model.bin",), "pickled weights only"),
        (("model.gguf",), "GGUF weights only"),
        (("model.safetensors",), "has weights but no config.json"),
        (("adapter_config.json", "adapter_model.bin"), "pickled weights only"),
        (("adapter_config.json", "model.safetensors"), "remove that file if the adapter is merged"),
    ],
)
def test_what_is_no_checkpoint_is_said_in_a_sentence(tmp_path: Path, left: tuple[str, ...] | None, message: str):
    folder = tmp_path / "epoch-1"
    if left is not None:
        folder.mkdir()
        for name in left:
            (folder / name).write_text("{}")
    with pytest.raises(CheckpointError, match=message) as caught:
        locate(ref(folder))
    assert str(caught.value).count("\n") == 0
    assert str(caught.value).endswith(".")


@pytest.fixture
def snapshot(gpt2: Path, tmp_path: Path) -> Path:
    """A repository with two epochs as the hub's cache lays it out."""
    place = tmp_path / "models--a--b" / "snapshots" / ("c0ffee" * 7)[:40]
    for name in ("epoch-1", "epoch-2"):
        (place / name).mkdir(parents=True)
        for file in gpt2.iterdir():
            (place / name / file.name).write_bytes(file.read_bytes())
    return place


def test_what_the_hub_left_here_needs_no_network(snapshot: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def download(repo: str, dry_run: bool = False, **options: object) -> object:
        asked.append((repo, options))
        return [] if dry_run else str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = locate(CheckpointRef(label="epoch 2", repo="a/b", subfolder="epoch-2", revision="main"))
    assert found.folder == snapshot / "epoch-2"
    assert found.commit == snapshot.name
    (repo, options), *more = asked
    assert more == []
    assert (repo, options["revision"], options["local_files_only"]) == ("a/b", "main", True)
    assert "epoch-2/model*.safetensors" in json.dumps(options["allow_patterns"])
    assert options["ignore_patterns"] == ["epoch-2/*/*"]
    with pytest.raises(CheckpointError, match="has no folder epoch-3"):
        locate(CheckpointRef(label="epoch 3", repo="a/b", subfolder="epoch-3"))


def test_what_is_not_here_is_downloaded(snapshot: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def download(_repo: str, local_files_only: bool, **_options: object) -> str:
        asked.append(local_files_only)
        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert locate(CheckpointRef(repo="a/b", subfolder="epoch-1")).folder == snapshot / "epoch-1"
    assert asked == [True, False]


@pytest.mark.parametrize(
    ("files", "subfolder", "says"),
    [
        (("pytorch_model.bin",), None, "a/b has pickled weights only (pytorch_model.bin), which can run code when"),
        (
            ("pytorch_model-00001-of-00002.bin", "README.md"),
            None,
            """t.GPT2LMHeadModel.from_pretrained('"'"'a/b'"'"').save_pretrained("OUT")""",
        ),
        (
            ("sub/adapter_model.bin", "pytorch_model.bin"),
            "sub",
            "adapter_model.bin'\"'\"', weights_only=True)",
        ),
        (("model.gguf",), None, "holds no weights"),
        (None, None, "holds no weights"),
    ],
)
def test_a_repository_of_pickles_says_so(
    files: tuple[str, ...] | None, subfolder: str | None, says: str, gpt2: Path, monkeypatch: pytest.MonkeyPatch
):
    downloads._every_name.cache_clear()
    (gpt2 / "model.safetensors").unlink()
    (gpt2 / "sub").mkdir()
    (gpt2 / "sub" / "config.json").write_bytes((gpt2 / "config.json").read_bytes())

    def download(_repo: str, dry_run: bool = False, **_options: object) -> object:
        if dry_run and files is None:
            raise LocalEntryNotFoundError("no network")
        return [SimpleNamespace(filename=name) for name in files or ()] if dry_run else str(gpt2)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(CheckpointError) as caught:
        locate(CheckpointRef(repo="a/b", subfolder=subfolder))
    assert says in str(caught.value) and str(caught.value).endswith(".")


def name_weights(folder: Path, name: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"transformers_weights": name}))


def test_the_weights_that_the_config_names_are_opened(gpt2: Path, tmp_path: Path, models: LocalModels, pin: Pin):
    other = save(random_model("gpt2", seed=3), tmp_path / "other")
    (other / "model.safetensors").rename(gpt2 / "second.safetensors")
    before = models.fingerprint(ref(gpt2), ref(gpt2))
    name_weights(gpt2, "second.safetensors")
    assert locate(ref(gpt2)).weights == (gpt2 / "second.safetensors",)
    assert models.fingerprint(ref(gpt2), ref(gpt2)) != before
    prompts, model = make_prompts([9, 4]), GPT2LMHeadModel.from_pretrained(gpt2).eval()
    found = models.readout(pin(gpt2), prompts, silent).logits
    with torch.no_grad():
        plain = [model(torch.tensor([ids])).logits[0, -1, list(LABEL_TOKENS)].numpy() for ids in prompts.token_ids]
    np.testing.assert_allclose(found, np.stack(plain), atol=1e-4)


def test_an_index_that_the_config_names(tmp_path: Path):
    folder = save(random_model("gpt2"), tmp_path / "shards", max_shard_size="20KB")
    (folder / "model.safetensors.index.json").rename(folder / "other.safetensors.index.json")
    name_weights(folder, "other.safetensors.index.json")
    assert len(locate(ref(folder)).weights) > 2


def test_named_weights_are_fetched_from_the_hub(gpt2: Path, monkeypatch: pytest.MonkeyPatch):
    (gpt2 / "model.safetensors").rename(gpt2 / "hidden")
    name_weights(gpt2, "second.safetensors")

    def download(_repo: str, allow_patterns: list[str], **_options: object) -> str:
        if "second.safetensors" in allow_patterns:
            (gpt2 / "hidden").rename(gpt2 / "second.safetensors")
        return str(gpt2)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert locate(CheckpointRef(repo="a/b")).weights == (gpt2 / "second.safetensors",)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "gone.safetensors",
            "lacks gone.safetensors, which config.json names as the weights (transformers_weights)",
        ),
        ("pytorch_model.bin", "for that is no safetensors file in the folder; take the key out"),
        ("../model.safetensors", "for that is no safetensors file in the folder"),
        (3, "cannot be read from 3, which config.json names"),
    ],
)
def test_named_weights_that_cannot_be_opened(name: object, says: str, gpt2: Path):
    name_weights(gpt2, name)
    with pytest.raises(CheckpointError) as caught:
        locate(ref(gpt2))
    assert says in str(caught.value)


def test_without_a_network_a_sentence_says_so():
    with pytest.raises(CheckpointError, match="is not on this machine and the hub cannot be reached"):
        locate(CheckpointRef(repo="a/b"))
    with pytest.raises(CheckpointError, match="is not the name of a hub repository"):
        locate(CheckpointRef(repo="a/b/c/d"))


@pytest.mark.parametrize(("place", "subfolder"), [("", "a"), ("", "runs/a"), ("runs", "runs/a"), ("runs/a", "runs/a")])
def test_an_adapter_in_a_sub_folder_has_the_nearest_tokenizer(
    gpt2: Path, tmp_path: Path, models: LocalModels, monkeypatch: pytest.MonkeyPatch, place: str, subfolder: str
):
    """The tokenizer beside it, or else that of the nearest folder around it in the repository, not its base's."""
    root = tmp_path / "models--a--b" / "snapshots" / ("c0ffee" * 7)[:40]
    adapter_on(gpt2, root / subfolder)
    own = json.loads((gpt2 / "tokenizer.json").read_text()) | {"normalizer": {"type": "Lowercase"}}
    known = {name: (gpt2 / name).read_text() for name in ("tokenizer_config.json",)} | {
        "tokenizer.json": json.dumps(own),
        "chat_template.jinja": "{{ messages[0].content }}",
    }
    asked: list[str] = []

    def download(_repo: str, allow_patterns: list[str], **_options: object) -> str:
        """Only what is asked for is there, as on the hub."""
        asked.extend(allow_patterns)
        for name, text in known.items():
            path = f"{place}/{name}" if place else name
            if any(fnmatch(path, pattern) for pattern in allow_patterns):
                (root / path).write_text(text)
        return str(root)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    one, base = CheckpointRef(label="epoch 1", repo="a/b", subfolder=subfolder), ref(gpt2)
    assert models.tokenizer(one, base).normalizer is not None
    assert models.tokenizer(base, base).normalizer is None
    assert models.chat_template(one, base) is not None
    assert not any("safetensors" in pattern and not pattern.startswith(f"{subfolder}/") for pattern in asked)


def test_an_adapter_without_a_tokenizer_in_its_repository_reads_its_bases(
    gpt2: Path, tmp_path: Path, models: LocalModels, monkeypatch: pytest.MonkeyPatch
):
    root = tmp_path / "models--a--b" / "snapshots" / ("c0ffee" * 7)[:40]
    adapter_on(gpt2, root / "a")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(root))
    one, base = CheckpointRef(label="epoch 1", repo="a/b", subfolder="a"), ref(gpt2)
    assert locate(one).outer is None
    assert models.tokenizer(one, base) is models.tokenizer(base, base)
