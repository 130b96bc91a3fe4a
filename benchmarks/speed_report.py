"""The report of `speed.py`, from its records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["report"]

_OURS = "RankingRouter"
# What is asked of an embedding of this width and a pool of this size: microseconds of a
# query, queries per second on two cores, seconds of a fit; ``None``: nothing.
_LIMITS = {
    (384, 11): (300, 50_000, 15),
    (1536, 11): (400, 25_000, 15),
    (3072, 11): (500, None, 15),
    (384, 70): (500, None, None),
}
_MOST_MIB = 10


def report(records: dict[str, Any]) -> Iterator[str]:
    """Write the lines of Markdown."""
    yield "# Speed, memory and size"
    if "serving" in records:
        yield from _measured(records)
    if "million" in records:
        yield from _million(records["million"])


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
        f", {machine['system']}; {versions}."
    )


def _measured(records: dict[str, Any]) -> Iterator[str]:
    size, ours = records["table"], records["serving"][_OURS]
    yield from ("", _machine(records["machine"]), "")
    yield (
        f"A made table of {size['n_queries']:,} queries x {size['n_models']} models, "
        f"{size['n_features']} features in single precision, costs per query"
        + (
            " (a quick run: not the sizes of the project's limits)."
            if records["quick"]
            else "."
        )
    )
    yield from ("", "## What is asked for, and what was measured", "")
    yield from ("| what | asked | measured |", "|---|---|---|")
    for what, asked, found in _asked(records):
        yield f"| {what} | {asked} | {found} |"
    if "shapes" in records:
        yield from _shapes(records)
    yield from ("", "## Beside others", "")
    yield (
        "One core, each in a process of its own. `route` under a mean budget: one "
        "query a call, and batches. Peers are fitted once, at one setting: their "
        "tuning and cross-fitting is not in their time, ours is in ours. EquiRouter is "
        "fitted on an eighth of the queries, and its time multiplied. In brackets: the "
        "peer's time over ours; above 1 we are faster."
    )
    yield ""
    yield "| router | one query, median | 99th percentile | a query in a batch | fit |"
    yield "|---|---|---|---|---|"
    for who, record in records["serving"].items():
        cells = [
            f"{shown} ({theirs / own:.3g}x)"
            for shown, theirs, own in zip(
                _shown(record), _times(record), _times(ours), strict=True
            )
        ]
        yield f"| {' | '.join([who, *(_shown(record) if who == _OURS else cells)])} |"
    yield from ("", "## Batches", "")
    yield (
        "Memory: the largest that Python allocated during one call, beyond queries and "
        "answers."
    )
    sizes = list(records["batches"][0]["memory_mib"])
    head = " | ".join(f"{int(n):,} queries" for n in sizes)
    yield from ("", f"| n_jobs | float32 | float64 | {head} |", "|---" * 6 + "|")
    for record in records["batches"]:
        memory = " | ".join(f"{record['memory_mib'][n]:.0f} MiB" for n in sizes)
        yield (
            f"| {record['n_jobs']} | {record['per_second_float32']:,.0f}/s "
            f"| {record['per_second_float64']:,.0f}/s | {memory} |"
        )
    yield from ("", "## Growth of the fit", "")
    yield (
        "One core. Exponents are slopes of the logarithm of processor time: 1 is "
        "linear, less is better; fixed costs, and rankers that learn from at most "
        "131,072 pairs, lower them. Memory is above the data."
    )
    for what in ("queries", "models"):
        exponent = records["growth"]["exponents"][what]
        yield from ("", f"In {what}: exponent {exponent:.2f}.", "")
        yield "| queries | models | s | memory | pickle |"
        yield "|---|---|---|---|---|"
        for point in records["growth"][what]:
            yield (
                f"| {point['n_queries']:,} | {point['n_models']} "
                f"| {point['seconds']:.1f} | {point['mib']:.0f} MiB "
                f"| {point['pickle_mib']:.2f} MiB |"
            )
    yield from _cores(records)


def _shapes(records: dict[str, Any]) -> Iterator[str]:
    """Wide embeddings, many models and prompts, each beside its limit."""
    yield from ("", "## Wide embeddings and many models", "")
    yield (
        f"{records['shapes'][0]['n_queries']:,} queries; one query and the fit on one "
        "core, batches on two, single precision. In brackets what is asked."
    )
    yield ""
    yield (
        "| features | models | one query, median | 99th percentile | queries/s on 2 "
        "cores | fit | file |"
    )
    yield "|---" * 7 + "|"
    file = f" ({_MOST_MIB})"
    for record in records["shapes"]:
        shape = record["n_features"], record["n_models"]
        query, rate, fit = _LIMITS.get(shape, (None, None, None))
        yield (
            f"| {shape[0]:,} | {shape[1]} "
            f"| {record['median_us']:.0f} us{_asked_for(query)} "
            f"| {record['p99_us']:.0f} us "
            f"| {record['per_second']:,.0f}{_asked_for(rate)} "
            f"| {record['fit_seconds']:.1f} s{_asked_for(fit)} "
            f"| {record['file_mib']:.1f} MiB{file} |"
        )
    yield from ("", "## Prompts beside embeddings", "")
    yield (
        f"A `TextRouter`, fitted on {records['prompts'][0]['n_queries']:,} made "
        "prompts of 60 words. One query: as a vector that `embed` made, as a prompt "
        "whose embedding is ready, and as a row of a pandas table with the embedding "
        "in its columns."
    )
    yield ""
    yield (
        "| features | models | a vector | a prompt | a row | prompts/s on 2 cores | "
        "fit | file |"
    )
    yield "|---" * 8 + "|"
    for record in records["prompts"]:
        shape = record["n_features"], record["n_models"]
        query, _, _ = _LIMITS.get(shape, (None, None, None))
        yield (
            f"| {shape[0]:,} | {shape[1]} "
            f"| {record['vector_us']:.0f} us "
            f"| {record['prompt_us']:.0f} us{_asked_for(query)} "
            f"| {record['row_us']:.0f} us "
            f"| {record['per_second']:,.0f} | {record['fit_seconds']:.1f} s "
            f"| {record['file_mib']:.1f} MiB{file} |"
        )


def _asked_for(limit: int | None) -> str:
    return "" if limit is None else f" ({limit:,})"


def _times(record: dict[str, Any]) -> list[float]:
    """Microseconds of queries, seconds of the fit."""
    batch = 1e6 / record["per_second"]
    return [record["median_us"], record["p99_us"], batch, record["fit_seconds"]]


def _shown(record: dict[str, Any]) -> list[str]:
    *queries, fit = _times(record)
    return [*(f"{time:,.3g} us" for time in queries), f"{fit:.1f} s"]


def _asked(records: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Limits of the project, on the sizes of the whole run."""
    ours, peers = records["serving"][_OURS], records["serving"]
    yield "one query, median, one core", "300 us", f"{ours['median_us']:.0f} us"
    yield "one query, 99th percentile", "1,000 us", f"{ours['p99_us']:.0f} us"
    if "kNN" in peers:
        ratio = peers["kNN"]["median_us"] / ours["median_us"]
        yield "times faster than kNN", "10", f"{ratio:.0f}"
    two = records["batches"][-1]
    yield (
        "queries/s on 2 cores",
        "50,000",
        f"{two['per_second_float32']:,.0f}",
    )
    memory = list(two["memory_mib"].values())
    yield (
        "memory of 4 times the queries",
        "flat",
        f"{memory[-1] / memory[0]:.2f} times",
    )
    for record in records["fits"]:
        yield (
            f"fit, n_jobs={record['n_jobs']}",
            "15 s, 1,024 MiB",
            f"{record['seconds']:.1f} s, {record['mib']:.0f} MiB",
        )
    exponents = records["growth"]["exponents"]
    yield (
        "exponents of the fit in queries, models",
        "1",
        f"{exponents['queries']:.2f}, {exponents['models']:.2f}",
    )
    sizes = [point["pickle_mib"] for point in records["growth"]["queries"]]
    yield (
        "pickle, at an eighth of the queries and at all",
        "10 MiB, alike",
        f"{sizes[0]:.2f}, {sizes[-1]:.2f} MiB",
    )
    seconds = records["imports"]
    above = seconds["skroute"] - seconds["scikit-learn"]
    yield "import, above scikit-learn", "0.3 s", f"{above:.2f} s"


