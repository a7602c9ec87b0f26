"""Check the shapes and types of arrays while the tests run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from jaxtyping import _import_hook, install_import_hook

ROOT = Path(__file__).parents[1]
SOURCES = {file: file.read_text(encoding="utf-8") for file in sorted((ROOT / "backend").rglob("*.py"))}
KINDS = {name for source in SOURCES.values() for name in re.findall(r"\b(\w+)\[(?:np\.ndarray|Tensor), \"", source)}
ALIAS = re.compile(rf"^(\w+) = .*\b(?:{'|'.join(KINDS)})\[", re.MULTILINE)
ARRAY_TYPES = KINDS.union(*(ALIAS.findall(source) for source in SOURCES.values()))
"""Names of what annotates an array: those of jaxtyping, and those that modules give to one of them."""


class _Shapes(_import_hook.JaxtypingTransformer):
    """Checks functions with arrays in their signatures; for others pyright is enough, and costs the tests no time."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Leave a function without arrays as it is, and all inner functions, which are made anew at every call."""
        arguments = [each.annotation for each in ast.walk(node.args) if isinstance(each, ast.arg)]
        annotations = [each for each in (*arguments, node.returns) if each is not None]
        names = {each.id for one in annotations for each in ast.walk(one) if isinstance(each, ast.Name)}
        if names & ARRAY_TYPES:
            node.decorator_list.append(self._typechecker.get_ast())
        return node


def check() -> None:
    """Check every module with arrays that is imported from now on; a wrong shape raises TypeCheckError."""
    _import_hook.JaxtypingTransformer = _Shapes
    modules = [file for file, source in SOURCES.items() if "from jaxtyping import" in source]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in modules]
    install_import_hook(names, "beartype.beartype")
