"""Write docs/families.md: every supported class against plain transformers, on a tiny random model of each.

python -m docs.families
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
import transformers

from backend.models.architectures import default_architecture, family_of
from backend.models.class_names import adapters, decoders, table

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

Four things to know:

- Attention that caps its scores (Gemma 2) runs in transformers' eager implementation, as it was trained; it is slower.
- Models for images or sound with a text decoder inside (`...ForConditionalGeneration`) are not supported.
- The blocks of an ALBERT share their weights: residuals differ by layer, and a change of weights is listed once.
- A DeBERTa v2 with a convolution (xlarge, xxlarge) adds it between blocks. Its residuals are read; swaps and steering
  are refused.

"""
_SOUGHT = ("SEQ_TO_SEQ_CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "MASKED_LM", "CAUSAL_LM", "CTC", "PRETRAINING")
_ENCODERS, _TWO, _SENSES, _FOREIGN = (
    "Encoders: the table has them with a classification head.",
    "An encoder with a decoder, or a decoder that also reads images or sound: no single stream of text.",
    "Read images or sound, not texts.",
    "Not in transformers: code that a checkpoint brings is never run.",
)


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


def absent() -> dict[str, list[str]]:
    """Return the classes with an adapter in TransformerLens but no row in the table, by the reason."""
    rows = {name.lower() for name in (*classes(), *variants())}
    found: dict[str, list[str]] = {}
    for name in adapters():
        if name.lower() not in rows:
            found.setdefault(_reason(name), []).append(name)
    return found


def _reason(name: str) -> str:
    homes = [home for home in _SOUGHT if name in table(f"MODEL_FOR_{home}").values()]
    if homes[:1] in (["SEQ_TO_SEQ_CAUSAL_LM"], ["IMAGE_TEXT_TO_TEXT"]):
        return _TWO
    if set(homes) & {"MASKED_LM", "CAUSAL_LM"}:
        return _ENCODERS
    return _SENSES if hasattr(transformers, name) else _FOREIGN


def adapters_without_a_row() -> str:
    """Return the section of the page on classes without a row."""
    lines = ["\n## Adapters without a row\n", "TransformerLens has adapters for these classes too.\n"]
    lines += [f"- {reason} {', '.join(f'`{name}`' for name in names)}" for reason, names in sorted(absent().items())]
    return "\n".join(lines)


def main() -> int:
    """Compare every class, write the page, and return 1 if a number is wrong."""
    from tests.contract import PARTS, measured

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    lines = [_HEAD, f"Measured with transformers {transformers.__version__}.\n"]
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
    lines.append(adapters_without_a_row())
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(f"The worst error is {worst:.1e}.\n")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
