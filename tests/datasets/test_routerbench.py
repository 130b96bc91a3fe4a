"""Reading and published tables in RouterBench's format."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pickle
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import skroute.datasets._published as published
from skroute.datasets import fetch_routerbench, from_wide, read_routerbench


def toy_frame() -> pd.DataFrame:
    """Make a small table in the published format, cost columns in another order."""
    return pd.DataFrame(
        {
            "sample_id": ["t.0", "t.1", "t.2"],
            "prompt": ["['One, two?']", "NA", "line\nbreak"],
            "eval_name": ["a", "b", "a"],
            "org/small": [1.0, 0.0, np.nan],
            "org/big": [True, True, False],
            "org/big|model_response": ["yes", "no", "x"],
            "org/big|total_cost": [0.03, np.nan, 0.01],
            "org/small|model_response": ["yes", None, "x"],
            "org/small|total_cost": [0.001, 0.002, 0.0],
            "oracle_model_to_route_to": ["org/small", "org/big", "no_model_correct"],
        }
    )


def save(frame: pd.DataFrame, path: Path) -> Path:
    if path.name.lower().endswith((".csv", ".csv.gz")):
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_pickle(path)
    return path


@pytest.fixture
def plain(tmp_path) -> Path:
    """Give a table without costs, task and sample_id."""
    frame = toy_frame()[["prompt", "org/small", "org/big"]]
    return save(frame, tmp_path / "plain.csv")


# The real tables


@pytest.mark.parametrize("embedded", [True, False])
def test_routerbench3(shared_data, embedded):
    path = shared_data / "routerbench3.csv.gz"
    vectors = shared_data / "routerbench3_minilm.npy"
    table = read_routerbench(path, embeddings=vectors if embedded else None)
    frame = pd.read_csv(path)
    models = [name for name in frame.columns if f"{name}|total_cost" in frame.columns]
    assert table.models.tolist() == models
    assert table.quality.shape == table.costs.shape == (3164, 11)
    np.testing.assert_array_equal(table.quality, frame[models].to_numpy())
    np.testing.assert_array_equal(
        table.costs, frame[[f"{name}|total_cost" for name in models]].to_numpy()
    )
    assert np.isnan(table.quality).any(axis=1).sum() == 14
    assert np.isnan(table.quality).sum() == 104
    assert not np.isnan(table.costs).any()
    assert set(table.task) == {"arc-challenge", "mbpp", "winogrande"}
    assert table.prompts.tolist() == frame["prompt"].tolist()
    assert "14 queries without" in table.DESCR
    best = models[np.nanmean(table.quality, axis=0).argmax()]
    assert best == "gpt-4-1106-preview"
    if embedded:
        assert table.data.shape == (3164, 384)
        assert table.data.dtype == np.float32
    else:
        assert table.data is None


@pytest.mark.slow
def test_mistral7_has_no_costs_and_half_precision_embeddings(shared_data):
    table = read_routerbench(
        shared_data / "mistral7.csv.gz", embeddings=shared_data / "mistral7_minilm.npy"
    )
    assert table.quality.shape == (20600, 7)
    assert not np.isnan(table.quality).any()
    assert ((table.quality > 0) & (table.quality < 1)).any()
    assert table.costs is None
    assert table.data.shape == (20600, 384)
    assert table.data.dtype == np.float32
    assert table.task.shape == (20600,)


def test_pool9_with_list_prices(shared_data):
    prices = shared_data / "pool9_prices.json"
    table = read_routerbench(
        shared_data / "pool9.csv.gz",
        prices=prices,
        embeddings=np.load(shared_data / "pool9_minilm.npy"),
    )
    listed = json.loads(prices.read_text())
    assert table.quality.shape == (3108, 9)
    assert table.costs.tolist() == [listed[name] for name in table.models]
    assert table.task is None
    assert table.data.shape == (3108, 384)
    assert len(set(table.prompts)) < len(table.prompts) == 3108


# Formats


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.CSV", "t.parquet"])
def test_every_format_gives_the_same_table(tmp_path, name):
    table = read_routerbench(save(toy_frame(), tmp_path / name))
    assert table.models.tolist() == ["org/small", "org/big"]
    np.testing.assert_array_equal(table.quality, [[1, 1], [0, 1], [np.nan, 0]])
    np.testing.assert_array_equal(
        table.costs, [[0.001, 0.03], [0.002, np.nan], [0.0, 0.01]]
    )
    assert table.task.tolist() == ["a", "b", "a"]
    # "NA" is what the user wrote, not a missing value.
    assert table.prompts.tolist() == ["['One, two?']", "NA", "line\nbreak"]
    assert table.data is None
    assert name in table.DESCR


def test_path_may_be_text_and_in_the_home_folder(tmp_path, monkeypatch):
    path = save(toy_frame(), tmp_path / "t.csv")
    assert read_routerbench(str(path)).quality.shape == (3, 2)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert read_routerbench("~/t.csv").quality.shape == (3, 2)


@pytest.mark.parametrize(
    ("name", "missing"), [("t.csv", "pandas"), ("t.parquet", "pyarrow")]
)
def test_missing_dependency_says_what_to_install(tmp_path, monkeypatch, name, missing):
    path = save(toy_frame(), tmp_path / name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"needs {missing}.*scikit-route\[data\]"):
        read_routerbench(path)


def test_objects_and_nullable_columns():
    frame = toy_frame()
    frame["org/small"] = pd.array([1, 0, None], dtype="Int64")
    frame["org/big"] = pd.Series([np.bool_(True), pd.NA, 0.5], dtype=object)
    frame["eval_name"] = pd.array(["a", None, "b"], dtype="string")
    table = from_wide(frame)
    np.testing.assert_array_equal(table.quality, [[1, 1], [0, np.nan], [np.nan, 0.5]])
    assert table.task.tolist() == ["a", "", "b"]


def test_row_numbers_that_to_csv_wrote_are_not_a_model(tmp_path):
    toy_frame().to_csv(tmp_path / "t.csv")
    table = read_routerbench(tmp_path / "t.csv")
    assert table.models.tolist() == ["org/small", "org/big"]


def test_booleans_with_gaps_in_csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("prompt,a,b\np,True,1\nq,,0.5\nr,False,nan\n")
    np.testing.assert_array_equal(
        read_routerbench(path).quality, [[1, 1], [np.nan, 0.5], [0, np.nan]]
    )


def test_byte_order_mark_is_not_part_of_a_name(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfprompt,a\np,1\n")
    table = read_routerbench(path)
    assert table.prompts.tolist() == ["p"]
    assert table.models.tolist() == ["a"]


# Tables that are not as they should be


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"org/big": ["good", "bad", "bad"]}, r"column 'org/big' .*row 0 has 'good'"),
        ({"stars": [1, 2, 3]}, r"column 'stars' has no 'stars\|total_cost'"),
        (
            {"ghost|total_cost": [1, 2, 3]},
            r"column 'ghost\|total_cost'.*without a qual",
        ),
        (
            {"org/big|total_cost": [1, -2, 3]},
            r"'org/big\|total_cost' .*negative.*row 1",
        ),
        ({"org/small|total_cost": ["a", 1, 2]}, r"column 'org/small\|total_cost' must"),
        ({"org/small": [1, np.inf, 0]}, r"column 'org/small' .*infinite.*row 1"),
        ({"org/big|total_cost": [1, 2, np.inf]}, r"'org/big\|total_cost'.*infinite"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_wrong_columns_are_named(tmp_path, name, change, message):
    path = save(toy_frame().assign(**change), tmp_path / name)
    with pytest.raises(ValueError, match=message):
        read_routerbench(path)


def test_model_without_costs_is_named(tmp_path):
    frame = toy_frame().drop(columns="org/big|total_cost")
    with pytest.raises(ValueError, match=r"'org/big' has no 'org/big\|total_cost'"):
        read_routerbench(save(frame, tmp_path / "t.csv"))


@pytest.mark.parametrize("header", ["prompt,m,m", "prompt,m,prompt", "m,m,m"])
def test_duplicate_columns_in_csv(tmp_path, header):
    path = tmp_path / "t.csv"
    path.write_text(f"{header}\n1,1,0\n")
    with pytest.raises(ValueError, match=r"column '(m|prompt)' occurs more than once"):
        read_routerbench(path)


def test_duplicate_columns_in_memory():
    frame = pd.DataFrame([[1.0, 0.0]], columns=["m", "m"])
    with pytest.raises(ValueError, match="column 'm' occurs more than once"):
        from_wide(frame)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("prompt,a,b\n", "has no rows"),
        ("prompt,sample_id\nx,y\n", "no quality column"),
        ("prompt,,b\nx,1,0\n", "column 1 has no name"),
        ("prompt,a\nx,1,0\ny,1,1\n", "more fields than the header"),
        ("prompt,a\nx,1\ny,1,1\n", "Expected 2 fields in line 3"),
    ],
)
def test_wrong_csv_files(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"t\.csv.*{message}"):
        read_routerbench(path)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\xff\x00 garbage"])
def test_damaged_files_are_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"cannot read {name}"):
        read_routerbench(path)


def test_truncated_gzip(tmp_path):
    path = save(toy_frame(), tmp_path / "t.csv.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"cannot read t\.csv\.gz"):
        read_routerbench(path)


def test_long_text_in_a_models_column_is_cut_in_the_error(tmp_path):
    frame = toy_frame().assign(**{"org/big": ["long " * 1000] * 3})
    with pytest.raises(ValueError, match="column 'org/big'") as caught:
        read_routerbench(save(frame, tmp_path / "t.csv"))
    assert len(str(caught.value)) < 300


def test_empty_frame(tmp_path):
    with pytest.raises(ValueError, match="no rows"):
        read_routerbench(save(toy_frame().iloc[:0], tmp_path / "t.parquet"))


def test_wrong_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match="Give the path of a routing table"):
        read_routerbench(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match=r"path must end in \.csv.*'t\.xlsx'"):
        read_routerbench(tmp_path / "t.xlsx")
    with pytest.raises(TypeError, match="path must be the path of a file; got int"):
        read_routerbench(3)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileNotFoundError, match="is not a file"):
        read_routerbench(tmp_path / "folder.csv")


# Prices


def test_prices_by_name_in_any_order(plain, tmp_path):
    prices = {"org/big": 2, "org/small": 0.5}
    assert read_routerbench(plain, prices=prices).costs.tolist() == [0.5, 2.0]
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(prices))
    assert read_routerbench(plain, prices=path).costs.tolist() == [0.5, 2.0]
    assert read_routerbench(plain, prices=str(path)).costs.tolist() == [0.5, 2.0]
    assert read_routerbench(plain).costs is None


@pytest.mark.parametrize(
    ("prices", "error", "message"),
    [
        ({"org/big": 1}, ValueError, "prices.*org/small"),
        ({"org/big": 1, "org/small": 1, "gpt": 1}, ValueError, "prices.*gpt"),
        ({"org/big": -1, "org/small": 1}, ValueError, "prices.*negative.*org/big"),
        ({"org/big": "1", "org/small": 1}, ValueError, r"prices\['org/big'\].*'1'"),
        ({"org/big": True, "org/small": 1}, ValueError, r"prices\['org/big'\].*True"),
        ([1, 2], TypeError, "prices must map.*list"),
        (3.0, TypeError, "prices must map.*float"),
        ("absent.json", FileNotFoundError, "prices .*absent.json"),
    ],
)
def test_wrong_prices(plain, prices, error, message):
    with pytest.raises(error, match=message):
        read_routerbench(plain, prices=prices)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [("{", ValueError, "is not JSON"), ("[1, 2]", TypeError, "must map.*list")],
)
def test_wrong_price_files(plain, tmp_path, text, error, message):
    path = tmp_path / "prices.json"
    path.write_text(text)
    with pytest.raises(error, match=message):
        read_routerbench(plain, prices=path)


def test_prices_beside_measured_costs_are_ambiguous(tmp_path):
    path = save(toy_frame(), tmp_path / "t.csv")
    with pytest.raises(ValueError, match="prices is for tables without costs"):
        read_routerbench(path, prices={"org/big": 1, "org/small": 1})


# Embeddings


@pytest.mark.parametrize(
    ("given", "kept"),
    [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("i4", "f8"), (">f4", "f4")],
)
def test_embeddings_keep_their_precision(plain, tmp_path, given, kept):
    vectors = np.arange(6).reshape(3, 2).astype(given)
    np.save(tmp_path / "v.npy", vectors)
    for embeddings in (vectors, tmp_path / "v.npy", str(tmp_path / "v.npy")):
        data = read_routerbench(plain, embeddings=embeddings).data
        assert data.dtype == np.dtype(kept)
        np.testing.assert_array_equal(data, vectors)


@pytest.mark.parametrize(
    ("embeddings", "error", "message"),
    [
        (np.zeros((2, 4)), ValueError, r"each of the 3 queries.*\(2, 4\)"),
        (np.zeros(3), ValueError, r"two axes; got shape \(3,\)"),
        ([["a"], ["b"], ["c"]], ValueError, "must be numbers"),
        ([[0.0], [np.nan], [1.0]], ValueError, "must be finite; row 1"),
        ("absent.npy", FileNotFoundError, "embeddings .*absent.npy"),
    ],
)
def test_wrong_embeddings(plain, embeddings, error, message):
    with pytest.raises(error, match=message):
        read_routerbench(plain, embeddings=embeddings)


@pytest.mark.parametrize(
    "content", [b"", b"text", pickle.dumps(np.zeros((3, 2)))], ids=len
)
def test_embeddings_that_are_no_npy_file(plain, tmp_path, content):
    path = tmp_path / "v.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"embeddings 'v\.npy' is not an array"):
        read_routerbench(plain, embeddings=path)


# Fetching, from a real server on this machine


class Handler(BaseHTTPRequestHandler):
    """Serves the server's `content` in the way that the path names."""

    def do_GET(self):
        self.server.requests.append(self.path)
        content = self.server.content
        way = self.path
        if way == "/unsteady":
            way = "/broken" if len(self.server.requests) == 1 else "/good"
        if way == "/absent":
            self.send_error(404)
            return
        if way in ("/moved", "/circle", "/downhill"):
            elsewhere = f"http://localhost:{self.server.server_port}/good"
            targets = {"/moved": elsewhere, "/downhill": "ftp://localhost/good"}
            self.send_response(302)
            self.send_header("Location", targets.get(way, way))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if way in ("/stalled", "/slow"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:50])
            # Until the other side has had enough.
            for byte in content[50:90] if way == "/slow" else b"":
                self.wfile.write(bytes([byte]))
                self.server.patience.wait(0.05)
            self.server.patience.wait(2.0)
            return
        self.send_response(200)
        if way == "/endless":
            self.end_headers()
            self.wfile.write(4 * content)
            return
        sent = {"/wrong": content[:-1] + b"!", "/broken": content[:50]}.get(
            way, content
        )
        sent = sent[:-1] if way == "/short" else sent
        promised = len(content) if way == "/broken" else len(sent)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *args):
        """Stay quiet."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a toy table instead of the published one; nothing is tried twice."""
    content = save(toy_frame(), tmp_path / "toy.pkl").read_bytes()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.content, http.requests = content, []
        http.patience = threading.Event()
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        http.remote = replace(
            published.ROUTERBENCH,
            url=f"http://127.0.0.1:{http.server_port}/good",
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            retries=0,
        )
        monkeypatch.setattr(published, "ROUTERBENCH", http.remote)
        yield http
        http.patience.set()
        http.shutdown()
        thread.join()


