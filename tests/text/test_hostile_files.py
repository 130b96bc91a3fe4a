"""Files of text routers that somebody crafted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forging import forged_main, refused

from skroute import DummyRouter, save
from skroute.text import TextRouter


@pytest.fixture(scope="module")
def content(pool, frame, tmp_path_factory) -> bytes:
    file = tmp_path_factory.mktemp("text") / "r.skroute"
    router = TextRouter(
        DummyRouter(costs=[1.0, 2.0]), encoder=lambda texts: [[len(t)] for t in texts]
    )
    save(router.fit(frame, pool.y), file)
    return file.read_bytes()


def vectors(main: Any) -> Any:
    return main["router"]["state"]["vectors_"]["state"]


def replace_router(main: Any) -> None:
    main["router"]["state"]["router_"] = vectors(main)["features"]


def name(text: str) -> Callable[[Any], None]:
    def change(main: Any) -> None:
        vectors(main)["encoder"]["state"]["name"] = text

    return change


def size(*values: Any) -> Callable[[Any], None]:
    def change(main: Any) -> None:
        vectors(main)["numbers"] = {"$": "tuple", "items": list(values)}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace_router, "it holds no router, or nothing that makes its vectors"),
        (name("\x1b[2J"), "characters that cannot be printed"),
        (name(None), "the encoder must have a name"),
        (size(6, 0.0), "numbers must be a width and a length"),
        (size(6, {"$": "float", "value": "inf"}), "numbers must be a width"),
        (size(1 << 40, 1.0), "numbers must be a width"),
        (size(6), "numbers must be a width"),
        (lambda main: vectors(main).update(prompt_column=-1), "which column holds"),
        (
            lambda main: vectors(main).pop("prompt_column") and None,
            "which column holds",
        ),
    ],
)
def test_what_was_crafted_is_refused(content, tmp_path: Path, change, message):
    refused(tmp_path, forged_main(content, change), message)