def _cores(records: dict[str, Any]) -> Iterator[str]:
    threads = records["threads"]
    yield from ("", "## Cores", "")
    yield (
        "Threads that route batches of 256 on one router; answers are "
        f"{'the same' if threads['agree'] else 'NOT the same'}."
    )
    yield from ("", "| threads | queries/s |", "|---|---|")
    for count, rate in threads["per_second"].items():
        yield f"| {count} | {rate:,.0f} |"
    yield from (
        "",
        "A grid search of 8 fits; a fit takes as long when two run at once:",
    )
    yield from (
        "",
        "| search n_jobs | router n_jobs | s | s per fit |",
        "|---" * 4 + "|",
    )
    for record in records["searches"]:
        yield (
            f"| {record['n_jobs']} | {record['router_n_jobs']} "
            f"| {record['seconds']:.1f} | {record['fit_seconds']:.2f} |"
        )


def _million(record: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## A long table", "")
    yield (
        f"{record['n_queries']:,} queries x {record['n_models']} models, "
        f"{record['n_features']} features, memory-mapped single precision, "
        f"n_jobs={record['n_jobs']}: fitted in {record['seconds'] / 60:.1f} minutes "
        f"({record['cpu_seconds'] / 60:.1f} of processor time), at most "
        f"{record['mib'] / 1024:.1f} GiB above what was in memory before, the pages of "
        f"the mapped file among them; pickle {record['pickle_mib']:.2f} MiB."
    )
    yield from ("", _machine(record["machine"]))
