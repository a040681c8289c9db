#!/bin/sh
# Run the tests, the cheapest first, so that failures are found early: first the tests without meshes and servers, two
# at a time; then meshes on files, and beside them the adapters on real Kafka, Cassandra and Druid, which are started
# once; then meshes on these servers; last the tests that kill the servers.
#   test.sh        all tests except those marked `long`
#   test.sh fast   the same, without the tests that need servers
#   test.sh long   the tests marked `long`, such as tests with whole files, and the property tests with more examples
# A part that fails ends the run. However the run ends, servers are stopped and no process is left behind.
set -eu
cd "$(dirname "$0")/.."
export MAKEFLAGS=
# Hundreds of processes import the same modules, so each module is compiled only once.
unset PYTHONDONTWRITEBYTECODE

mode=${1:-all}
pytest=.venv/bin/pytest
started=$(date +%s)
RUN_OF_TESTS=$$-$started
export RUN_OF_TESTS
# The servers run for minutes, so the optimising compiler would cost more time than it saves.
export JDK_JAVA_OPTIONS="${JDK_JAVA_OPTIONS:--XX:TieredStopAtLevel=1}"
# Two tests run at the same time, so each has one core, and a second thread would only cost time.
export POLARS_MAX_THREADS="${POLARS_MAX_THREADS:-1}"
# Most tests need a keyspace with all tables. Cassandra writes its own tables to disk at each schema change, so that the
# change survives a crash. Servers that no test kills can skip this, and then create a keyspace in 4 s instead of 10 s.
never_killed="$JDK_JAVA_OPTIONS -Dcassandra.test.flush_local_schema_changes=false"

# The longest tests come first, so that short tests keep both workers busy at the end.
alone="tests/replays tests/integration tests/property tests/contract tests/unit"
of_servers="tests/real/paths tests/real/kafka tests/real/cassandra tests/real/druid"
spread="-n 2 --dist worksteal"
# A mesh is mostly idle, so tests of two meshes run at the same time on two cores. Adapter tests mostly wait for a
# server, so three of them run at the same time. The tests of a file run in the same worker; directories with long files
# come first, so that all workers are busy at the end.
two="-n 2 --dist loadfile --no-loadscope-reorder"
three="-n 3 --dist loadfile --no-loadscope-reorder"

# Keep the servers' data in memory if the machine has enough memory, because Cassandra flushes to disk dozens of times
# for each new table. The logs of a failed run are copied to .stack/logs.
servers=$PWD/.stack
free_kib() { df -k --output=avail /dev/shm 2>/dev/null | awk 'END { print $1 + 0 }'; }
available_kib() { awk '/MemAvailable/ { print $2 }' /proc/meminfo; }
if [ "$mode" != fast ] && [ "$(free_kib)" -gt 8000000 ] && [ "$(available_kib)" -gt 16000000 ]; then
    servers=/dev/shm/hitmesh-$RUN_OF_TESTS
fi
export HITMESH_TEST_STACK_HOME="${HITMESH_TEST_STACK_HOME:-$servers}"

part() {
    title=$1
    shift
    began=$(date +%s)
    # Run the part in the background, so that a signal ends the wait at once.
    "$@" &
    if ! wait $!; then
        echo "test: $title failed after $(($(date +%s) - began)) s" >&2
        exit 1
    fi
    echo "test: $title took $(($(date +%s) - began)) s" >&2
}

# Begin a part whose output is shown at its end, when `end_beside` waits for it.
beside() {
    title_beside=$1
    shift
    output_beside=$(mktemp)
    began_beside=$(date +%s)
    "$@" >"$output_beside" 2>&1 &
    beside=$!
}

end_beside() {
    code=0
    wait "$beside" || code=$?
    cat "$output_beside" >&2
    rm -f "$output_beside"
    if [ $code != 0 ]; then
        echo "test: $title_beside failed after $(($(date +%s) - began_beside)) s" >&2
        exit 1
    fi
    echo "test: $title_beside took $(($(date +%s) - began_beside)) s, some of them beside the part before" >&2
}

adapters_on_servers() {
    env "JDK_JAVA_OPTIONS=$never_killed" .venv/bin/hitmesh stack up --home "$HITMESH_TEST_STACK_HOME" &&
        exec $pytest -q --durations 25 $three -m "servers and not long" $of_servers tests/contract
}

tidy() {
    code=$?
    trap - EXIT INT TERM
    [ "$mode" = fast ] || .venv/bin/hitmesh stack down --home "$HITMESH_TEST_STACK_HOME" >/dev/null 2>&1 || true
    .venv/bin/python dev/sweep.py "$RUN_OF_TESTS"
    rm -f "${output_beside:-}"
    if [ "$servers" != "$PWD/.stack" ]; then
        [ $code = 0 ] || { mkdir -p .stack && cp -r "$servers/stack/logs" .stack/; } 2>/dev/null || true
        rm -rf "$servers"
    fi
    exit $code
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

.venv/bin/python dev/yardstick.py
if [ "$mode" = all ]; then
    # Fetch the servers' programs while the first parts run; `stack up` waits for this fetch, and repeats a failed fetch.
    .venv/bin/hitmesh stack fetch >/dev/null 2>&1 &
fi
if [ "$mode" = long ]; then
    part "whole files" $pytest -q --durations 10 $spread -m "long and not servers" $alone
    part "properties on ten times the examples" env EXAMPLES=10 $pytest -q --durations 10 $spread -m "not servers" \
        tests/property
    part "servers" .venv/bin/hitmesh stack up --home "$HITMESH_TEST_STACK_HOME"
    part "long tests on servers" $pytest -q --durations 10 -m "long and servers" tests
else
    part "examples of the vocabulary" $pytest -q --doctest-modules hitmesh/model
    part "what needs nothing" $pytest -q --durations 25 $spread -m "not servers and not long" $alone
    if [ "$mode" = all ]; then
        beside "adapters on servers" adapters_on_servers
    fi
    part "meshes on files" $pytest -q --durations 15 $two -m "not servers and not long" tests/breaking/kill tests/e2e
    if [ "$mode" = all ]; then
        end_beside
        part "meshes on servers" $pytest -q --durations 40 $three -m "servers and not long" \
            tests/e2e tests/breaking/faults tests/breaking/kill
        part "servers that die" $pytest -q --durations 10 -m "not long" tests/breaking/outages
    fi
fi
echo "test: all passed in $(($(date +%s) - started)) s" >&2