def serve(server, monkeypatch, way, **changes):
    url = server.remote.url.replace("/good", way)
    monkeypatch.setattr(
        published, "ROUTERBENCH", replace(server.remote, url=url, **changes)
    )


def test_published_file_is_pinned():
    remote = published.ROUTERBENCH
    assert remote.url.startswith("https://")
    assert "784021482c3f320c6619ed4b3bb3b41a21424fcb" in remote.url
    assert len(bytes.fromhex(remote.sha256)) == 32
    assert remote.size == 99_567_659
    assert remote.retries > 0


def test_fetch_downloads_once(server, tmp_path):
    home = tmp_path / "home"
    table = fetch_routerbench(data_home=home)
    assert table.models.tolist() == ["org/small", "org/big"]
    assert table.costs.shape == table.quality.shape == (3, 2)
    assert os.listdir(home) == ["routerbench_0shot.pkl"]
    assert server.requests == ["/good"]
    again = fetch_routerbench(data_home=str(home))
    offline = fetch_routerbench(data_home=home, download_if_missing=False)
    assert server.requests == ["/good"]
    for other in (again, offline):
        np.testing.assert_array_equal(other.quality, table.quality)


def test_fetch_uses_the_environments_folder(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SKROUTE_DATA", str(tmp_path / "environment"))
    fetch_routerbench()
    assert (tmp_path / "environment" / "routerbench_0shot.pkl").is_file()
    fetch_routerbench(data_home=tmp_path / "argument")
    assert (tmp_path / "argument" / "routerbench_0shot.pkl").is_file()


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("/absent", "404"),
        ("/wrong", "SHA256 hash.*does not match"),
        ("/broken", "Nothing of it was kept"),
        ("/short", "ended at .* bytes"),
        ("/endless", "larger than the expected"),
    ],
)
def test_failed_downloads_leave_nothing_behind(
    server, tmp_path, monkeypatch, way, message
):
    serve(server, monkeypatch, way)
    home = tmp_path / "home"
    with pytest.raises(OSError, match=message) as caught:
        fetch_routerbench(data_home=home)
    assert str(home / "routerbench_0shot.pkl") in str(caught.value)
    assert os.listdir(home) == []
    assert server.requests == [way]


