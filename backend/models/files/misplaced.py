"""Explain why a path holds no checkpoint, and which path to use instead. No torch."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from backend.errors import CheckpointError

_READ = (".safetensors", ".json", ".txt", ".model", ".jinja")
STEP = re.compile(r"checkpoint-\d+")
"""The name of a step's folder, which is no adapter's own name."""
_DEPTH = 3  # verl: global_step_N/actor/huggingface
_SHOWN = 4
_PICKLED = ("pytorch_model*.bin", "adapter_model*.bin", "model*.bin", "*.pt", "*.pth", "*.ckpt")
_STATE = re.compile(r"(optimizer|scheduler|scaler|training_args|trainer_state|rng_state|random_states|global_step).*")
_PART = re.compile(r"global_step\d+|(optimizer|pytorch_model_fsdp)_\d+|original|onnx|tokenizer|runs")
_OTHERS = {
    "*.gguf": "GGUF weights",
    "*.h5": "TensorFlow weights",
    "*.msgpack": "Flax weights",
    "*.onnx": "ONNX weights",
    "*.npz": "NumPy weights",
}
_AGAIN = "save them as safetensors with save_pretrained"


def not_a_folder(path: Path) -> CheckpointError:
    """Return the error for a path that is not a folder."""
    if path.is_file():
        return CheckpointError(f"{path} is a file; point to the folder that holds it: {path.parent}.")
    return CheckpointError(
        f"{path} does not exist; train it with `python -m backend finetune`, copy the checkpoint there, or correct its "
        f"path in study.toml."
    )


def check_links(folder: Path) -> None:
    """Raise CheckpointError for a file that is a link to nowhere, as in a copy of a folder of the hub's cache."""
    try:
        links = [file for file in sorted(folder.iterdir()) if file.is_symlink() and file.suffix in _READ]
    except OSError as error:
        raise _unreadable(folder, error) from None
    broken = next((file for file in links if not file.exists()), None)
    if broken is not None:
        raise CheckpointError(
            f"{broken} is a link to {broken.readlink()}, which does not exist; copy the folder again with the files "
            f"themselves (cp -rL)."
        )


def is_pickled(name: str) -> bool:
    """Whether a file of that name holds pickled weights."""
    return any(fnmatchcase(name, pattern) for pattern in _PICKLED) and not _STATE.fullmatch(name)


def only_pickled(place: str, source: str, folder: Path, name: str) -> CheckpointError:
    """Why a checkpoint with the pickled weights `name` alone is refused; `source` is what transformers loads it by."""
    return CheckpointError(f"{place} {_pickles(source, folder, name)}.")


def _pickles(source: str, folder: Path, name: str) -> str:
    return f"has pickled weights only ({name}), which can run code when opened; {_convert(source, folder, name)}"


def _convert(source: str, folder: Path, name: str) -> str:
    """How pickled weights become safetensors: a command that loads only tensors where it can."""
    if not name.startswith("pytorch_model"):
        target = "adapter_model" if name.startswith("adapter_model") else "model"
        part = '["state_dict"]' if name.endswith(".ckpt") else ""
        program = (
            f"import torch, safetensors.torch as s; w = torch.load({name!r}, weights_only=True){part}; "
            f's.save_file({{k: v.clone() for k, v in w.items()}}, "{target}.safetensors", {{"format": "pt"}})'
        )
        return f"convert them in their folder with: python -c {shlex.quote(program)}"
    try:
        named = str(json.loads((folder / "config.json").read_text("utf-8-sig"))["architectures"][0])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        named = ""
    named = named if named.isidentifier() else "AutoModelForCausalLM"
    program = f'import transformers as t; t.{named}.from_pretrained({source!r}).save_pretrained("OUT")'
    return (
        f"convert them where you trust them with: python -c {shlex.quote(program)}, copy the tokenizer to OUT, and "
        f"name OUT with path"
    )


def no_weights(folder: Path, expected: str) -> CheckpointError:
    """Why a folder without the file `expected` is no checkpoint: the first of what may be found there."""
    try:
        explanation = (
            _inside(folder)
            or _around(folder)
            or _shards(folder)
            or _other_name(folder, expected)
            or _other_format(folder)
            or _unfinished(folder, expected)
        )
    except OSError as error:
        return _unreadable(folder, error)
    return CheckpointError(f"{folder} {explanation}.")


def _unreadable(folder: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"{folder} cannot be read ({error.strerror or error}); check who may read it.")


