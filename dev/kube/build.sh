#!/bin/sh
# Build a kube-apiserver, with which tests/unit/test_k8s_apiserver.py checks the manifests in k8s/.
# Usage: dev/kube/build.sh DIRECTORY
# The build needs Go, 2 GB of memory, and 7 minutes on two cores. It prints the value of HITMESH_KUBE_APISERVER.
set -eu
[ $# = 1 ] || { echo "usage: dev/kube/build.sh DIRECTORY" >&2; exit 2; }
command -v go >/dev/null || { echo "Go is missing: install Go 1.24 or newer" >&2; exit 1; }
mkdir -p "$1"
to=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
release=$(awk '$1 == "require" { print $3 }' "$here/go.mod")
minor=${release#v1.}
minor=${minor%%.*}
base=k8s.io/component-base/version
# Go writes missing sums into go.sum, so it works on a copy.
mkdir -p "$to/source"
cp "$here/go.mod" "$here/go.sum" "$to/source"
cd "$to/source"
CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -mod=mod -trimpath -o "$to/kube-apiserver" \
    -ldflags "-s -w -X $base.gitVersion=$release -X $base.gitMajor=1 -X $base.gitMinor=$minor \
        -X $base.gitTreeState=clean -X $base.gitCommit=unknown -X $base.buildDate=2026-01-01T00:00:00Z" \
    k8s.io/kubernetes/cmd/kube-apiserver
echo "HITMESH_KUBE_APISERVER=$to/kube-apiserver"
