"""Output folders as trainers leave them: tiny real models, and the small files that lie beside them."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.fake_texts import fake_sample
from tests.tiny import tiny_model

PER_EPOCH = 10


@dataclass(frozen=True)
class Parts:
    """Models to build folders of: `base`, two full fine-tunes, two adapters (`named` in folders of their own name)."""

    folder: Path

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def bert(self) -> Path:
        return self.folder / "bert"

    @property
    def data(self) -> Path:
        return self.folder / "reviews.csv"


def make_parts(folder: Path) -> Parts:
    """The models, once for many folders."""
    tiny_model(folder / "base")
    tiny_model(folder / "bert", family="bert")
    for seed in (1, 2, 3):
        tiny_model(folder / f"full-{seed}", seed=seed)
        tiny_model(folder / f"head-{seed}", seed=seed, family="bert")
        tiny_model(folder / f"causal-head-{seed}", seed=seed, family="gpt2-classifier")
        _adapter(folder, seed)
    sample = fake_sample(60)
    pd.DataFrame({"text": sample.text, "label": sample.label}).to_csv(folder / "reviews.csv", index=False)
    return Parts(folder)


def _adapter(folder: Path, seed: int) -> None:
    """An adapter with weights, under PEFT's usual name and under one of its own."""
    for name in ("default", "mine"):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(folder / "base")
        config = LoraConfig(
            r=2, target_modules=["c_attn"], init_lora_weights=False, fan_in_fan_out=True, task_type="CAUSAL_LM"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT asks transformers for what it renames
            get_peft_model(model, config, adapter_name=name).save_pretrained(str(folder / f"{name}-{seed}"))
        for file in (folder / f"{name}-{seed}").rglob("README.md"):
            file.unlink()


def put(parts: Parts, model: str, place: Path) -> Path:
    """A copy of a model at a place."""
    shutil.copytree(parts.folder / model, place, dirs_exist_ok=True)
    return place


def state(place: Path, step: int, **more: object) -> None:
    """The trainer_state.json of a step, as Trainer writes it."""
    logged = [
        {"step": s, "epoch": s / PER_EPOCH, "loss": 2 / s, "learning_rate": 1e-3, "grad_norm": 1.0}
        for s in range(5, step + 1, 5)
    ]
    logged.append({"step": step, "epoch": step / PER_EPOCH, "eval_loss": 1.5, "eval_runtime": 0.1})
    content = {"global_step": step, "epoch": step / PER_EPOCH, "log_history": logged, "max_steps": 20} | more
    place.mkdir(parents=True, exist_ok=True)
    (place / "trainer_state.json").write_text(json.dumps(content, indent=2))


def save(parts: Parts, model: str, out: Path, step: int, **more: object) -> Path:
    """A checkpoint-N of a Trainer with what lies in it beside the weights."""
    place = put(parts, model, out / f"checkpoint-{step}")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (place / name).write_bytes(b"not read")
    state(place, step, **more)
    return place


def card(place: Path, base: Path | str, more: str = "") -> None:
    """A model card, as Trainer, TRL, PEFT and axolotl write one."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "README.md").write_text(f"---\nlibrary_name: transformers\nbase_model: {base}\n{more}---\n\n# Model\n")


def trainer(parts: Parts, out: Path) -> Path:
    """Full fine-tuning with transformers 5: the base stands in the model card alone, the last model is saved again."""
    save(parts, "full-1", out, 10)
    save(parts, "full-2", out, 100)
    put(parts, "full-2", out)
    state(out, 100)
    card(out, parts.base, "tags:\n- generated_from_trainer\n")
    (out / "runs" / "Nov27_09-00").mkdir(parents=True)
    return out


def trainer_best(parts: Parts, out: Path) -> Path:
    """load_best_model_at_end: the last model is the best, and a copy of it lies beside the numbered ones."""
    named = {"best_global_step": 10, "best_model_checkpoint": f"{out}/checkpoint-10"}
    for step, model in ((5, "full-3"), (10, "full-1"), (100, "full-2")):
        place = save(parts, model, out, step, **named)
        config = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps(config | {"_name_or_path": str(parts.base)}))
    put(parts, "full-1", out)
    put(parts, "full-1", out / "checkpoint-best")
    state(out / "checkpoint-best", 10)
    return out


def trl(parts: Parts, out: Path) -> Path:
    """SFT with an adapter: the last one is saved in the folder too, and differs where training went on."""
    save(parts, "default-1", out, 5)
    save(parts, "default-2", out, 15)
    put(parts, "default-3", out)
    card(out, "somebody/on-the-hub", "tags:\n- trl\n- sft\n")
    return out


def peft(parts: Parts, out: Path) -> Path:
    """An adapter called "mine" lies in a folder of that name."""
    for step, seed in ((10, 1), (20, 2)):
        save(parts, f"mine-{seed}", out, step)
    put(parts, "mine-2", out)
    return out


def axolotl(parts: Parts, out: Path) -> Path:
    """Adapters, the last one, and the base with it merged in."""
    save(parts, "default-1", out, 10)
    save(parts, "default-2", out, 20)
    put(parts, "default-2", out)
    put(parts, "full-3", out / "merged")
    card(out, parts.base, "tags:\n- axolotl\n")
    return out


def axolotl_full(parts: Parts, out: Path) -> Path:
    """Full fine-tuning; its own YAML file names the base, relative to where it ran."""
    save(parts, "full-1", out, 10)
    save(parts, "full-2", out, 20)
    (out / "axolotl_config.yaml").write_text("base_model: parts/base\nnum_epochs: 2\noutput_dir: ./out\n")
    shutil.copytree(parts.base, out.parent / "parts" / "base")
    return out


def unsloth(parts: Parts, out: Path) -> Path:
    """The working folder of a notebook."""
    save(parts, "default-1", out / "outputs", 30)
    save(parts, "default-2", out / "outputs", 60)
    put(parts, "default-2", out / "lora_model")
    put(parts, "full-3", out / "merged_16bit")
    return out


def llama_factory(parts: Parts, out: Path) -> Path:
    """saves/MODEL/full/sft, one level off, with its arguments as YAML and its own log."""
    run = out / "tiny" / "full" / "sft"
    save(parts, "full-1", run, 9)
    save(parts, "full-2", run, 10)
    put(parts, "full-2", run)
    (run / "training_args.yaml").write_text(f"finetuning_type: full\nmodel_name_or_path: {parts.base}\nstage: sft\n")
    (run / "trainer_log.jsonl").write_text('{"current_steps": 5, "loss": 1.0}\n')
    (run / "all_results.json").write_text('{"epoch": 1.0, "train_loss": 0.5}')
    return out


def fsdp(parts: Parts, out: Path) -> Path:
    """Sharded checkpoints, and the last model whole."""
    for step in (10, 20):
        place = out / f"checkpoint-{step}"
        (place / "pytorch_model_fsdp_0").mkdir(parents=True)
        (place / "pytorch_model_fsdp_0" / "__0_0.distcp").write_bytes(b"shard")
        state(place, step)
    put(parts, "full-2", out)
    card(out, parts.base)
    return out


def deepspeed(parts: Parts, out: Path) -> Path:
    """Weights beside ZeRO's own shards."""
    for step, model in ((10, "full-1"), (20, "full-2")):
        place = save(parts, model, out, step)
        (place / f"global_step{step}").mkdir()
        (place / f"global_step{step}" / "mp_rank_00_model_states.pt").write_bytes(b"shard")
        (place / "latest").write_text(f"global_step{step}")
        (place / "zero_to_fp32.py").write_text("")
    card(out, parts.base)
    return out


def verl(parts: Parts, out: Path) -> Path:
    """Actor and critic of each step, weights in Hugging Face format below."""
    for step, model in ((8, "full-1"), (16, "full-2"), (120, "full-3")):
        place = put(parts, model, out / f"global_step_{step}" / "actor" / "huggingface")
        config = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps(config | {"_name_or_path": str(parts.base)}))
        (place.parent / "model_world_size_1_rank_0.pt").write_bytes(b"shard")
        put(parts, "full-1", out / f"global_step_{step}" / "critic" / "huggingface")
    (out / "latest_checkpointed_iteration.txt").write_text("120")
    return out


