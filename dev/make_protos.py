"""Compile `proto/` (step 0 in docs/walk.md: the contract) into stubs, type stubs and Envoy's descriptor set.

A proto file's package is its Python path, so `proto/hitmesh/api/hit/v1/hit.proto` becomes
`hitmesh/api/hit/v1/hit_pb2.py` and imports need no rewriting. Only the compiler and buf need the protos below
`proto/google`. The package googleapis-common-protos has the Python modules for these protos.

`python dev/make_protos.py` writes into the source tree and removes stubs whose proto no longer exists. With `--check`,
the script compiles into a temporary directory, prints each file that differs, and fails if a file differs. The output
is reproducible: equal protos and locked tools give equal bytes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO_DIR = Path("proto")
PACKAGE = "hitmesh"
DESCRIPTOR_SET = Path("hitmesh/api/descriptors/hitmesh.binpb")

# Error details occur only inside `google.protobuf.Any`, so no proto imports the error details. Envoy needs the
# descriptors of the error details to write errors as JSON.
ANY_PAYLOADS = ("google/rpc/error_details.proto",)

STUB_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


class CompileError(Exception):
    """The protos do not compile; protoc's own message is on standard error."""


def proto_files(root: Path) -> list[str]:
    """Return the project's own protos, sorted, as paths relative to the proto directory of `root`."""
    proto_dir = root / PROTO_DIR
    return sorted(path.relative_to(proto_dir).as_posix() for path in (proto_dir / PACKAGE).rglob("*.proto"))


def _run_protoc(root: Path, arguments: Sequence[str]) -> None:
    well_known = str(files("grpc_tools") / "_proto")
    command = ["protoc", f"--proto_path={root / PROTO_DIR}", f"--proto_path={well_known}", *arguments]
    if protoc.main(command) != 0:
        raise CompileError(f"protoc {' '.join(arguments)}")


def _plugin(name: str) -> str:
    """Return the protoc option that names the plugin in this interpreter's directory.

    With this option, protoc does not search PATH for the plugin.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise CompileError(f"{name} is not installed: run `make setup`")
    return f"--plugin={name}={found}"


def _write_descriptor_set(root: Path, out: Path, names: Sequence[str]) -> list[FileDescriptorProto]:
    """Write the descriptor set with imports, without source info, and return the descriptors of `names`."""
    target = out / DESCRIPTOR_SET
    target.parent.mkdir(parents=True, exist_ok=True)
    _run_protoc(root, [f"--descriptor_set_out={target}", "--include_imports", *names, *ANY_PAYLOADS])
    compiled = FileDescriptorSet.FromString(target.read_bytes())
    return [descriptor for descriptor in compiled.file if descriptor.name in set(names)]


def _write_inits(out: Path, names: Sequence[str]) -> None:
    """Write an `__init__.py` for every directory of stubs, except for the hand-written top package."""
    for name in names:
        for directory in list(Path(name).parents)[:-2]:
            docstring = f'"""Generated from proto/{directory.as_posix()} by `make proto`."""\n'
            (out / directory / "__init__.py").write_text(docstring, encoding="utf-8")


def compile_protos(root: Path, out: Path) -> None:
    """Compile every proto of `root` into the directory `out`, overwriting existing files.

    Raises:
        CompileError: the protos do not compile or a plugin is missing.
    """
    names = proto_files(root)
    if not names:
        raise CompileError(f"no proto below {PROTO_DIR / PACKAGE}")
    descriptors = _write_descriptor_set(root, out, names)
    _run_protoc(root, [_plugin("protoc-gen-mypy"), f"--python_out={out}", f"--mypy_out=quiet:{out}", *names])
    with_services = [descriptor.name for descriptor in descriptors if descriptor.service]
    if with_services:
        grpc_outputs = [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"]
        _run_protoc(root, [_plugin("protoc-gen-mypy_grpc"), *grpc_outputs, *with_services])
    _write_inits(out, names)


def _contents(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _is_stub(path: Path) -> bool:
    return path.name.endswith(STUB_SUFFIXES)


def stale_stubs(root: Path, wanted: Mapping[Path, bytes]) -> list[Path]:
    """Return the sorted paths, relative to `root`, of stubs whose proto does not exist."""
    present = (path.relative_to(root) for path in (root / PACKAGE).rglob("*_pb2*"))
    return sorted(path for path in present if _is_stub(path) and path not in wanted)


def differences(root: Path, wanted: Mapping[Path, bytes]) -> list[str]:
    """Return a line for each missing, stale or differing file in `root`, compared with a fresh compilation."""
    found = []
    for path, content in sorted(wanted.items()):
        committed = root / path
        if not committed.exists():
            found.append(f"missing: {path}")
        elif committed.read_bytes() != content:
            found.append(f"differs: {path}")
    return found + [f"stale:   {path}" for path in stale_stubs(root, wanted)]


def _write(root: Path, wanted: Mapping[Path, bytes]) -> None:
    for path in stale_stubs(root, wanted):
        (root / path).unlink()
    for path, content in wanted.items():
        target = root / path
        if not target.exists() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def main(argv: Sequence[str] | None = None) -> int:
    """Generate the stubs; with `--check`, only compare the stubs. Return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a generated file differs")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        try:
            compile_protos(ROOT, out)
        except CompileError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        wanted = _contents(out)
    if not arguments.check:
        _write(ROOT, wanted)
        return 0
    found = differences(ROOT, wanted)
    if found:
        sys.stderr.write("\n".join([*found, "generated code is not up to date: run `make proto`"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
