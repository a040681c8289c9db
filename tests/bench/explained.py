"""Explain the measurements in sentences that name the largest costs."""

from __future__ import annotations

from tests.bench.measured import Result

_WORDS = {
    "decode": "protobuf → Arrow (ptars)",
    "admit": "checks, times, identity, URLs, classification, partition (Polars)",
    "split": "slicing by partition",
    "pack": "Arrow IPC with zstd",
    "concatenate_and_tell": "joining slices of a record, answering the streams",
    "read_records": "zstd, Arrow, claims, headers checked",
    "grpc_and_streams": "HTTP/2, message objects, stream and reader threads, acks",
    "read_and_decode": "zstd, Arrow, choice of the day's rows",
    "duplicates": "copies by visitor and id",
    "visits": "timelines cut into visits",
    "traffic_rows": "grouping by cell and dimensions, visitor sketches",
    "visits_rows": "grouping visits",
    "carry_ledger_and_rest": "orders, visit dimensions of hits, carry, ledger, digests",
    "write": "Parquet segment, merged where there are many",
    "scan_and_publish": "raw rows from SQLite, marks, generation",
    "copies": "ids looked up in the filter and, where it has them, in the kept hits; ids added",
    "timelines": "timelines found and made, what each hit is",
    "visits_fast": "visits built on from their summary",
    "visits_slow": "visits built anew from kept hits",
    "contributions": "what each hit and visit adds",
    "endings": "visits that have ended",
    "horizon": "forgetting, once an epoch",
    "sketches": "visitor sketches",
    "sums": "partials of the epoch, ledger, digests",
    "kept_hits": "hits sorted by timeline and written to local disk",
    "distinct_texts": "distinct texts per site and hour (rule S10)",
    "core_rest": "orders, positions, everything else",
}


def where_the_time_goes(results: Result) -> list[str]:
    """Return a sentence for each benchmark.

    Each sentence lists the stages of a benchmark from the most expensive to the cheapest.
    """
    sentences = [
        _sentence("collector", results["collector"]["us_per_hit"]),
        *(
            _sentence(name, results[name]["us_per_hit"])
            for name in ("core", "core_many")
            if "left_out" not in results[name]
        ),
        _sentence("settlement", results["settlement"]["us_per_hit"]),
        _of_mesh(results["mesh"]),
    ]
    reports = results["reports"]
    timed = {name: part for name, part in reports.items() if isinstance(part, dict)}
    slowest = max(timed, key=lambda name: float(timed[name]["p50_ms"]))
    sentences.append(
        f"RunReport: {slowest} is the slowest question with {timed[slowest]['p50_ms']} ms in the middle; "
        f"the store folds {reports['days']} days into {timed[slowest]['rows_of_the_store']:,} rows with sketches, "
        f"{timed[slowest]['rows']} are answered."
    )
    return sentences


def _of_mesh(mesh: Result) -> str:
    """Return a sentence about the highest sustained rate.

    The sentence gives the number of cores that each process used, and the machine's number of cores.
    """
    held = next((run for run in mesh["runs"] if run["held"]), None)
    if held is None:
        return "mesh: no rate was held for a minute"
    used = ", ".join(f"{name} {process['cpu_cores']:.2f}" for name, process in held["processes"].items())
    return f"mesh: at {held['rate']:,} hits/s {held['cores_used']} of {held['cores']} cores are used: {used}."


def _sentence(part: str, us_per_hit: dict[str, float]) -> str:
    total = us_per_hit["all"]
    stages = sorted(((us, name) for name, us in us_per_hit.items() if name != "all"), reverse=True)
    shares = ", ".join(f"{_WORDS[name]} {us:.2f} µs ({us / total:.0%})" for us, name in stages)
    return f"{part}: {total:.2f} µs a hit: {shares}."