def accelerate(parts: Parts, out: Path) -> Path:
    """A loop of one's own with a folder an epoch; nothing says more than the names."""
    for epoch, model in ((2, "full-2"), (10, "full-3"), (1, "full-1")):
        put(parts, model, out / f"epoch_{epoch}")
    (out / "args.json").write_text(json.dumps({"model_args": {"model_name_or_path": "../base"}}))
    shutil.copytree(parts.base, out.parent / "base")
    return out


def steps(parts: Parts, out: Path) -> Path:
    """Steps within epochs, and a last one by name."""
    put(parts, "full-1", out / "epoch_1" / "step-100")
    put(parts, "full-2", out / "epoch_2" / "step-50")
    put(parts, "full-3", out / "final")
    card(out, parts.base)
    return out


def alone(parts: Parts, out: Path) -> Path:
    """One adapter and nothing else."""
    return put(parts, "default-1", out)


def only_best(parts: Parts, out: Path) -> Path:
    """The best checkpoint and nothing else."""
    put(parts, "full-1", out / "best")
    card(out, parts.base)
    return out


def classifier(parts: Parts, out: Path) -> Path:
    """An encoder with a classification head, one checkpoint an epoch."""
    save(parts, "head-1", out, 10)
    save(parts, "head-2", out, 20)
    put(parts, "head-2", out)
    card(out, parts.bert)
    return out


