#!/bin/sh
# Step 0, the environment: create .venv with all locked tools and `hitmesh` itself; only a Python is needed. Every
# package that is fetched, including the build backend, is in the lock with its hash. The stamp contains a digest of the
# files from which .venv is made. If the digest is unchanged, a second run does nothing. Otherwise, .venv is created
# again, so that it contains no package from an earlier lock.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
stamp=$venv/.stamp
lock=requirements/dev.txt

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# The digest covers the project's metadata in pyproject.toml, but not the settings of tools.
digest() {
    { sed '/^\[tool\.pytest/q' pyproject.toml && cat "$lock" dev/setup.sh && pwd; } | cksum
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "no Python >= 3.11 found; install one and run: make setup PYTHON=/path/to/python3"
}

has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Debian has venv and ensurepip in a package that is separate from python3.
ensure_venv() {
    if has_venv "$1"; then return; fi
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    command -v apt-get >/dev/null || die "$1 lacks the modules venv and ensurepip; install them"
    [ "$(id -u)" = 0 ] || die "$1 lacks the module venv; run: sudo apt-get install $package"
    say "installing $package"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq -y "$package" >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -qq -y "$package"; } >/dev/null ||
        die "apt-get could not install $package"
    has_venv "$1" || die "$1 still lacks the modules venv and ensurepip; install them"
}

pip() { "$venv/bin/python" -m pip "$@" --quiet --disable-pip-version-check; }

# Print a locked requirement with its hashes.
locked() { awk -v start="^$1==" '$0 ~ start { on = 1 } on { print; if ($0 !~ /\\$/) exit }' "$lock"; }

# uv installs the lock several times faster than pip. If uv cannot run, pip installs the lock.
install_locked() {
    locked uv >"$venv/uv.txt"
    if pip install --require-hashes --no-deps -r "$venv/uv.txt" &&
        "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --system-certs \
            --compile-bytecode --require-hashes -r "$lock"; then
        return
    fi
    say "uv could not install the lock; using pip"
    pip install --require-hashes -r "$lock"
}

wanted=$(digest)
if [ -x "$venv/bin/hitmesh" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

started=$(date +%s)
python=$(find_python)
ensure_venv "$python"
say "making $venv with $("$python" -V)"
"$python" -m venv --clear "$venv"
install_locked
pip install --no-deps --no-build-isolation --no-index --editable .
# The processes of a mesh import the same modules at the same time. With compiled modules, they start in a third of the
# time.
"$venv/bin/python" -m compileall -q hitmesh collector processor reporter control
[ -x "$venv/bin/hitmesh" ] || die "the installation made no $venv/bin/hitmesh"
echo "$wanted" >"$stamp"
say "ready in $(($(date +%s) - started)) s: $venv/bin/hitmesh"