def test_a_redirect_to_another_host_is_followed(server, tmp_path, monkeypatch):
    serve(server, monkeypatch, "/moved")
    assert fetch_routerbench(data_home=tmp_path / "home").quality.shape == (3, 2)
    assert server.requests == ["/moved", "/good"]


@pytest.mark.parametrize(
    ("way", "message"),
    [("/circle", "redirected more than 5 times"), ("/downhill", "is not encrypted")],
)
def test_other_redirects_are_refused(server, tmp_path, monkeypatch, way, message):
    serve(server, monkeypatch, way)
    with pytest.raises(OSError, match=message):
        fetch_routerbench(data_home=tmp_path / "home")
    assert os.listdir(tmp_path / "home") == []


def test_what_another_host_sends_is_checked(server, tmp_path, monkeypatch):
    serve(server, monkeypatch, "/moved", sha256="0" * 64)
    with pytest.raises(OSError, match="does not match"):
        fetch_routerbench(data_home=tmp_path / "home")
    assert os.listdir(tmp_path / "home") == []


@pytest.mark.parametrize(
    ("way", "limits", "message"),
    [
        ("/stalled", {"timeout": (1.0, 0.2)}, "timed out"),
        ("/slow", {"timeout": (1.0, 5.0), "patience": 0.2}, "too slow"),
    ],
)
def test_downloads_that_stall_are_given_up(
    server, tmp_path, monkeypatch, way, limits, message
):
    serve(server, monkeypatch, way, **limits)
    with pytest.raises(OSError, match=message):
        fetch_routerbench(data_home=tmp_path / "home")
    assert os.listdir(tmp_path / "home") == []


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(OSError, match=r"could not download.*home"):
        fetch_routerbench(data_home=tmp_path / "home")
    assert (tmp_path / "home").read_text() == "a file"


