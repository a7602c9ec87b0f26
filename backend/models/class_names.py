"""Read from the sources of transformers and TransformerLens which classes exist and how they name their parts.

Importing either library takes seconds and torch, so their files are parsed instead. No torch.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from backend.models.importing import importing

BODY, TOKENS, MASKED, CLASSES = (
    f"MODEL{end}" for end in ("", "_FOR_CAUSAL_LM", "_FOR_MASKED_LM", "_FOR_SEQUENCE_CLASSIFICATION")
)
"""Names of transformers' tables from `model_type` to the class with a head."""
_FACTORY = "factories/architecture_adapter_factory.py"
_TABLES = "models/auto/modeling_auto.py"
_FOLDERS = "models/auto/auto_mappings.py"
_PAIR = 2


@dataclass(frozen=True)
class Decoder:
    """Classes of a decoder with each head (None: transformers has none), and the paths of its ends.

    `body` is the path of the body inside a model with a head; `head`, `embed` and `blocks` are paths in `tokens`.
    """

    tokens: str
    classes: str | None
    bare: str | None
    body: str
    head: str
    embed: str
    blocks: str


@cache
def decoders() -> dict[str, Decoder]:
    """Return, by `model_type`, every decoder that transformers implements and TransformerLens has an adapter for."""
    found = {name: decoder(name) for name in table(TOKENS)}
    return {name: one for name, one in found.items() if one is not None}


@cache
def adapters() -> tuple[str, ...]:
    """Return the classes that TransformerLens has an adapter for."""
    value = _assigned("transformer_lens", _FACTORY, "SUPPORTED_ARCHITECTURES")
    keys = value.keys if isinstance(value, ast.Dict) else []
    return tuple(str(key.value) for key in keys if isinstance(key, ast.Constant))


@cache
def table(name: str) -> dict[str, str]:
    """Return the class of each `model_type` in one of transformers' tables."""
    return _pairs(_assigned("transformers", _TABLES, f"{name}_MAPPING_NAMES"))


@cache
def decoder(model_type: str) -> Decoder | None:
    """Return a decoder's classes; None for an encoder, a model that also reads images, or one without an adapter."""
    tokens = table(TOKENS).get(model_type, "")
    if tokens.lower() not in {name.lower() for name in adapters()}:
        return None
    source = _source(model_type)
    own = re.search(rf"^class {tokens}\(.*?(?=^class |\Z)", source, re.MULTILINE | re.DOTALL)
    text_only = model_type.removesuffix("_text") + "_text"
    if model_type in table(MASKED) or own is None or tokens.endswith("ForConditionalGeneration"):
        return None
    if text_only != model_type and text_only in table(TOKENS):
        return None
    tied = re.search(r'_tied_weights_keys = \{\s*"([\w.]+)\.weight": "([\w.]+)\.weight"', own[0])
    bodies = re.findall(r'base_model_prefix = "(\w+)"', source)
    if bodies and not tied:
        embed = re.search(r"self\.(\w+) = nn\.Embedding\(", source)
        tied = re.match(r"([\w.]+) ([\w.]+)", f"lm_head {bodies[0]}.{embed[1] if embed else 'embed_tokens'}")
    if not bodies or not tied:
        return None
    around = tied[2].rpartition(".")[0].removesuffix(".embeddings")
    lists = re.findall(r"self\.(layers|h|blocks) = nn\.ModuleList\(", source)
    return Decoder(
        tokens=tokens,
        classes=table(CLASSES).get(model_type),
        bare=table(BODY).get(model_type),
        body=tied[2].partition(".")[0],
        head=tied[1],
        embed=tied[2],
        blocks=f"{around}.{'layers' if 'layers' in lists else next(iter(lists), 'layers')}",
    )


def _source(model_type: str) -> str:
    """Return the source of a model type's classes; nothing for a type without a file of its own."""
    module = _modules().get(model_type, model_type).replace("-", "_")
    path = _folder("transformers") / "models" / module / f"modeling_{module}.py"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


@cache
def _modules() -> dict[str, str]:
    """Return the module of each `model_type` that is not named like it."""
    return _pairs(_assigned("transformers", _FOLDERS, "SPECIAL_MODEL_TYPE_TO_MODULE_NAME"))


def _folder(library: str) -> Path:
    spec = find_spec(library)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else Path()


@cache
def _assigned(library: str, file: str, name: str) -> ast.expr | None:
    """Return the value that a library's file assigns to a name."""
    path = _folder(library) / file
    statements = _statements(path) if path.is_file() else []
    found = (one.value for one in statements if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == name)
    return next(found, None)


@cache
def _statements(path: Path) -> list[ast.stmt]:
    with importing():  # transformers parses too while it is imported
        return ast.parse(path.read_text(encoding="utf-8")).body


def _pairs(value: ast.expr | None) -> dict[str, str]:
    """Return the pairs of texts in an expression."""
    tuples = [one.elts for one in ast.walk(value) if isinstance(one, ast.Tuple)] if value else []
    texts = [[getattr(item, "value", None) for item in one] for one in tuples]
    return {str(one[0]): str(one[1]) for one in texts if len(one) == _PAIR and isinstance(one[1], str)}
