"""Generates ``worker/_protos`` from ``protos/``: ``make protos``, or into another folder for comparison.

The sources lie under the path of the package they become, so the generated imports are right as they are.
"""

from __future__ import annotations

import sys
from pathlib import Path

import google.rpc.status_pb2
import grpc_tools
from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
#: Messages only: a stub module without a service would be empty.
WITHOUT_SERVICES = ("artifact", "ref_record")


def generate(target: Path) -> None:
    """Write ``worker/_protos/*`` below ``target``. Exits with protoc's status when it fails."""
    sources = sorted(str(path) for path in HERE.glob("worker/_protos/*.proto"))
    site = Path(google.rpc.status_pb2.__file__).parents[2]
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    status = protoc.main(
        [
            "protoc",
            f"-I{HERE}",
            f"-I{site}",
            f"-I{well_known}",
            f"--python_out={target}",
            f"--pyi_out={target}",
            f"--grpc_python_out={target}",
            *sources,
        ]
    )
    if status:
        sys.exit(status)
    for name in WITHOUT_SERVICES:
        (target / "worker/_protos" / f"{name}_pb2_grpc.py").unlink()


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent)