def causal_classifier(parts: Parts, out: Path) -> Path:
    """A causal model with a classification head, whose rows the config names."""
    for step, model in ((10, "causal-head-1"), (20, "causal-head-2")):
        place = save(parts, model, out, step)
        config = json.loads((place / "config.json").read_text())
        named = {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}
        (place / "config.json").write_text(json.dumps(config | named))
    card(out, parts.base)
    return out


@dataclass(frozen=True)
class Layout:
    """A folder, the labels of its checkpoints in order, whether a curve is there, and what the notes say."""

    build: Callable[[Parts, Path], Path]
    labels: tuple[str, ...]
    curve: bool = True
    notes: tuple[str, ...] = ()


LAYOUTS = (
    Layout(trainer, ("epoch 1", "epoch 10"), notes=("left out final: it has the weights of epoch 10.",)),
    Layout(
        trainer_best,
        ("step 5", "step 10", "step 100"),
        notes=(
            "left out checkpoint-best: it has the weights of step 10.",
            "left out final: it has the weights of step 10.",
        ),
    ),
    Layout(trl, ("step 5", "step 15", "final")),
    Layout(peft, ("epoch 1", "epoch 2"), notes=("left out mine: it has the weights of epoch 2.",)),
    Layout(
        axolotl,
        ("epoch 1", "epoch 2"),
        notes=(
            "left out final: it has the weights of epoch 2.",
            "left out merged: it is the last adapter, merged.",
        ),
    ),
    Layout(axolotl_full, ("epoch 1", "epoch 2")),
    Layout(
        unsloth,
        ("epoch 3", "epoch 6"),
        notes=(
            "left out lora_model: it has the weights of epoch 6.",
            "left out merged_16bit: it is the last adapter, merged.",
        ),
    ),
    Layout(llama_factory, ("step 9", "step 10"), notes=("left out final: it has the weights of step 10.",)),
    Layout(fsdp, ("final",), curve=False, notes=("left out checkpoint-10: ", "left out checkpoint-20: ")),
    Layout(deepspeed, ("epoch 1", "epoch 2")),
    Layout(verl, ("step 8", "step 16", "step 120"), curve=False),
    Layout(accelerate, ("epoch 1", "epoch 2", "epoch 10"), curve=False),
    Layout(steps, ("epoch 1, step 100", "epoch 2, step 50", "final"), curve=False),
    Layout(alone, ("final",), curve=False),
    Layout(only_best, ("best",), curve=False),
    Layout(causal_classifier, ("epoch 1", "epoch 2")),
    Layout(classifier, ("epoch 1", "epoch 2"), notes=("left out final: it has the weights of epoch 2.",)),
)
