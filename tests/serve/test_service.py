"""A service decides as its router does, over HTTP, and keeps its door."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from provider import PRICES
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

import skroute
from skroute import BudgetDecider, DummyRouter, PointwiseRouter
from skroute.datasets import make_routing, read_table
from skroute.text import TextRouter

pytest.importorskip("fastapi", reason="pip install '.[serve]'")
pytest.importorskip("prometheus_client", reason="pip install '.[serve]'")

from fastapi.testclient import TestClient

from skroute.serve import Settings, create_app

TABLE = make_routing(120, n_features=8, n_models=3, random_state=0)
NAMES = list(PRICES)
Y = pd.DataFrame(TABLE.quality, columns=NAMES)
ROW = TABLE.data[0].tolist()
PROMPTS = [f"{'add' if i % 2 else 'prove'} {i % 7}x {i % 5}y" for i in range(120)]


@pytest.fixture(scope="module")
def router() -> Any:
    router = skroute.RankingRouter(n_estimators=0, random_state=0)
    return router.fit(TABLE.data, Y, costs=TABLE.costs)


@pytest.fixture(scope="module")
def file(router, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("router") / "r.skroute"
    skroute.save(router, file)
    return file


@pytest.fixture(scope="module")
def api(file) -> TestClient:
    return TestClient(create_app(Settings(file)))


def ask(api: TestClient, **body: Any) -> list[list[str]]:
    answer = api.post("/route", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["models"]


def refusal(answer: Any, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    return answer.json()["error"]["message"]


# Decisions


@pytest.mark.parametrize(
    "how_to",
    [
        {},
        {"price": 0.1},
        {"min_quality": "95%"},
        {"budget": float(TABLE.costs.mean()), "top_k": 2},
        {"budget": float(TABLE.costs.sum()), "scope": "batch"},
        {"budget": 0.0, "scope": "query", "on_infeasible": "cheapest"},
        {"price": 0.0, "tolerance": 0.2, "available": ["small", "medium"]},
    ],
)
def test_answers_are_those_of_the_router(api, router, how_to):
    expected = router.route(TABLE.data, **{"top_k": 1, **how_to})
    found = ask(api, embeddings=TABLE.data.tolist(), **how_to)
    assert found == [[name for name in row if name] for row in expected.tolist()]


def test_known_costs_are_part_of_a_request(api, router):
    body = {"embeddings": TABLE.data[:2].tolist(), "price": 0.1}
    costs = [{"large": 0.0, "small": 1e9}, {}]
    table = pd.DataFrame(costs)
    expected = router.route(TABLE.data[:2], price=0.1, costs=table).tolist()
    assert [names[0] for names in ask(api, **body, costs=costs)] == expected
    assert ask(api, **body, costs=[{}, {}]) == ask(api, **body)
    why = api.post("/explain", json={**body, "costs": costs}).json()["queries"]
    assert [row["chosen"] for row in why] == expected
    answer = api.post("/route", json={**body, "costs": [{"huge": 1.0}] * 2})
    assert "costs names huge" in refusal(answer)


def test_reasons_are_those_of_the_router(api, router):
    body = {"embeddings": TABLE.data[:5].tolist(), "min_quality": "95%"}
    answer = api.post("/explain", json=body)
    expected = router.explain(TABLE.data[:5], min_quality="95%")
    found = pd.DataFrame(answer.json()["queries"])
    assert found["chosen"].tolist() == expected["chosen"].tolist()
    np.testing.assert_allclose(found["margin"], expected["margin"])


def test_a_rule_of_the_service_gives_way_to_that_of_a_request(file, router):
    api = TestClient(create_app(Settings(file, {"min_quality": "90%"})))
    X = TABLE.data.tolist()
    for asked, means in [
        ({}, {"min_quality": "90%"}),
        ({"price": 0.2}, {"price": 0.2}),
        ({"tolerance": 0.01}, {"min_quality": "90%", "tolerance": 0.01}),
    ]:
        expected = router.route(TABLE.data, **means).tolist()
        assert [row[0] for row in ask(api, embeddings=X, **asked)] == expected


def test_a_pipeline_decides_as_it_was_saved(tmp_path):
    pipeline = make_pipeline(
        PCA(4, random_state=0),
        PointwiseRouter(Ridge(), random_state=0),
        BudgetDecider(float(np.median(TABLE.costs)), on_infeasible="cheapest"),
    )
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline.fit(TABLE.data, Y, costs=TABLE.costs)
    joblib.dump(pipeline, tmp_path / "p.joblib")
    api = TestClient(create_app(Settings(tmp_path / "p.joblib")))
    health = api.get("/health").json()
    assert health["reads"] == "embeddings"
    asked = ("budget", "min_quality", "price", "tolerance")
    known = {n: pipeline[-1].get_params()[n] for n in asked}
    assert health["rule"].items() >= {n: v for n, v in known.items() if v}.items()
    X = TABLE.data.tolist()
    expected = pipeline[-1].models_[pipeline.predict(TABLE.data)]
    assert [row[0] for row in ask(api, embeddings=X)] == expected.tolist()
    why = api.post("/explain", json={"embeddings": X}).json()["queries"]
    assert [row["chosen"] for row in why] == expected.tolist()
    vectors = pipeline[0].transform(TABLE.data)
    rule = pipeline[-1].get_params()
    for given, means in [
        ({"min_quality": "95%"}, {"min_quality": "95%", "on_infeasible": "cheapest"}),
        ({"tolerance": 0.3}, rule | {"tolerance": 0.3}),
        ({"scope": "query"}, rule | {"scope": "query"}),
    ]:
        expected = pipeline[1].route(vectors, **means)
        assert [row[0] for row in ask(api, embeddings=X, **given)] == expected.tolist()


def test_a_pipeline_that_begins_with_an_encoder_of_texts(tmp_path):
    pipeline = make_pipeline(
        TfidfVectorizer(),
        TruncatedSVD(4, random_state=0),
        PointwiseRouter(Ridge(), costs=TABLE.costs.mean(axis=0)),
    )
    pipeline.fit(PROMPTS, Y)
    joblib.dump(pipeline, tmp_path / "p.joblib")
    api = TestClient(create_app(Settings(tmp_path / "p.joblib")))
    expected = pipeline[-1].models_[pipeline.predict(PROMPTS[:9])]
    assert ask(api, prompts=PROMPTS[:9]) == [[name] for name in expected]
    refused = api.post("/route", json={"embeddings": [ROW]})
    assert "this router reads prompts" in refusal(refused)


@pytest.mark.parametrize("beside", [False, True])
def test_a_text_router(tmp_path, beside):
    X: Any = PROMPTS
    if beside:
        X = pd.DataFrame(TABLE.data, columns=[f"e{i}" for i in range(8)])
        X.insert(3, "question", PROMPTS)
    router = TextRouter(PointwiseRouter(Ridge(), costs=TABLE.costs.mean(axis=0)))
    router.fit(X, Y)
    skroute.save(router, tmp_path / "r.skroute")
    api = TestClient(create_app(Settings(tmp_path / "r.skroute")))
    given: dict[str, Any] = {"prompts": PROMPTS[:9]}
    if beside:
        given["embeddings"] = TABLE.data[:9].tolist()
    expected = router.route(X[:9], price=0.1)
    assert ask(api, **given, price=0.1) == [[name] for name in expected]
    refused = api.post("/route", json={"embeddings": [ROW]})
    assert api.get("/health").json()["reads"] in refusal(refused)
    if beside:
        few = api.post("/route", json={"prompts": PROMPTS[:2], "embeddings": [ROW]})
        assert "2 prompts but 1 embeddings" in refusal(few)


# Refusals


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "reads embeddings"),
        ({"prompts": ["hello"]}, "reads embeddings"),
        ({"embeddings": []}, "at least 1"),
        ({"embeddings": [ROW, ROW[:2]]}, "same length"),
        ({"embeddings": [ROW[:2]]}, "features"),
        ({"embeddings": [ROW] * 1001}, "at most 1000"),
        ({"embeddings": [ROW], "budget": -1}, "budget must be at least 0"),
        ({"embeddings": [ROW], "budget": 1e-30}, "budget"),
        ({"embeddings": [ROW], "scope": "year"}, "scope"),
        ({"embeddings": [ROW], "price": 1, "min_quality": 0.5}, "each fix"),
        ({"embeddings": [ROW], "available": ["tiny"]}, "tiny"),
        ({"embeddings": [ROW], "top_k": 9}, "top_k must be"),
        ({"embeddings": [ROW], "bugdet": 1}, "body.bugdet: .*not permitted"),
    ],
)
def test_bad_requests_are_answered_with_400(api, body, message):
    assert re.search(message, refusal(api.post("/route", json=body)))


@pytest.mark.parametrize("content", [b"", b"{", b'{"embeddings": [[NaN]]}', b"[]"])
def test_what_is_no_json_is_answered_with_400(api, content):
    headers = {"content-type": "application/json"}
    refusal(api.post("/route", content=content, headers=headers))


def test_paths_and_methods_that_are_none_are_refused_alike(api):
    assert refusal(api.get("/nothing"), 404) == "there is no /nothing here."
    wrong = api.get("/route")
    assert refusal(wrong, 405) == "/route does not take GET."
    assert wrong.headers["allow"] == "POST"
    assert wrong.json()["error"]["type"] == "invalid_request_error"
    # Chats need models.
    assert "/v1/models" in refusal(api.get("/v1/models"), 404)


def test_a_key_opens_all_but_health(file):
    api = TestClient(create_app(Settings(file, api_key="sesame")))
    body = {"embeddings": [ROW]}
    assert api.get("/health").status_code == 200
    for sent in [{}, {"authorization": "Bearer wrong"}, {"authorization": "sesame"}]:
        assert "API key" in refusal(api.post("/route", json=body, headers=sent), 401)
        assert api.get("/metrics", headers=sent).status_code == 401
    right = {"authorization": "Bearer sesame"}
    assert api.post("/route", json=body, headers=right).status_code == 200


def test_a_large_body_is_refused_however_it_comes(file):
    api = TestClient(create_app(Settings(file, max_bytes=100)))
    refusal(api.post("/route", content=b" " * 101), 413)
    refusal(api.post("/route", content=(b" " * 60 for _ in range(2))), 413)
    assert api.post("/route", content=b" " * 100).status_code == 400


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": {"budget": 1e-30}}, "budget"),
        ({"rule": {"min_quality": 7.0}}, "min_quality|quality"),
        ({"shadow": "tiny"}, "'tiny' is none of"),
        ({"api_key": " "}, "api_key is empty"),
        ({"timeout": 0.0}, "timeout must be above 0"),
        ({"max_calls": 0}, "max_calls must be at least 1"),
    ],
)
def test_what_cannot_be_served_is_refused_at_the_start(file, settings, message):
    with pytest.raises(ValueError, match=message):
        create_app(Settings(file, **settings))


def test_what_is_no_router_is_not_served(tmp_path):
    joblib.dump([1, 2], tmp_path / "list.joblib")
    with pytest.raises(ValueError, match="holds a list, not a router"):
        create_app(Settings(tmp_path / "list.joblib"))
    with pytest.raises(FileNotFoundError, match=r"none\.skroute"):
        create_app(Settings(tmp_path / "none.skroute"))


def test_a_pickle_under_the_name_of_a_router_runs_nothing(router, tmp_path):
    joblib.dump(router, tmp_path / "r.skroute")
    with pytest.raises(ValueError, match="cannot be loaded"):
        create_app(Settings(tmp_path / "r.skroute"))


# The file that is replaced


def test_a_file_that_is_replaced_is_loaded_anew(router, tmp_path, caplog):
    file = tmp_path / "r.skroute"
    skroute.save(router, file)
    app = create_app(Settings(file))
    api, watched = TestClient(app), app.state.service.watched
    assert not watched.reload()
    fewer = DummyRouter().fit(TABLE.data, Y[NAMES[:2]], costs=TABLE.costs[:, :2])
    skroute.save(fewer, file)
    assert watched.reload()
    assert api.get("/health").json()["models"] == NAMES[:2]
    # What cannot be loaded leaves the router in service, and says so, once.
    file.write_bytes(b"half a file")
    assert not watched.reload()
    assert not watched.reload()
    health = api.get("/health").json()
    assert health["status"] == "stale"
    assert "cannot be loaded" in health["reload_error"]
    assert health["models"] == NAMES[:2]
    assert caplog.text.count("cannot be loaded") == 1
    file.unlink()
    assert not watched.reload()
    assert ask(api, embeddings=[ROW])[0][0] in NAMES
    skroute.save(router, file)
    assert watched.reload()
    assert api.get("/health").json()["status"] == "ok"
    assert ask(api, embeddings=[ROW], available=["large"]) == [["large"]]
    metrics = api.get("/metrics").text
    assert 'skroute_reloads_total{result="loaded"} 2.0' in metrics
    assert 'skroute_reloads_total{result="refused"} 2.0' in metrics


def test_a_router_that_cannot_keep_the_rule_does_not_replace_one_that_can(
    router, tmp_path
):
    file = tmp_path / "r.skroute"
    skroute.save(router, file)
    app = create_app(Settings(file, {"budget": float(TABLE.costs.mean())}))
    dear = DummyRouter().fit(TABLE.data, Y, costs=1e6 * TABLE.costs)
    skroute.save(dear, file)
    assert not app.state.service.watched.reload()
    assert "budget" in app.state.service.watched.error


# The log


def test_the_log_is_a_table_of_calls(file, router, tmp_path):
    log = tmp_path / "log.jsonl"
    api = TestClient(create_app(Settings(file, {"price": 0.1}, log=log)))
    answer = api.post("/route", json={"embeddings": TABLE.data[:9].tolist()}).json()
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["query"] for row in rows] == answer["queries"]
    assert [[row["model"]] for row in rows] == answer["models"]
    cost = router.predict_cost(TABLE.data[:9])[
        range(9), [*map(NAMES.index, [r["model"] for r in rows])]
    ]
    np.testing.assert_allclose([row["expected_cost"] for row in rows], cost)
    assert {row["propensity"] for row in rows} == {1.0}
    # Who asked fills in how good the answer was, and what it cost.
    with log.open("w") as written:
        for row in rows:
            written.write(json.dumps({**row, "quality": 1.0, "cost": 0.5}) + "\n")
    table = read_table(log)
    assert len(table.quality) == 9
    assert np.nansum(table.quality) == 9


def test_explored_decisions_are_logged_with_their_chances(file, router, tmp_path):
    log = tmp_path / "log.jsonl"
    rule = {"price": 0.1, "explore": 0.5}
    api = TestClient(create_app(Settings(file, rule, log=log)))
    body = {"embeddings": [ROW] * 400}
    assert api.post("/route", json=body).status_code == 200
    calls = pd.read_json(log, lines=True)
    chances = calls.groupby("model")["propensity"].agg(["first", "nunique", "size"])
    assert (chances["nunique"] == 1).all()
    assert chances["first"].sum() == pytest.approx(1.0)
    np.testing.assert_allclose(chances["size"] / 400, chances["first"], atol=0.1)
    usual = router.route([ROW], price=0.1)[0]
    assert chances["first"].idxmax() == usual
    # What is explained is what is called where nothing is drawn.
    answer = api.post("/explain", json={"embeddings": [ROW]})
    assert answer.json()["queries"][0]["chosen"] == usual
    # A total holds for calls that are not drawn.
    batch = {"budget": float(TABLE.costs.sum()), "scope": "batch"}
    expected = router.route([ROW], top_k=1, **batch).tolist()
    assert ask(api, embeddings=[ROW], **batch) == expected


def test_a_log_that_cannot_be_written_stops_no_request(file, tmp_path, caplog):
    folder = tmp_path / "logs"
    folder.mkdir()
    api = TestClient(create_app(Settings(file, log=folder / "log.jsonl")))
    (folder / "log.jsonl").unlink()
    folder.rmdir()
    assert ask(api, embeddings=[ROW])
    assert "a row of the log is lost" in caplog.text
    assert "skroute_lost_log_rows_total 1.0" in api.get("/metrics").text
    with pytest.raises(OSError, match="logs"):
        create_app(Settings(file, log=folder / "log.jsonl"))


def test_a_shadow_decides_and_changes_nothing(file, router, tmp_path):
    log = tmp_path / "log.jsonl"
    settings = Settings(file, {"price": 1e9}, log=log, shadow="large")
    api = TestClient(create_app(settings))
    assert ask(api, embeddings=[ROW, ROW]) == [["large"], ["large"]]
    row = json.loads(log.read_text().splitlines()[0])
    assert (row["model"], row["decided"], row["propensity"]) == ("large", "small", 1.0)
    assert row["decided_cost"] < row["expected_cost"]
    assert 'skroute_decisions_total{model="small"} 2.0' in api.get("/metrics").text


# A process of its own


def test_requests_at_once_while_the_file_is_replaced(router, tmp_path):
    import httpx
    import uvicorn

    file = tmp_path / "r.skroute"
    skroute.save(router, file)
    app = create_app(Settings(file, reload_seconds=0.01))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        for _ in range(3000):
            if server.started:
                break
            assert thread.is_alive()
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"

        def asked(row: np.ndarray) -> str:
            body = {"embeddings": [row.tolist()], "price": 0.1}
            answer = http.post(f"{url}/route", json=body).raise_for_status()
            return answer.json()["models"][0][0]

        with httpx.Client(timeout=60) as http, ThreadPoolExecutor(8) as pool:
            answers = []
            for part in np.split(TABLE.data[:96], 4):
                skroute.save(router, file)
                answers += pool.map(asked, part)
    finally:
        server.should_exit = True
        thread.join(60)
    assert answers == router.route(TABLE.data[:96], price=0.1).tolist()


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "skroute", "serve"]
    return subprocess.Popen(
        [*command, *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_the_command_serves_and_stops_when_told(file):
    import socket

    import httpx

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(file, "--port", port, "--price", "0.1", "--host", "127.0.0.1")
    try:
        end = monotonic() + 120
        while True:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/health", timeout=30)
                break
            except httpx.TransportError:
                assert process.poll() is None, process.stderr.read()
                assert monotonic() < end
                sleep(0.1)
        assert answer.json()["rule"] == {"price": 0.1}
        process.terminate()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait(60)
    assert process.returncode == 0
    assert said.splitlines() == [
        f"serving {file} on http://127.0.0.1:{port}",
        "stopped",
    ]


@pytest.mark.slow
def test_the_command_says_in_a_line_what_is_wrong(file, tmp_path):
    pytest.importorskip("litellm", reason="pip install '.[serve]'")
    text, models = tmp_path / "text.skroute", tmp_path / "models.yaml"
    skroute.save(TextRouter(DummyRouter()).fit(PROMPTS, Y, costs=TABLE.costs), text)
    named = {name: {"model": f"openai/{name}"} for name in NAMES}
    odd = {"models": named, "router_settings": {"timeout_in_weeks": 1}}
    models.write_text(json.dumps(odd))
    for arguments, message in [
        ([tmp_path / "none.skroute"], "is not a file"),
        ([file, "--budget", "1e-30"], "budget"),
        ([file, "--scope", "batch", "--models", tmp_path / "m.yaml"], "one by one"),
        ([file, "--log", tmp_path / "no" / "log.jsonl"], "No such file"),
        ([text, "--models", models, "--port", "0"], "timeout_in_weeks"),
    ]:
        process = start(*arguments)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 2, said
        # LiteLLM is imported while the service answers already.
        assert said.splitlines()[-1].startswith("error: ")
        assert message in said


def test_a_service_without_a_rule_says_that_costs_do_not_count(file, caplog):
    with caplog.at_level("WARNING", "skroute.serve"):
        create_app(Settings(file, {"min_quality": "90%"}))
        assert "no rule" not in caplog.text
        create_app(Settings(file))
    assert "no rule: the model that is expected to be best is called" in caplog.text
