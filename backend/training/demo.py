"""Rebuild all weights of the demo study: `python -m backend.training.demo [--data FOLDER]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from backend.errors import LayershiftError
from backend.study.config import TrainingSpec, load_study
from backend.study.dataset import read_table
from backend.study.template import columns
from backend.training.finetune import finetune
from backend.training.pretrain import pretrain

DEMO = Path(__file__).parents[2] / "studies" / "demo"


def build(data: Path | None, folder: Path = DEMO) -> None:
    """Pre-train the base on the texts without labels unless it exists, then fine-tune it as study.toml says.

    `data` is a folder with train.parquet (columns text, label); None uses the hub repository in study.toml.
    """
    study = load_study(folder)
    if study.training is None or study.base.path is None:
        raise LayershiftError(f"{folder} is not the demo study; it needs a local base and [training].")
    source = data / "train.parquet" if data else None
    base = Path(study.base.path)
    if not base.exists():
        spec = TrainingSpec(path=str(source)) if source else study.training
        pretrain(list(read_table(spec)[columns(study.dataset.text)[0]]), base)
    finetune(study, source)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with IMDB's train.parquet; default: the hub")
    try:
        build(parser.parse_args().data)
    except LayershiftError as error:
        sys.exit(f"{error}")
