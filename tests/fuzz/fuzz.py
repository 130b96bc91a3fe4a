"""Coverage-guided fuzzing of what reads files of strangers, with atheris.

    python tests/fuzz/fuzz.py TARGET [options of libFuzzer]

See README.md beside it. A finding is a crash, a hang, memory out of proportion, or an
error of another kind than the reader promises.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data"
ROUTERS = sorted((DATA / "routers").glob("*/*.skroute"))
_NUMBERS = [-1, 0, 1, 2, 6, 7, 100, 10**6, 2**31, 2**63, 10**30, -(2**31)]


def members(file: Path) -> dict[str, bytes]:
    """Members of a router's file."""
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def signed(content: bytes) -> bytes:
    """A file whose digest is right."""
    body = content[:-71] if len(content) > 71 else content
    return body + b"sha256:" + hashlib.sha256(body).hexdigest().encode()


class Target:
    """What is fuzzed: seeds, one run, and how a seed is changed (None: any bytes)."""

    def seeds(self) -> list[bytes]:
        """Well-formed input."""
        raise NotImplementedError

    def run(self, data: bytes) -> None:
        """Read input; only what the reader promises may be raised."""
        raise NotImplementedError

    mutate: Callable[[bytes, random.Random], bytes] | None = None


class Archive(Target):
    """Router files as bytes, with a right digest."""

    def seeds(self) -> list[bytes]:
        """Files of every kind."""
        return [file.read_bytes() for file in ROUTERS]

    def run(self, data: bytes) -> None:
        """Load a file, and use what is in it."""
        _load_and_use(signed(data))


class Json(Target):
    """Router files whose JSON was changed, with right arrays and digest."""

    def __init__(self) -> None:
        self.members = {file.stem: members(file) for file in ROUTERS}

    def seeds(self) -> list[bytes]:
        """JSON of every kind of file."""
        return [
            json.dumps([stem, json.loads(parts["router.json"])]).encode()
            for stem, parts in self.members.items()
        ]

    def run(self, data: bytes) -> None:
        """Load a file with this JSON, and use what is in it."""
        try:
            stem, main = json.loads(data)
            parts = {**self.members[stem], "router.json": json.dumps(main).encode()}
        except Exception:
            return
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
            archive.comment = b"0" * 71
        _load_and_use(signed(made.getvalue()))

    def mutate(self, data: bytes, draw: random.Random) -> bytes:
        """Put other values, or other parts of it, somewhere into the JSON."""
        try:
            main = json.loads(data)
        except ValueError:
            return draw.choice(self.seeds())
        spots = list(_spots(main))
        for _ in range(draw.randint(1, 3)):
            container, key = draw.choice(spots)
            other, of = draw.choice(spots)
            container[key] = draw.choice(
                [draw.choice(_NUMBERS), other[of], None, [], {}, "", "a", 0.5, True]
            )
            try:
                json.dumps(main)
            except (ValueError, RecursionError):  # it holds itself now
                return data
        return json.dumps(main).encode()


class Trees(Target):
    """Text of ranking models: what is read gives finite scores."""

    def seeds(self) -> list[bytes]:
        """A kept model, and one of larger trees."""
        import lightgbm as lgb
        import numpy as np

        random = np.random.RandomState(0)
        X = random.normal(size=(600, 6))
        y = (X[:, 0] * X[:, 1] > random.normal(size=600)).astype(int)
        settings = {"objective": "lambdarank", "num_leaves": 12, "verbosity": -1}
        data = lgb.Dataset(X, y, group=[10] * 60, params=settings)
        kept = (DATA / "ranker_lightgbm_4.txt").read_bytes()
        return [kept, lgb.train(settings, data, 4).model_to_string().encode()]

    def run(self, data: bytes) -> None:
        """Read a model, and predict with it."""
        import numpy as np

        from skroute._rank.forest import PairRanker

        try:
            ranker = PairRanker.from_text(data.decode("utf-8", "replace"))
        except ValueError:
            return
        rows = np.random.RandomState(0).normal(size=(20, ranker.n_features))
        assert np.isfinite(ranker.predict(rows[None])).all()

    def mutate(self, data: bytes, draw: random.Random) -> bytes:
        """Change a number, or drop, repeat or exchange words."""
        text = data.decode("utf-8", "replace")
        for _ in range(draw.randint(1, 4)):
            words = list(re.finditer(r"[-\w.+:\[\]]+", text))
            if not words:
                return draw.choice(self.seeds())
            word, other = draw.choice(words), draw.choice(words)
            by = draw.choice(
                [
                    str(draw.choice(_NUMBERS)),
                    other[0],
                    "",
                    f"{word[0]} {word[0]}",
                    "nan",
                ]
            )
            text = text[: word.start()] + by + text[word.end() :]
        return text.encode()


class Csv(Target):
    """Tables in CSV."""

    def seeds(self) -> list[bytes]:
        """A small table."""
        return [b'prompt,a,b,a|total_cost,b|total_cost\n"x, y",1,0.5,1e-3,\nz,,1,2,3\n']

    def run(self, data: bytes) -> None:
        """Read a table."""
        from skroute.datasets import read_routerbench

        with tempfile.NamedTemporaryFile(suffix=".csv") as file:
            Path(file.name).write_bytes(data)
            try:
                read_routerbench(file.name)
            except ValueError:
                return


class Npy(Csv):
    """Arrays of embeddings."""

    def seeds(self) -> list[bytes]:
        """A small array."""
        import numpy as np

        made = io.BytesIO()
        np.save(made, np.eye(3))
        return [made.getvalue()]

    def run(self, data: bytes) -> None:
        """Read an array."""
        from skroute._io.npy import read_npy

        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            Path(file.name).write_bytes(data)
            try:
                read_npy(Path(file.name))
            except ValueError:
                return


TARGETS: dict[str, type[Target]] = {
    "archive": Archive,
    "csv": Csv,
    "json": Json,
    "npy": Npy,
    "trees": Trees,
}


def _load_and_use(content: bytes) -> None:
    import numpy as np

    import skroute

    with tempfile.NamedTemporaryFile(suffix=".skroute") as file:
        Path(file.name).write_bytes(content)
        try:
            router = skroute.load(file.name)
        except ValueError:
            return
        # Nonsense may raise anything when it is used; it may not crash or hang.
        for queries in (np.zeros((2, 6)), ["add sum"]):
            try:
                router.transform(queries)
                router.predict(queries)
            except Exception:
                continue


def _spots(value: Any) -> Any:
    keys: Any = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _spots(value[key])


def main() -> None:
    """Fuzz the target that is named first."""
    import atheris

    warnings.simplefilter("ignore")
    target = TARGETS[sys.argv[1]]()
    with atheris.instrument_imports(include=["skroute", "zipfile", "json"]):
        import skroute.datasets  # noqa: F401
    corpus = Path(tempfile.mkdtemp(prefix="corpus-"))
    for number, seed in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(seed)
    options = {}
    if target.mutate is not None:
        change = target.mutate

        def mutator(data: bytes, max_size: int, seed: int) -> bytes:
            draw = random.Random(seed)
            if draw.random() < 0.1:
                return bytes(atheris.Mutate(data, max_size))
            return change(bytes(data), draw)[:max_size]

        options["custom_mutator"] = mutator
    defaults = ["-timeout=20", "-rss_limit_mb=3000", "-max_len=200000"]
    atheris.Setup(
        [sys.argv[0], *defaults, *sys.argv[2:], str(corpus)], target.run, **options
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
