"""No test waits without a limit."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Those that wait for a process to end.
WAITS = {"run", "call", "check_call", "check_output", "communicate"}


FILES = sorted(TESTS.rglob("*.py"))


def test_every_test_has_a_limit(request: pytest.FixtureRequest) -> None:
    # The limit is set in pyproject.toml, which a copy of the tests may lack.
    if request.config.inipath is None:
        pytest.skip("the settings of pytest are not beside the tests")
    assert 0 < float(request.config.getini("timeout")) <= 600
    # A signal would not end a test that hangs in compiled code.
    assert request.config.getini("timeout_method") == "thread"


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_process_has_a_limit(file: Path) -> None:
    without = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = getattr(node.func.value, "id", "")
        waits = owner == "subprocess" or node.func.attr == "communicate"
        if waits and node.func.attr in WAITS:
            given = {word.arg for word in node.keywords}
            without += [node.lineno] if "timeout" not in given else []
    assert not without, f"{file.name}: give timeout=... on the lines {without}"
