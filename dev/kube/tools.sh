#!/bin/sh
# Build Helm, and the kube-apiserver of dev/kube/build.sh, for the tests of k8s/.
# Usage: dev/kube/tools.sh DIRECTORY
# The build needs Go, and 2 and 7 minutes on two cores. A program that exists is not built again. The output are the
# values of HITMESH_HELM and HITMESH_KUBE_APISERVER.
set -eu
[ $# = 1 ] || { echo "usage: dev/kube/tools.sh DIRECTORY" >&2; exit 2; }
command -v go >/dev/null || { echo "Go is missing: install Go 1.24 or newer" >&2; exit 1; }
mkdir -p "$1"
to=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
[ -x "$to/helm" ] || GOBIN=$to GOFLAGS=-buildvcs=false CGO_ENABLED=0 go install helm.sh/helm/v4/cmd/helm@v4.3.1
echo "HITMESH_HELM=$to/helm"
[ -x "$to/kube-apiserver" ] || "$here/build.sh" "$to" >/dev/null
echo "HITMESH_KUBE_APISERVER=$to/kube-apiserver"
