#!/bin/sh
# Every test, in the order in which a failure is cheapest: what needs nothing first, on two cores; then meshes on files;
# then real Kafka, Cassandra and Druid, started once; at last the tests that kill those. `fast` leaves the servers out.
# A part that fails ends the run; servers that were started are stopped in any case.
set -eu
cd "$(dirname "$0")/.."
export MAKEFLAGS=

pytest=.venv/bin/pytest
started=$(date +%s)
# Whole files, streamed and settled in every way at once: half the time of all that needs nothing; `fast` leaves them out.
long="tests/replays/test_live_replays.py::test_a_file_is_streamed_and_then_settled_as_the_reference_says"
# Longest first: the short ones fill up what is left at the end.
alone="tests/replays tests/integration tests/property tests/contract tests/unit"
of_servers="tests/servers_cassandra tests/servers_kafka tests/servers_druid tests/servers_paths"
# A mesh mostly waits, so two of them share two cores; files of tests stay together, the longest come first.
side_by_side="-q -n 2 --dist loadfile --no-loadscope-reorder"

part() {
    title=$1
    shift
    began=$(date +%s)
    "$@" || {
        code=$?
        echo "test: $title failed" >&2
        exit "$code"
    }
    echo "test: $title took $(($(date +%s) - began)) s" >&2
}

[ "${1:-}" = fast ] && less="--deselect $long" || less=
part "what needs nothing" $pytest -q --durations 25 -n 2 --dist worksteal -m "not servers" $less $alone
part "meshes on files" $pytest $side_by_side -m "not servers" tests/kill tests/e2e

if [ "${1:-}" != fast ]; then
    trap '.venv/bin/hitmesh stack down --home .stack >/dev/null 2>&1 || true' EXIT
    part "servers" .venv/bin/hitmesh stack up --home .stack
    part "meshes on servers" $pytest $side_by_side -m servers tests/kill tests/faults tests/e2e tests/contract $of_servers
    part "servers that die" $pytest -q tests/outages
fi
echo "test: all passed in $(($(date +%s) - started)) s" >&2
