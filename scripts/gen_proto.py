#!/usr/bin/env python3
"""Generate the Python stubs of proto/swarm_api/*.proto, in place; `--check` only tells whether they are up to date."""

import argparse
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent / "proto"
WELL_KNOWN = Path(protoc.__file__).parent / "_proto"


def generate(out: Path) -> None:
    """Write *_pb2.py, *_pb2.pyi, and *_pb2_grpc.py (+ .pyi where it has services) of every proto below `out`."""
    files = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "swarm_api").glob("*.proto"))
    status = protoc.main([
        "protoc", f"-I{ROOT}", f"-I{WELL_KNOWN}", f"--python_out={out}", f"--mypy_out=quiet:{out}",
        f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *files,
    ])  # fmt: skip
    if status != 0:
        sys.exit(f"gen_proto: protoc failed with status {status}; its message is above.")
    for grpc_stub in (out / "swarm_api").glob("*_pb2_grpc.py"):
        if "Stub:" not in grpc_stub.read_text():
            grpc_stub.unlink()
            grpc_stub.with_suffix(".pyi").unlink(missing_ok=True)


def stale(fresh: Path) -> list[str]:
    """The names of generated files that differ from what the .proto files give now."""
    names = {p.name for p in (fresh / "swarm_api").glob("*_pb2*")} | {
        p.name for p in (ROOT / "swarm_api").glob("*_pb2*")
    }
    return sorted(n for n in names if _text(fresh / "swarm_api" / n) != _text(ROOT / "swarm_api" / n))


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 and name the files that are out of date")
    if not parser.parse_args().check:
        generate(ROOT)
        return
    with tempfile.TemporaryDirectory() as tmp:
        generate(Path(tmp))
        if names := stale(Path(tmp)):
            sys.exit(f"gen_proto: out of date: {', '.join(names)}; run scripts/gen_proto.py and commit the result.")


if __name__ == "__main__":
    main()
