"""One operation by BuildStream 1.6's own artifact cache, or its server; for the Python that has it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # with -P a script finds no neighbours

from buildstream._artifactcache.artifactcache import ArtifactCacheSpec
from buildstream._artifactcache.cascache import CASCache, CASRemote
from buildstream._artifactcache.casserver import server_main
from measuring import answer, compare, request, timed

_WAKE = "bench/wake/file"


def main() -> None:
    asked = request()
    if asked["operation"] == "serve":
        server_main(["--enable-push", "--port", str(asked["port"]), asked["cache"]])
    cache = CASCache(asked["cache"])
    remote = CASRemote(ArtifactCacheSpec(asked["url"], push=True))
    if asked["operation"] == "fill":
        for name in sorted(os.listdir(asked["tree"])):
            cache.commit([f"bench/{name}/key"], f"{asked['tree']}/{name}")
        answer()
        return
    _wake(cache, remote, asked)
    measured, path = timed(lambda: _run(cache, remote, asked))
    if asked.get("compare") and asked["operation"] == "links":
        compare(asked["tree"], path)
    answer(**measured)


def _run(cache: CASCache, remote: CASRemote, asked: dict[str, Any]) -> str:
    ref = asked["ref"]
    match asked["operation"]:
        case "commit" | "again":
            cache.commit([ref], asked["tree"])
        case "push" | "push again":
            remote.init()
            cache.push([ref], remote)
        case "pull":
            assert cache.pull(ref, remote), f"{ref} is not there"
        case "links":
            return str(cache.extract(ref, asked["destination"]))
        case "cleanup":
            # All that are to go, then one walk; the original walks the whole store for each of them.
            refs = sorted(name for name in cache.list_refs() if name != _WAKE)
            for name in refs[: len(refs) // 2]:
                cache.remove(name, defer_prune=True)
            cache.prune()
        case "evict one":
            cache.remove(max(name for name in cache.list_refs() if name != _WAKE))
    return ""


def _wake(cache: CASCache, remote: CASRemote, asked: dict[str, Any]) -> None:
    """The same operation once before: nothing is loaded or connected for the first time afterwards."""
    if asked["operation"] in {"cleanup", "evict one"}:
        return
    with tempfile.TemporaryDirectory(prefix="wake-", dir=asked["cache"]) as folder:
        os.makedirs(f"{folder}/tree")
        with open(f"{folder}/tree/file", "w", encoding="ascii") as file:
            file.write("wake")
        own = {**asked, "ref": _WAKE, "tree": f"{folder}/tree", "destination": f"{folder}/copy"}
        if asked["operation"] != "pull":
            _run(cache, remote, {**own, "operation": "commit"})
        _run(cache, remote, own)
        shutil.rmtree(f"{folder}/copy", ignore_errors=True)


if __name__ == "__main__":
    main()
