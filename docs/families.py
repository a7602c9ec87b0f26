"""Write docs/families.md: every supported class against plain transformers, on a tiny random model of each.

python -m docs.families
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from transformers import __version__ as transformers_version

from backend.models.architectures import default_architecture, family_of
from backend.models.class_names import decoders, table

PAGE = Path(__file__).parent / "families.md"
TOLERANCE = 1e-4
ENCODERS = (
    *("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "albert"),
    *("deberta", "deberta-v2", "mpnet", "modernbert"),
)
_HEAD = """# Families

Layershift opens every decoder that transformers implements and TransformerLens has an adapter for, and these encoders.
Nothing is assumed of a family: when a model is opened, one short forward pass checks that its blocks, its halves and
its unembedding give the model's own residuals and logits. What the check does not confirm is refused in one sentence.

The table compares a tiny random model of each class with plain transformers, hooks and numpy (`make families` writes
it). A number is the worst error, relative to the largest reference number; the limit is 1e-4. "refused": the part is
refused for this class, or the whole class on opening if every cell says so. "needs a head": the part reads answers. The
check runs on every checkpoint, because a config may leave the common case.

A decoder that a later TransformerLens maps needs no line here; an encoder needs one row in
`backend/models/architectures.py`. The tests run one class for each kind of layout.

Three things to know:

- Attention that caps its scores (Gemma 2) runs in transformers' eager implementation, as it was trained; it is slower.
- Models for images or sound with a text decoder inside (`...ForConditionalGeneration`) are not supported.
- The blocks of an ALBERT share their weights: residuals differ by layer, and a change of weights is listed once.

"""


def classes() -> list[str]:
    """Return the class of every decoder that scores tokens, and of every encoder that classifies."""
    decoding = [row.tokens for row in decoders().values()]
    return [*decoding, *(default_architecture(name, "ForSequenceClassification") for name in ENCODERS)]


def variants() -> list[str]:
    """Return the other classes: classifiers and bodies of decoders, bodies of encoders."""
    found: list[str] = []
    for row in decoders().values():
        found += [name for name in (row.classes, row.bare) if name]
    return [*found, *(table("MODEL")[name] for name in ENCODERS)]


def main() -> int:
    """Compare every class, write the page, and return 1 if a number is wrong."""
    from tests.contract import PARTS, measured

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    lines = [_HEAD, f"Measured with transformers {transformers_version}.\n"]
    worst = 0.0
    for title, names in (("Language models and classifiers", classes()), ("Other heads and bodies", variants())):
        lines += [f"\n## {title}\n", f"| class | {' | '.join(PARTS)} |", f"|---{'|---' * len(PARTS)}|"]
        for name in names:
            found = measured(name)
            worst = max(worst, *(error for error in found.values() if error is not None), 0.0)
            missing = "refused" if family_of(name, name).has_head else "needs a head"
            cells = (missing if error is None else f"{error:.0e}" for error in found.values())
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
            sys.stdout.write(f"{lines[-1]}\n")
            sys.stdout.flush()
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(f"The worst error is {worst:.1e}.\n")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
