"""The Python of the README and the documentation runs, as a reader would type it."""

from __future__ import annotations

import importlib.util
import logging
import math
import re
import shutil
from pathlib import Path

import pytest
import sklearn

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    page
    for page in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "docs" / "guide").glob("*.md")),
    )
    if "```python\n" in page.read_text(encoding="utf-8")
]
# A block may say before it which modules it needs beside those that tests have.
BLOCK = re.compile(
    r"^(?:<!-- needs: (?P<needs>[\w ]+) -->\n)?```python\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# What a page says that its code prints; numbers may differ in their last digits.
PRINTED = re.compile(r"^<!-- prints -->\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")


def is_printed(line: str, printed: str) -> bool:
    """Compare a line of a page with one that was printed: words, and numbers nearly."""
    if NUMBER.sub("0", line).split() != NUMBER.sub("0", printed).split():
        return False
    said, seen = NUMBER.findall(line), NUMBER.findall(printed)
    # Processors round differently, and of 200 queries some are decided by rounding.
    counted = 0.03 * sum(int(number) for number in said if number.isdecimal())
    return all(
        math.isclose(
            float(a), float(b), rel_tol=0.1, abs_tol=counted if a.isdecimal() else 0.0
        )
        for a, b in zip(said, seen, strict=True)
    )


def code_of(page: Path) -> tuple[str, set[str]]:
    """The blocks of a page, each on the lines where the page has it, and what lacks."""
    text = page.read_text(encoding="utf-8")
    code, line, missing = "", 0, set()
    for block in BLOCK.finditer(text):
        needs = (block["needs"] or "").split()
        absent = [name for name in needs if importlib.util.find_spec(name) is None]
        if absent:
            missing.update(absent)
            continue
        start = text.count("\n", 0, block.start("code"))
        code += "\n" * (start - line) + block["code"]
        line = start + block["code"].count("\n")
    return code, missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # What the first pages offer for download.
    for file in (ROOT / "docs" / "_static").glob("*.csv"):
        shutil.copy(file, tmp_path)
    # Small made files, for pages that start from some.
    files = ROOT / "tests" / "data" / page.stem
    if files.is_dir():
        shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    for name in logging.getLogger().manager.loggerDict:
        # What a page adds is gone after it.
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "handlers", logger.handlers.copy())
    code, missing = code_of(page)
    with sklearn.config_context():
        exec(compile(code, str(page), "exec"), {"__name__": "__main__"})
    lines = capsys.readouterr().out.splitlines()
    for block in PRINTED.findall(page.read_text(encoding="utf-8")):
        said = block.splitlines()
        starts = range(len(lines) - len(said) + 1)
        assert any(
            all(map(is_printed, said, lines[i : i + len(said)])) for i in starts
        ), "\n".join(["the page does not print", *said, "but", *lines])
    if missing:
        pytest.skip(f"ran all blocks but those that need {', '.join(sorted(missing))}")