def _inside(folder: Path) -> str | None:
    """Look for checkpoints in subfolders: a trainer's output, a folder of the hub's cache, the export of a merge."""
    below = sorted(_checkpoints(folder, _DEPTH), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
    if not below:
        return None
    cached = folder.parent if folder.name == "snapshots" else folder
    if cached.name.startswith("models--"):
        repo = "/".join(cached.name.split("--")[1:])
        return f'is a folder of the hub\'s cache; set repo = "{repo}" instead of path, or point to {below[-1]}'
    if len(below) == 1:
        return f"holds no weights, but {below[0].relative_to(folder)} in it does; point to {below[0]}"
    names = ", ".join(str(path.relative_to(folder)) for path in below[:_SHOWN])
    more = f" and {len(below) - _SHOWN} more" if len(below) > _SHOWN else ""
    return f"holds {len(below)} checkpoints ({names}{more}), not one; name one of them, or each with its own label"


def _checkpoints(folder: Path, depth: int) -> Iterator[Path]:
    for subfolder in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        if _is_checkpoint(subfolder):
            yield subfolder
        elif depth > 1:
            yield from _checkpoints(subfolder, depth - 1)


def _is_checkpoint(folder: Path) -> bool:
    full = (folder / "config.json").is_file() and any(folder.glob("model*.safetensors"))
    return full or ((folder / "adapter_config.json").is_file() and (folder / "adapter_model.safetensors").is_file())


def _shards(folder: Path) -> str | None:
    """Look for the shards of a parallel training that are not merged yet."""
    piece = _first(folder, "*.distcp", "*/*.distcp", "*/*/*.distcp")
    pieces = _first(folder, "pytorch_model_fsdp*") or (piece.parent if piece else None)
    if pieces is not None:
        return (
            f"holds the shards of FSDP ({pieces.name}); merge them with `accelerate merge-weights {pieces} OUT`, "
            f"copy config.json and the tokenizer to OUT, and point there"
        )
    zero = _first(folder, "zero_to_fp32.py", "*_model_states.pt", "*/*_model_states.pt")
    if zero is not None:
        place = next(
            (candidate for candidate in (folder, folder.parent) if (candidate / "zero_to_fp32.py").is_file()), folder
        )
        return (
            f"holds the shards of DeepSpeed ({zero.name}); run `python zero_to_fp32.py . OUT --safe_serialization` in "
            f"{place}, copy config.json and the tokenizer to OUT, and point there"
        )
    return None


def _first(folder: Path, *patterns: str) -> Path | None:
    return next((match for pattern in patterns for match in sorted(folder.glob(pattern))), None)


def _other_name(folder: Path, expected: str) -> str | None:
    """Look for safetensors files with a name that transformers does not read."""
    names = sorted(file.name for file in folder.glob("*.safetensors"))
    if not names:
        return None
    if "model.safetensors" in names:
        return f"holds {' and '.join(names)} beside adapter_config.json; remove that file if the adapter is merged"
    if any(re.fullmatch(r"(adapter_)?model-\d+-of-\d+\.safetensors", name) for name in names):
        return f"holds weights in parts ({names[0]}) without {expected}.index.json; copy that file there too"
    if any(name.startswith("adapter_model") for name in names):
        return f"holds the weights of an adapter ({names[0]}) without adapter_config.json; copy that file there too"
    if any(name.startswith("consolidated") for name in names):
        return (
            f"holds weights in another layout ({names[0]}), whose tensors have other names; take the files in Hugging "
            f"Face format ({expected})"
        )
    return (
        f"holds {', '.join(names[:_SHOWN])}, and weights are read from {expected}; rename the file if it is the model"
    )


def _other_format(folder: Path) -> str | None:
    pickles = (one.name for pattern in _PICKLED for one in sorted(folder.glob(pattern)))
    pickled = next(filter(is_pickled, pickles), None)
    if pickled is not None:
        return _pickles(str(folder), folder, pickled)
    kind = next((name for pattern, name in _OTHERS.items() if any(folder.glob(pattern))), None)
    return f"has {kind} only; {_AGAIN}" if kind else None


def _around(folder: Path) -> str | None:
    """Look for the checkpoint that this folder is a part of."""
    if _PART.fullmatch(folder.name) and _is_checkpoint(folder.parent):
        return f"holds no weights and is a part of the checkpoint {folder.parent}; point there"
    return None


def _unfinished(folder: Path, expected: str) -> str:
    names = sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
    if not names:
        return "is empty; copy the checkpoint there, or correct its path in study.toml"
    state = [name for name in names if _STATE.fullmatch(name)]
    state_found = f"the state of a training ({state[0]}) and " if state else ""
    return f"holds {state_found}no weights ({expected}); point to a checkpoint that was saved with save_pretrained"
