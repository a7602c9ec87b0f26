"""Whether a checkpoint can be read beside the base: same architecture, same sizes, same tokens. No torch."""

from __future__ import annotations

import re

from tokenizers import Tokenizer

from backend.errors import CheckpointError
from backend.study.facts import Facts, body_of

_SHOWN = {"architecture": "architecture", "layers": "number of blocks", "width": "width of the residual stream"}
_UNDECODED = "\N{REPLACEMENT CHARACTER}"
_RESERVED = re.compile(r"\W*(unused|reserved|extra)\w*\W*", re.IGNORECASE)


def compare_facts(facts: Facts, base: Facts, place: str) -> None:
    """Raises CheckpointError when architecture, number of blocks or width differ; vocabularies may."""
    for key, name in _SHOWN.items():
        here, there = getattr(facts, key), getattr(base, key)
        if key == "architecture" and body_of(here) == body_of(there):
            continue
        if here != there:
            raise CheckpointError(
                f"{place} cannot be compared with the base: its {name} is {here}, the base's {there}; name checkpoints "
                f"fine-tuned from this base, or another base."
            )


def compare_tokens(tokenizer: Tokenizer, base: Tokenizer, place: str) -> None:
    """Raises CheckpointError when an id that both vocabularies hold decodes to different text in the two.

    A reserved token that one of them gave a name to is no other token; whether a prompt uses it, the prompts tell.
    """
    own, its = _by_id(tokenizer), _by_id(base)
    added = tokenizer.get_added_tokens_decoder().keys() | base.get_added_tokens_decoder().keys()
    unlike = sorted(one for one in own.keys() & its.keys() if own[one] != its[one] and one not in added)
    here = tokenizer.decode_batch([[one] for one in unlike], skip_special_tokens=False)
    there = base.decode_batch([[one] for one in unlike], skip_special_tokens=False)
    for one, a, b in zip(unlike, here, there, strict=True):
        reserved = _RESERVED.fullmatch(own[one]) or _RESERVED.fullmatch(its[one])
        if (a != b or _UNDECODED in a) and not reserved:  # parts of characters all decode to the replacement character
            raise CheckpointError(
                f"{place} cannot be compared with the base: token {one} is {own[one]!r} here and {its[one]!r} in the "
                f"base; name checkpoints fine-tuned from this base, with its tokenizer."
            )


def _by_id(tokenizer: Tokenizer) -> dict[int, str]:
    return {number: token for token, number in tokenizer.get_vocab(with_added_tokens=True).items()}
