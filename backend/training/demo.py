"""Rebuild the demo study: `python -m backend.training.demo [--data FOLDER]`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

from backend.errors import LayershiftError
from backend.models.files.locate import TOKENIZER_FILES
from backend.study.config import Study, TrainingSpec, load_study
from backend.study.dataset import read_table
from backend.study.template import columns
from backend.training.finetune import finetune
from backend.training.pretrain import STEPS, VOCABULARY, WINDOW, WINDOWS_PER_STEP, pretrain, small_gpt2

DEMO = Path(__file__).parents[2] / "studies" / "demo"


def build(data: Path | None, folder: Path = DEMO) -> None:
    """Pre-train the base on the texts without labels unless it exists, then fine-tune it as study.toml says.

    Both stages resume after an interruption. `data` is a folder with train.parquet (columns text, label); None uses the
    hub repository in study.toml.
    """
    study = load_study(folder)
    if study.training is None or study.training.sample is None or study.base.path is None:
        raise LayershiftError(f"{folder} is not the demo study; it needs a local base and [training] with sample.")
    source = data / "train.parquet" if data else None
    base = Path(study.base.path)
    if not base.exists():
        _announce("Pre-training the base", STEPS, WINDOWS_PER_STEP)
        spec = TrainingSpec(path=str(source)) if source else study.training
        pretrain(list(read_table(spec)[columns(study.dataset.text)[0]]), base)
    batch = study.training.batch_size
    _announce("Fine-tuning", study.training.epochs * study.training.sample // batch, batch)
    finetune(study, source)
    _without_tokenizers(study)


def _without_tokenizers(study: Study) -> None:
    """Remove the tokenizers beside the checkpoints, to ship a single one: without their own they use the base's."""
    for ref in study.epochs:
        for name in TOKENIZER_FILES:
            (Path(ref.path or "") / name).unlink(missing_ok=True)


def _announce(what: str, steps: int, windows_per_step: int) -> None:
    """Print how long a training takes on this machine, from a timed step of the same model."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model: Any = small_gpt2(0)
    model.to(device)
    ids = torch.randint(VOCABULARY, (windows_per_step, WINDOW), device=device)
    seconds = 0.0
    for _ in range(3 if device.type == "cuda" else 2):  # the last one counts: the first ones also prepare kernels
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        loss.item()
        seconds = (time.perf_counter() - start) * steps
    length = f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.0f} hours"
    sys.stderr.write(f"{what} takes about {length} on this machine ({device.type}); it can be resumed.\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with IMDB's train.parquet; default: the hub")
    try:
        build(parser.parse_args().data)
    except LayershiftError as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; the same command goes on from the state that was saved last.\n")
        sys.exit(130)
