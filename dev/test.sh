#!/bin/sh
# Every test, in the order in which a failure is cheapest: what needs nothing first, on two cores; then meshes on files;
# then real Kafka, Cassandra and Druid, started once; at last the tests that kill those. `fast` leaves the servers out.
# A part that fails ends the run; servers that were started are stopped in any case.
set -eu
cd "$(dirname "$0")/.."
export MAKEFLAGS=

pytest=.venv/bin/pytest
started=$(date +%s)
alone="tests/unit tests/property tests/contract tests/integration tests/replays"

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

part "what needs nothing" $pytest -q -n 2 --dist worksteal -m "not servers" $alone
part "meshes on files" $pytest -q -m "not servers" tests/e2e tests/kill

if [ "${1:-}" != fast ]; then
    trap '.venv/bin/hitmesh stack down --home .stack >/dev/null 2>&1 || true' EXIT
    part "servers" .venv/bin/hitmesh stack up --home .stack
    part "meshes on servers" $pytest -q -m servers --ignore=tests/faults tests
    part "servers that die" $pytest -q tests/faults
fi
echo "test: all passed in $(($(date +%s) - started)) s" >&2