def test_unreachable_server(server, tmp_path, monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    url = f"http://127.0.0.1:{port}/good"
    monkeypatch.setattr(published, "ROUTERBENCH", replace(server.remote, url=url))
    with pytest.raises(OSError, match="could not download"):
        fetch_routerbench(data_home=tmp_path / "home")


@pytest.mark.slow
def test_broken_connection_is_tried_again(server, tmp_path, monkeypatch):
    serve(server, monkeypatch, "/unsteady", retries=1)
    table = fetch_routerbench(data_home=tmp_path / "home")
    assert table.quality.shape == (3, 2)
    assert server.requests == ["/unsteady", "/unsteady"]


def test_too_large_a_file_is_not_tried_again(server, tmp_path, monkeypatch):
    serve(server, monkeypatch, "/endless", retries=3)
    with pytest.raises(OSError, match="larger"):
        fetch_routerbench(data_home=tmp_path / "home")
    assert server.requests == ["/endless"]


def test_without_download_the_way_out_is_told(server, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"download_if_missing=True.*SKROUTE"):
        fetch_routerbench(data_home=tmp_path / "home", download_if_missing=False)
    assert server.requests == []


def test_damaged_cache(server, tmp_path):
    path = tmp_path / "routerbench_0shot.pkl"
    path.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(OSError, match="is not the published file"):
        fetch_routerbench(data_home=tmp_path, download_if_missing=False)
    assert fetch_routerbench(data_home=tmp_path).quality.shape == (3, 2)
    assert path.read_bytes() == server.content


def test_fetch_without_pooch_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"needs pooch.*scikit-route\[data\]"):
        fetch_routerbench()
