"""Remove the prefixes that torch.compile, DDP, FSDP or a trainer's class add to tensor names. No torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from backend.errors import CheckpointError
from backend.models.architectures import embeddings
from backend.models.files.locate import CONFIG, Located, read_json, tensors
from backend.models.files.safetensors_headers import Entry

_WRAPPERS = {
    "_orig_mod",  # torch.compile
    "module",  # DataParallel, DDP, DeepSpeed, averaged weights
    "_fsdp_wrapped_module",
    "_fpw_module",
    "_forward_module",  # Lightning
    "_checkpoint_wrapped_module",
}


@cache
def _embedding() -> re.Pattern[str]:
    """Match the input embedding of any family, with or without its body's name; group 1 is the prefix."""
    return re.compile(rf"((?:[^.]+\.)*?)(?:{'|'.join(map(re.escape, sorted(embeddings())))})\.weight")


def plain_names(stored: Iterable[str], model_type: str = "") -> dict[str, str]:
    """Map every stored name to the model's own name.

    Names of wrappers are removed at any position. A prefix common to all names, such as that of a trainer's class
    around the model, is the text before the input embedding. `model_type`, as config.json has it, saves time only.
    """
    bare = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in stored}
    if {f"{path}.weight" for path in embeddings(model_type)}.isdisjoint(bare.values()):
        before = {match[1] for name in bare.values() if (match := _embedding().fullmatch(name))}
        around = before.pop() if len(before) == 1 else ""
    else:
        around = ""  # the usual case, for which the sources of all families need not be read
    return {name: plain.removeprefix(around) for name, plain in bare.items()}


def renamed(located: Located) -> dict[str, str]:
    """Map the stored names that differ from the model's own to the model's own.

    Raises CheckpointError if two stored tensors would get the same name.
    """
    model_type = str(read_json(located.folder / CONFIG).get("model_type", ""))
    names = plain_names((entry.name for entry in tensors(located)), model_type)
    twice = next((name for name, count in Counter(names.values()).items() if count > 1), None)
    if twice is not None:
        both = " and ".join(sorted(stored for stored, name in names.items() if name == twice))
        raise CheckpointError(
            f"{located.folder} holds the weights of one module twice ({both}); save the checkpoint again with one set."
        )
    return {stored: name for stored, name in names.items() if stored != name}


def model_tensors(located: Located) -> tuple[Entry, ...]:
    """Return every stored tensor under the model's own name. Raises CheckpointError."""
    changed = renamed(located)
    return tuple(replace(entry, name=changed.get(entry.name, entry.name)) for entry in tensors(located))
