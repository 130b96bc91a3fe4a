"""The command ``skroute serve``; what it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skroute.cli.options import with_rule


@with_rule
def serve(
    router: Annotated[
        Path,
        typer.Argument(
            metavar="ROUTER",
            help="A file that `skroute fit` saved; it is loaded anew when it is "
            "replaced. One that ends in .joblib, .pkl or .pickle is a pickle, which "
            "can run any code: only serve such files that you trust.",
        ),
    ],
    *,
    rule: dict[str, Any],
    models: Annotated[
        Path | None,
        typer.Option(
            metavar="models.yaml",
            help="How LiteLLM calls each model; adds /v1/chat/completions and "
            "/v1/models.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="SKROUTE_API_KEY",
            help="Key that clients send as a bearer token; better by the environment, "
            "since other users of a machine see options.",
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="LOG.jsonl",
            help="Append a line for each call: the next table to fit on.",
        ),
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Send everything to this model; only log what would have been called.",
        ),
    ] = None,
    pace: Annotated[
        bool,
        typer.Option(
            "--pace",
            help="Move the shadow price with what calls really cost, so that spending "
            "keeps to the mean --budget; callers of /route tell the cost at /outcome.",
        ),
    ] = False,
    explore: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of the queries whose model is drawn, better ones more often, "
            "so that the log tells of other models; it has the chance of each call.",
        ),
    ] = 0.0,
    max_calls: Annotated[
        int,
        typer.Option(min=1, help="Calls for a request, fallbacks and checks included."),
    ] = 3,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds that a call may take.")
    ] = 60.0,
    max_bytes: Annotated[
        int, typer.Option(min=1, help="Largest body of a request.")
    ] = 20 << 20,
) -> None:
    """Serve a router over HTTP: decisions, and chats if models are named.

    Paths: /route, /explain, /health, /metrics; with --models also /v1/models and
    /v1/chat/completions, where the model is skroute, skroute:95% or
    skroute:budget=0.002.

    Example: skroute serve router.skroute --models models.yaml --min-quality 95%
    """
    import logging

    from skroute._optional import require

    require("uvicorn", "skroute serve", "serve")
    from skroute.serve.run import serve as run
    from skroute.serve.settings import Settings

    if explore:
        rule = {**rule, "explore": explore}
    logging.captureWarnings(True)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = Settings(
        router,
        rule,
        models,
        api_key=api_key,
        log=log,
        shadow=shadow,
        pace=pace,
        max_calls=max_calls,
        timeout=timeout,
        max_bytes=max_bytes,
    )
    run(settings, host, port)
