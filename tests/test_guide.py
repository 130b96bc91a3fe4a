"""The Python of the user guide runs, page by page, as a reader would type it."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import sklearn

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guide"
PAGES = sorted(GUIDE.glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_of(page: Path) -> str:
    """The blocks of a page, each on the lines where the page has it."""
    text = page.read_text(encoding="utf-8")
    code, line = "", 0
    for block in BLOCK.finditer(text):
        start = text.count("\n", 0, block.start(1))
        code += "\n" * (start - line) + block[1]
        line = start + block[1].count("\n")
    return code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in logging.getLogger().manager.loggerDict:
        # What a page adds is gone after it.
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "handlers", logger.handlers.copy())
    with sklearn.config_context():
        exec(compile(code_of(page), str(page), "exec"), {"__name__": "__main__"})
