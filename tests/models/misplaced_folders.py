"""Folders without weights of their own, made of a sound checkpoint, and words of the sentence that each gets."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.models.odd_folders import CONFIG, WEIGHTS, Change, Odd


def inside(*places: str, also: tuple[str, ...] = ()) -> Change:
    """The checkpoint moved into these folders below, with the files `also` left where it was."""

    def change(folder: Path) -> None:
        aside = folder.with_name(folder.name + "-aside")
        shutil.move(folder, aside)
        for place in places:
            shutil.copytree(aside, folder / place)
        only(*also)(folder)
        shutil.rmtree(aside)

    return change


def only(*names: str) -> Change:
    """Files of these names, empty, and no weights."""

    def change(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / WEIGHTS).unlink(missing_ok=True)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"")

    return change


def called(name: str) -> Change:
    """The weights under another name."""
    return lambda folder: (folder / WEIGHTS).rename(folder / name)


def a_file(folder: Path) -> None:
    """A safetensors file where the folder was."""
    held = (folder / WEIGHTS).read_bytes()
    shutil.rmtree(folder)
    folder.write_bytes(held)


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def dangling(folder: Path) -> None:
    """The weights as a link to nowhere, as in a copied folder of the hub's cache."""
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("../../blobs/0f3a")


MISPLACED = {
    "a link to nowhere": Odd(dangling, "is a link to ../../blobs/0f3a, which does not exist; copy the folder again"),
    "nothing there": Odd(shutil.rmtree, "does not exist; train it with"),
    "an empty folder": Odd(empty, "is empty; copy the checkpoint there"),
    "a safetensors file": Odd(a_file, "is a file; point to the folder that holds it"),
    "a trainer's output": Odd(
        inside("checkpoint-1000", "checkpoint-500", also=("training_args.bin",)),
        "holds 2 checkpoints (checkpoint-500, checkpoint-1000), not one; name one of them",
    ),
    "a merge of axolotl": Odd(inside("merged"), "but merged in it does; point to"),
    "a step of verl": Odd(inside("actor/huggingface"), "but actor/huggingface in it does; point to"),
    "shards of FSDP": Odd(
        only("pytorch_model_fsdp_0/__0_0.distcp", "optimizer_0/__0_0.distcp"),
        "holds the shards of FSDP (pytorch_model_fsdp_0); merge them with `accelerate merge-weights",
    ),
    "a file of FSDP": Odd(only("pytorch_model_fsdp.bin"), "holds the shards of FSDP (pytorch_model_fsdp.bin)"),
    "shards of DeepSpeed": Odd(
        only("zero_to_fp32.py", "global_step9/mp_rank_00_model_states.pt", "latest"),
        "run `python zero_to_fp32.py . OUT --safe_serialization` in",
    ),
    "a pickle": Odd(only("pytorch_model.bin"), "has pickled weights only (pytorch_model.bin), which can run code"),
    "a pickle of Lightning": Odd(only("epoch=1.ckpt"), "has pickled weights only (epoch=1.ckpt)"),
    "a pickle of fine-tuning by hand": Odd(only("model.pth"), "has pickled weights only (model.pth)"),
    "GGUF": Odd(only("model-q8.gguf"), "has GGUF weights only"),
    "TensorFlow": Odd(only("tf_model.h5"), "has TensorFlow weights only"),
    "the state of a training": Odd(
        only("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"),
        "holds the state of a training (optimizer.pt) and no weights (model.safetensors)",
    ),
    "config and tokenizer only": Odd(only(), "holds no weights (model.safetensors)"),
    "a variant": Odd(called("model.fp16.safetensors"), "holds model.fp16.safetensors, and weights are read from"),
    "another name": Odd(called("pytorch_model.safetensors"), "holds pytorch_model.safetensors, and weights are read"),
    "Mistral's layout": Odd(called("consolidated.safetensors"), "holds weights in another layout (consolidated"),
    "parts without an index": Odd(called("model-00001-of-00002.safetensors"), "without model.safetensors.index.json"),
    "an adapter without a config": Odd(called("adapter_model.safetensors"), "without adapter_config.json"),
    "weights without a config": Odd(lambda folder: (folder / CONFIG).unlink(), "has weights but no config.json"),
}
