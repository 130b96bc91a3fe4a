"""What is said of installing this package is true: its name, its extras, its place."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import skroute
from skroute._optional import require

ROOT = Path(__file__).resolve().parents[1]

if not (ROOT / "pyproject.toml").exists():
    pytest.skip("pyproject.toml is not beside the tests", allow_module_level=True)

PROJECT: dict[str, Any] = tomllib.loads(
    (ROOT / "pyproject.toml").read_text(encoding="utf-8")
)["project"]
NAME, EXTRAS = PROJECT["name"], set(PROJECT["optional-dependencies"])
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "Makefile")),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "docs").rglob("*.rst"),
    *(ROOT / ".ci").iterdir(),
    *(ROOT / "tests").rglob("*.md"),
    *(ROOT / "benchmarks").rglob("*.md"),
    *(ROOT / "examples").iterdir(),
]
MESSAGES = sorted((ROOT / "skroute").rglob("*.py"))
# What follows, to the end of the line or of the quotation.
INSTALL = re.compile(r"pip install ([^`\"\n;)]+)")
ONE_OF_OURS = re.compile(r"^(\.|skroute|scikit-route)(?:\[([\w, -]*)\])?$")


def ours(files: list[Path]) -> list[tuple[Path, str, list[str]]]:
    """Every place where this package is installed: file, name, extras."""
    found = []
    for file in files:
        if not file.is_file() or "_build" in file.parts:
            continue
        for line in INSTALL.findall(file.read_text(encoding="utf-8")):
            for word in re.split(r"\s+", line.replace("'", " ")):
                if match := ONE_OF_OURS.match(word):
                    extras = re.split(r"[, ]+", match[2]) if match[2] else []
                    found.append((file, match[1], extras))
    return found


def test_pages_install_a_checkout_until_there_is_a_release():
    lines = ours(PAGES)
    assert len(lines) >= 8
    released = not Version(skroute.__version__).is_prerelease
    names = {".", NAME} if released else {"."}
    # .ci/package adds an extra to an installed wheel, as the messages say.
    wrong = [
        (file.name, name)
        for file, name, _ in lines
        if name not in names and (file.name, name) != ("package", NAME)
    ]
    assert not wrong


def test_messages_and_docstrings_name_the_distribution():
    """pip adds extras to the installed distribution by its name, from anywhere."""
    lines = ours(MESSAGES)
    assert len(lines) >= 3
    assert not [(file.name, name) for file, name, _ in lines if name != NAME]


@pytest.mark.slow
def test_every_extra_that_is_named_exists():
    named = {
        (file.name, extra)
        for file, _, extras in ours([*PAGES, *MESSAGES])
        for extra in extras
    }
    for file in MESSAGES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                named |= {(file.name, extra.value) for extra in node.args[2:3]}
    assert {"cli", "dask", "report", "text"} <= {extra for _, extra in named}
    assert not [(file, extra) for file, extra in named if extra not in EXTRAS]


def test_a_missing_library_names_the_distribution():
    with pytest.raises(ImportError) as error:
        require("no_such_library", "this", "plot")
    assert f"pip install '{NAME}[plot]'" in str(error.value)


def test_extras_of_extras_are_those_of_this_distribution():
    for extra, needed in PROJECT["optional-dependencies"].items():
        for requirement in map(Requirement, needed):
            if canonicalize_name(requirement.name) in {"skroute", NAME}:
                assert requirement.name == NAME, extra
                assert requirement.extras <= EXTRAS


def test_addresses_are_left_out_until_there_are_any():
    assert "urls" not in PROJECT
