"""Imports go one way, and no module reaches for the private parts of another.

The rooms are drawn in docs/architecture.md.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "skroute"
MOST_ROOT_MODULES = 16
#: Open to every room.
GROUND = {"_doc_link", "_optional", "_version", "exceptions"}
ROUTERS = {"base", "crossfit", "ranking", "pointwise", "dummy"}
BELOW_ROUTERS = {
    "_compute",
    "_table",
    "_estimate",
    "_rank",
    "_decide",
    "_io",
    "decision",
    "metrics",
}
#: What each room may import beside the ground and itself; `cli` may import everything.
ALLOWED = {
    "_compute": set(),
    "_table": {"_compute"},
    "_estimate": {"_compute", "_table"},
    "_rank": {"_compute", "_table", "_estimate"},
    "_decide": {"_compute", "_table"},
    "_cascade": {"_compute", "_table", "_rank", "_decide", "metrics"},
    "_io": {"_table"},
    "cascade": {"_cascade", "_compute", "_table", "_decide", "_io", "metrics"},
    "decision": {"_compute", "_table", "_decide", "_io"},
    "_judged": {"_table", "decision", "metrics"},
    "metrics": {"_compute", "_table", "_decide", "_judged", "decision"},
    "routers": BELOW_ROUTERS,
    "validation": {"_table"},
    "persistence": {"_table", "_io", "routers", "cascade", "decision"},
    "evaluation": BELOW_ROUTERS | {"_judged", "routers", "cascade", "text"},
    "datasets": {"_compute", "_table", "_io"},
    "preferences": {"_compute", "_table"},
    "outcomes": {"_table"},
    "text": BELOW_ROUTERS | {"routers"},
    "plotting": {"_judged", "_table", "metrics", "evaluation"},
    "reporting": {
        "_decide",
        "_io",
        "_judged",
        "_table",
        "evaluation",
        "metrics",
        "plotting",
    },
    "dask": BELOW_ROUTERS | {"routers"},
    "serve": {"_table", "cascade", "decision", "persistence", "routers", "text"},
    "integrations": {"serve", "routers"},
    "root": {"cascade", "decision", "routers", "persistence", "reporting"},
}
#: Optional libraries, and the rooms that may import them when they are imported.
EXTRAS = {
    "anyio": {"serve"},
    "dask": {"dask"},
    "distributed": {"dask"},
    "fastapi": {"serve"},
    "jinja2": {"reporting"},
    "jsonschema": set(),
    "litellm": {"integrations"},
    "matplotlib": set(),
    "openpyxl": set(),
    "pandas": {"cli"},
    "polars": set(),
    "prometheus_client": set(),
    "pyarrow": set(),
    "pydantic": {"serve"},
    "rich": {"cli"},
    "sentence_transformers": set(),
    "typer": {"cli"},
    "uvicorn": set(),
    "yaml": set(),
}


#: Methods of the standard library whose names begin with an underscore.
NAMED_TUPLE = {"_asdict", "_replace"}


def _name(file: Path) -> tuple[str, ...]:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return tuple(part for part in parts if part != "__init__")


MODULES = {_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}
every_module = pytest.mark.parametrize(
    "name", MODULES, ids=lambda name: ".".join(name) or "skroute"
)


def _room(name: tuple[str, ...]) -> str:
    first = name[0] if name else "root"
    if first == "__main__":
        return "cli"
    return "routers" if first in ROUTERS else first


@cache
def _parse(name: tuple[str, ...]) -> ast.Module:
    return ast.parse(MODULES[name].read_text())


def _nodes(name: tuple[str, ...]) -> Iterator[ast.AST]:
    return ast.walk(_parse(name))


def _imported(name: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Modules of this package that a module imports, at any time."""
    for node in _nodes(name):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "skroute"
        ):
            module = tuple((node.module or "").split(".")[1:])
            for alias in node.names:
                deeper = (*module, alias.name)
                yield deeper if deeper in MODULES else module


def _libraries(body: list[ast.stmt]) -> Iterator[str]:
    """Libraries that are imported together with a module, not when a function runs."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.Try):
            yield from _libraries(node.body)


@every_module
def test_imports_go_down(name: tuple[str, ...]) -> None:
    room = _room(name)
    if room == "cli":
        return
    allowed = GROUND | ALLOWED.get(room, set()) | {room}
    found = [".".join(t) for t in _imported(name) if _room(t) not in allowed]
    assert not found


@every_module
def test_private_modules_are_imported_by_their_own_package(name) -> None:
    found = []
    for target in _imported(name):
        private = [i for i, part in enumerate(target) if i and part.startswith("_")]
        if private and target[: private[0]] != name[: private[0]]:
            found.append(".".join(target))
    assert not found


@every_module
def test_private_attributes_are_not_reached_for(name: tuple[str, ...]) -> None:
    """Those of an object are used by the module that defines them."""
    nodes = list(_nodes(name))
    own = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "cls")
    }
    own |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    reached = [
        ast.unparse(node)
        for node in nodes
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in own | NAMED_TUPLE
    ]
    assert not reached


def test_lightgbm_has_one_door() -> None:
    doors = {
        name
        for name in MODULES
        for node in _nodes(name)
        if "lightgbm" in (getattr(node, "module", None) or "")
        or (
            isinstance(node, ast.Import)
            and any("lightgbm" in alias.name for alias in node.names)
        )
    }
    assert doors == {("_rank", "lambdarank")}


@every_module
def test_extras_are_imported_in_their_rooms(name: tuple[str, ...]) -> None:
    for library in _libraries(_parse(name).body):
        assert _room(name) in EXTRAS.get(library, {_room(name)}), library


def test_the_root_holds_doors_only() -> None:
    assert len([*PACKAGE.glob("*.py")]) <= MOST_ROOT_MODULES
