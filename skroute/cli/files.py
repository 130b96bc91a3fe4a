"""Files that the command line reads and writes: routers, prompts, results."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import joblib
import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from skroute import persistence
from skroute._io.atomic import replace_file
from skroute._io.npy import read_npy
from skroute._table.texts import clean_text
from skroute.cli import console
from skroute.datasets import read_table
from skroute.datasets.queries import Queries, find_format, read_vectors
from skroute.datasets.queries import read_queries as read_table_queries
from skroute.serve.saved import is_pickle, join_vectors
from skroute.text import TextRouter

# Largest file of prompts, and the size of the blocks in which it is read.
_MOST_BYTES = 1 << 30
_AT_ONCE = 1 << 20


def save(router: Any, file: Path) -> None:
    """Save a router, completely or not at all; the ending tells the format."""
    if console.is_stdout(file):
        with TemporaryDirectory() as folder:
            written = Path(folder, "router.skroute")
            persistence.save(router, written)
            console.write_bytes(written.read_bytes(), file)
    elif is_pickle(file):
        with replace_file(file) as beside:
            joblib.dump(router, beside)
    else:
        persistence.save(router, file)


def read_data(table: Path, **options: Any) -> Bunch:
    """Read a table that has costs, and prompts or embeddings."""
    data = read_table(table, **options)
    if data.quality.size and not np.isfinite(data.quality).any():
        column = options.get("quality") or "quality"
        raise ValueError(
            f"{table.name} has no quality of any call: its column {column!r} is empty. "
            "Rate the answers first, by a check, a judge or people, and write their "
            "qualities there."
        )
    if data.costs is None:
        raise ValueError(
            f"{table.name} has no costs (columns <model>|total_cost, or cost in a long "
            "table): give the price per call of every model with --prices PRICES.json, "
            "or, if it counts tokens, prices per token with --token-price MODEL=IN,OUT."
        )
    if data.data is None and data.prompts is None:
        raise ValueError(
            f"{table.name} has no prompts: name the column of the queries' texts with "
            "--prompt COLUMN, or give their vectors with --embeddings E.npy."
        )
    return data


def read_queries(source: str) -> Queries:
    """Read queries from stdin, the lines of a text file, or a table."""
    file = Path(source)
    if source == "-":
        queries = Queries(_read_lines(sys.stdin.buffer, source))
    elif find_format(file) is None:
        with file.open("rb") as stream:
            queries = Queries(_read_lines(stream, source))
    else:
        queries = read_table_queries(file)
    if not any(prompt.strip() for prompt in queries.prompts):
        raise ValueError(f"QUERIES ({source}) holds no prompt.")
    return queries


def name_quality(data: Bunch) -> pd.DataFrame:
    """Give the qualities of a table with the names of its models, for messages."""
    return pd.DataFrame(data.quality, columns=data.models)


def join_queries(data: Bunch) -> tuple[Any, bool]:
    """Join the prompts and the embeddings of a table, as far as it has them.

    Returns also whether there are prompts to read: some table has only empty ones.
    """
    prompts = [] if data.prompts is None else [prompt or "" for prompt in data.prompts]
    if data.data is None:
        return prompts, True
    if not any(prompt.strip() for prompt in prompts):
        return data.data, False
    return join_vectors(prompts, data.data), True


def embed_queries(
    before: Pipeline | TextRouter | None,
    prompts: list[str] | None,
    embeddings: Path | None,
    source: str | None,
) -> Any:
    """Embed prompts, or read the vectors of the queries from a file or a column."""
    embed: Callable[[Any], Any]
    if isinstance(before, TextRouter):
        check_is_fitted(before)
        embed, reads_vectors = before.embed, before.n_features_in_ > 1
        if reads_vectors and prompts is None:
            raise ValueError(
                "this router reads prompts and the embeddings beside them: give also "
                "QUERIES, or - for stdin. One that reads embeddings alone is fitted on "
                "a table without prompts."
            )
    else:
        embed = before.transform if before else np.asarray
        # Only steps that take vectors know their number of features.
        reads_vectors = not before or hasattr(before[0], "n_features_in_")
    if not reads_vectors:
        if embeddings is not None:
            raise ValueError("this router reads prompts: leave --embeddings out.")
        if prompts is None:
            raise ValueError("this router reads prompts: give QUERIES, or - for stdin.")
        return embed(prompts)
    if embeddings is None:
        raise ValueError(
            "this router was fitted on embeddings: give those of the queries with "
            "--embeddings E.npy."
        )
    if source and not embeddings.is_file() and find_format(Path(source)) is not None:
        X = read_vectors(Path(source), str(embeddings))
    else:
        try:
            X = read_npy(embeddings)
        except ValueError as error:
            raise ValueError(
                f"--embeddings {str(embeddings)!r} is not an array as numpy.save "
                f"writes it: {error}."
            ) from None
    if prompts is not None and len(prompts) != len(X):
        raise ValueError(
            f"QUERIES has {len(prompts)} prompts but --embeddings {len(X)} rows."
        )
    if isinstance(before, TextRouter) and prompts is not None:
        X = join_vectors(prompts, np.asarray(X), before, "--embeddings")
    return embed(X)


def _read_lines(stream: BinaryIO, source: str) -> list[str]:
    """Split at line feeds only; a blank line is an empty prompt with its own row."""
    text = clean_text(_read_text(stream, source))
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    # The empty text behind the last line feed is no line.
    return lines if lines[-1] else lines[:-1]


def _read_text(stream: BinaryIO, source: str) -> str:
    """Read a text in blocks up to a limit, because a device may have no end."""
    parts: list[bytes] = []
    n_bytes = 0
    while part := stream.read(_AT_ONCE):
        n_bytes += len(part)
        if b"\0" in part:
            raise ValueError(
                f"QUERIES ({source}) is no text in UTF-8: it has zero bytes. "
                "Save it again in UTF-8."
            )
        if n_bytes > _MOST_BYTES:
            raise ValueError(
                f"QUERIES ({source}) has more than {_MOST_BYTES:,} bytes; route it in "
                "parts."
            )
        parts.append(part)
    try:
        return b"".join(parts).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"QUERIES ({source}) is no text in UTF-8: {error}.") from None
