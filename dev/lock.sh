#!/bin/sh
# Write the locked requirements, with hashes and without the address of any package index. The lock is valid for Python
# 3.11 to 3.13 on every platform that has wheels. A locked package keeps its version as long as the bounds in
# pyproject.toml allow the version; `dev/lock.sh --upgrade` selects the newest versions.
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

# The image has the same versions as the tests. Its build stage has the build backends.
compile requirements/image.txt --constraint requirements/dev.txt --extra kafka --extra cassandra --extra druid \
    pyproject.toml
compile requirements/build.txt --constraint requirements/dev.txt requirements/build.in

if grep -n "://" requirements/*.txt; then
    echo "a lock file names an address" >&2
    exit 1
fi
