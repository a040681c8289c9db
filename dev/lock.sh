#!/bin/sh
# Step 0, the environment: write the locked requirements, with hashes and without the address of any index.
# The lock holds for Python 3.11 to 3.13 on every platform that has wheels. What is locked stays at its version while
# the bounds allow it; `dev/lock.sh --upgrade` takes the newest ones.
set -eu
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
[ -x "$uv" ] || uv=uv

compile() {
    out=$1
    shift
    "$uv" pip compile --quiet --system-certs --universal --python-version 3.11 --generate-hashes --no-annotate \
        --no-emit-index-url --custom-compile-command "make lock" "$@" --output-file "$out"
}

compile requirements/run.txt "$@" pyproject.toml
compile requirements/dev.txt "$@" --extra kafka --extra cassandra --extra druid pyproject.toml requirements/dev.in

if grep -n "://" requirements/*.txt; then
    echo "a lock file names an address" >&2
    exit 1
fi
