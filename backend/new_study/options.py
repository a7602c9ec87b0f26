"""The options of the command `new`, named like the fields of NewStudy."""

from __future__ import annotations

import argparse

from backend.errors import StudyError
from backend.new_study import inputs
from backend.new_study.asked import KINDS

USED = {
    "label": ("answers", "contrast", "ordered"),
    "labels": ("answers", "contrast"),
    "label_words": ("answers",),
    "separator": ("answers",),
}
"""The kinds of studies that an option is for."""
LABEL = "label"


def add_options(sub: argparse.ArgumentParser) -> None:
    """Add the options to the parser of the command."""
    template = inputs.TEMPLATE
    sub.add_argument("name", metavar="NAME", help="name of the study's folder; use letters, digits, - and _")
    sub.add_argument("folder", metavar="FOLDER", nargs="?", help="output folder of a trainer with base and checkpoints")
    sub.add_argument("--base", help="hub repository or local directory of the base model (default: found in FOLDER)")
    sub.add_argument("--checkpoints", nargs="+", help="directories, or a quoted pattern (default: found in FOLDER)")
    sub.add_argument(
        "--data", required=True, help="data file (.parquet, .csv, .jsonl, ...), saved dataset, or hub dataset"
    )
    sub.add_argument("--labels", help="the label values to use, in class order, separated by commas (default: all)")
    sub.add_argument("--split", help="split of a hub dataset or of a saved one (default: test, or the only one)")
    sub.add_argument("--config", help="configuration of a hub dataset that has several, such as sst2 of GLUE")
    sub.add_argument(
        "--text",
        action="append",
        help="column of the texts (default: text); for pairs both, as in --text premise,hypothesis or given twice",
    )
    sub.add_argument("--label", default=LABEL, help="column of the labels (default: label)")
    kinds = "; ".join(f"{kind}: {words}" for kind, words in KINDS.items())
    sub.add_argument("--kind", choices=tuple(KINDS), default="answers", help=f"{kinds} (default: answers)")
    sub.add_argument("--chat", action="store_true", help="the template is the user's message of a chat")
    sub.add_argument("--system", default="", help="the system message of a chat")
    sub.add_argument("--template", help=f'the prompt (default: "{template}"; without answers: the text)')
    sub.add_argument("--separator", help="what stands between prompt and label word (default: found)")
    sub.add_argument("--tokenizer", choices=("own", "base"), help="whose token ids count where they differ")
    sub.add_argument("--label-words", help="one word per class, in class order, separated by commas")
    sub.add_argument("--max-tokens", type=int, help="longest prompt in tokens (default: 256, or what models can read)")
    sub.add_argument("--sample", type=int, help="number of texts to draw, balanced by class (default: up to 200)")
    sub.add_argument("--family", choices=("causal", "encoder"), help="kind of model (default: that of the base)")
    sub.add_argument("--title", help="title shown in the dashboard (default: NAME)")


def check_used(options: argparse.Namespace) -> None:
    """Raise StudyError for an option that the kind and the form of the study do not use."""
    for name, kinds in USED.items():
        option = f"--{name.replace('_', '-')}"
        given = getattr(options, name) not in (None, LABEL if name == "label" else None)
        if given and options.kind not in kinds:
            raise StudyError(
                f"{option} is not used with --kind {options.kind}; leave it out, or choose --kind {' or '.join(kinds)}."
            )
    if options.system and not options.chat:
        raise StudyError("--system is the system message of a chat; add --chat, or leave it out.")
