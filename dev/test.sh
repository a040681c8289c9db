#!/bin/sh
# Run the checks and the tests. Two lanes run at the same time, because tests on servers mostly wait for a server:
#   without servers, the cheapest first, so that failures are found early: the checks, tests without meshes, and meshes
#   on files
#   on servers, which are started once: the adapters, meshes, and last the tests that kill the servers
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
beside=
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

# Begin the lane of servers. Its output is shown when `look_beside` finds the lane's end.
beside() {
    output_beside=$(mktemp)
    (
        trap - EXIT HUP INT TERM
        "$@"
    ) >"$output_beside" 2>&1 &
    beside=$!
}

# End the run if the lane of servers has failed, or, with `wait`, wait for its end and show its output.
look_beside() {
    [ -n "$beside" ] || return 0
    [ "${1:-}" = wait ] || ! kill -0 "$beside" 2>/dev/null || return 0
    code=0
    wait "$beside" || code=$?
    beside=
    cat "$output_beside" >&2
    rm -f "$output_beside"
    [ $code = 0 ] || exit 1
}

lane_of_servers() {
    # The first start fetches the servers' programs.
    part "servers" env "JDK_JAVA_OPTIONS=$never_killed" .venv/bin/hitmesh stack up --home "$HITMESH_TEST_STACK_HOME"
    part "adapters on servers" $pytest -q --durations 25 $three -m "servers and not long" $of_servers tests/contract
    part "meshes on servers" $pytest -q --durations 40 $three -m "servers and not long" \
        tests/e2e tests/breaking/faults tests/breaking/kill
    part "servers that die" $pytest -q --durations 10 -m "not long" tests/breaking/outages
}

tidy() {
    code=$?
    trap - EXIT HUP INT TERM
    if [ -n "$beside" ]; then
        kill "$beside" 2>/dev/null || true
        # After a hang-up, nobody reads this, and tidying must go on.
        cat "$output_beside" >&2 || true
    fi
    [ "$mode" = fast ] || .venv/bin/hitmesh stack down --home "$HITMESH_TEST_STACK_HOME" >/dev/null 2>&1 || true
    .venv/bin/python dev/sweep.py "$RUN_OF_TESTS"
    rm -f "${output_beside:-}"
    rm -rf "$servers"-members*
    if [ "$servers" != "$PWD/.stack" ]; then
        [ $code = 0 ] || { mkdir -p .stack && cp -r "$servers/stack/logs" .stack/; } 2>/dev/null || true
        rm -rf "$servers"
    fi
    exit $code
}
trap tidy EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

.venv/bin/python dev/yardstick.py
if [ "$mode" = long ]; then
    # Manifests are checked on a real API server and with Helm, if Go, etcd and kubectl are there to build and to run them.
    if command -v go >/dev/null && command -v etcd >/dev/null && command -v kubectl >/dev/null; then
        part "Helm and a kube-apiserver" dev/kube/tools.sh "$PWD/.stack/kube"
        part "manifests on a real API server" env "HITMESH_HELM=$PWD/.stack/kube/helm" \
            "HITMESH_KUBE_APISERVER=$PWD/.stack/kube/kube-apiserver" \
            $pytest -q --durations 10 tests/unit/test_k8s_apiserver.py tests/unit/test_chart.py
    fi
    part "whole files" $pytest -q --durations 10 $spread -m "long and not servers" $alone
    part "properties on ten times the examples" env EXAMPLES=10 $pytest -q --durations 10 $spread -m "not servers" \
        tests/property
    part "servers" .venv/bin/hitmesh stack up --home "$HITMESH_TEST_STACK_HOME"
    part "long tests on servers" $pytest -q --durations 10 -m "long and servers" tests
else
    [ "$mode" = fast ] || beside lane_of_servers
    part "checks" make -j 2 -O static
    part "examples of the vocabulary" $pytest -q --doctest-modules hitmesh/model
    part "what needs nothing" $pytest -q --durations 25 $spread -m "not servers and not long" $alone
    look_beside
    part "meshes on files" $pytest -q --durations 15 $two -m "not servers and not long" tests/breaking/kill tests/e2e
    look_beside wait
fi
echo "test: all passed in $(($(date +%s) - started)) s" >&2
