"""Texts of strangers: names and prompts that act upon a terminal, or end a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from typer.testing import CliRunner

import skroute
import skroute.cli.files
from skroute import DummyRouter, PointwiseRouter, RankingRouter
from skroute.cli import app
from skroute.cli.files import read_queries
from skroute.datasets import make_routing
from skroute.text import SentenceEncoder

DATA = make_routing(60, n_features=4, n_models=3, random_state=0)
X, Y, C = DATA.data, DATA.quality, DATA.costs
# A colour, half of a character, two lines, and one that turns what follows around.
STRANGE = ["a\x1b[31m", "a\ud83d", "a\nb", "a\u202eb"]


def named(*names: str) -> pd.DataFrame:
    return pd.DataFrame(Y, columns=pd.Index(names, dtype=object))


@pytest.mark.parametrize("name", STRANGE)
def test_names_that_cannot_be_printed_are_refused_at_the_door(name, tmp_path):
    y = named("b", name, "c")
    for call in (
        lambda: DummyRouter().fit(X, y, costs=C),
        lambda: PointwiseRouter(Ridge()).fit(X, y, costs=C),
        lambda: skroute.metrics.routing_curve(y, C, Y, C),
    ):
        with pytest.raises(ValueError, match=r"is called.*cannot be printed") as caught:
            call()
        assert str(caught.value).isprintable()
    router = RankingRouter(n_estimators=0).fit(X, Y, costs=C)
    with pytest.raises(ValueError, match="cannot be printed"):
        router.add_model(name, Y[:, 0], X=X, costs=C[:, 0])
    # No file brings them in either.
    router.models_ = np.array([name, "b", "c"], dtype=object)
    with pytest.raises(ValueError, match="cannot be printed"):
        skroute.save(router, tmp_path / "r.skroute")


@pytest.mark.slow
def test_a_report_is_written_whatever_is_in_its_texts(tmp_path):
    router = PointwiseRouter(Ridge(), random_state=0).fit(X, Y, costs=C)
    texts = [STRANGE[i % len(STRANGE)] for i in range(len(X))]
    html = skroute.report(
        router,
        X,
        Y,
        costs=C,
        task=texts,
        prompts=texts,
        show_prompts=True,
        peers={"peer \ud83d": DummyRouter().fit(X, Y, costs=C)},
        title="cut \ud83d",
        path=tmp_path / "r.html",
        n_bootstrap=0,
    ).html
    assert (tmp_path / "r.html").read_text("utf-8") == html
    assert "cut \ufffd" in html
    assert "peer \ufffd" in html
    assert "\x1b" not in html


def test_errors_of_the_command_do_not_act_upon_a_terminal(tmp_path):
    result = CliRunner().invoke(app, ["route", str(tmp_path / "a\x1b[2Jb.skroute")])
    assert result.exit_code == 2
    assert "\x1b" not in result.stderr


def test_encoders_are_given_whole_characters():
    seen = []

    def encode(texts, **_):
        seen.extend(texts)
        return np.zeros((len(texts), 2))

    SentenceEncoder(SimpleNamespace(encode=encode)).transform(["cut \ud83d", "a\nb"])
    assert seen == ["cut \ufffd", "a\nb"]


# Prompts without an end


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="has no such device")
def test_a_device_without_an_end_is_refused_at_once():
    code = (
        "import resource, sys\n"
        "from skroute.cli.files import read_queries\n"
        "room = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for source in ('/dev/zero', '-'):\n"
        "    try:\n"
        "        read_queries(source)\n"
        "    except ValueError as error:\n"
        "        print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - room)\n"
    )
    with Path("/dev/zero").open("rb") as zeros:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=zeros,
            capture_output=True,
            text=True,
            check=True,
            timeout=200,
            cwd=Path(skroute.__file__).parents[1],
        )
    *errors, kilobytes = done.stdout.splitlines()
    assert [error.count("zero bytes") for error in errors] == [1, 1]
    assert int(kilobytes) < 50_000


def test_prompts_are_bounded(tmp_path, monkeypatch):
    file = tmp_path / "q.txt"
    file.write_bytes("\ufeffone\r\ntwo\x1b[2J\n\n\ud83d".encode("utf-8", "replace"))
    assert read_queries(str(file)).prompts == ["one", "two\ufffd[2J", "", "?"]
    monkeypatch.setattr(skroute.cli.files, "_MOST_BYTES", 10)
    with pytest.raises(ValueError, match="more than 10 bytes; route it in parts"):
        read_queries(str(file))
    file.write_bytes(b"\xff\xfeo\x00n\x00e\x00")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        read_queries(str(file))
    file.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        read_queries(str(file))
