"""Tree messages of trees in memory, in the plain message of the public interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker._protos import remote_execution_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caskeeper.digest import Digest


def tree_message(data: Mapping[str, bytes], root: Digest) -> bytes:
    """The Tree of ``root``, its children in no particular order, each once; ``data`` is content by hash."""
    top = pb.Directory.FromString(data[root.hash])
    below: dict[str, pb.Directory] = {}
    todo = [top]
    while todo:
        for node in todo.pop().directories:
            if node.digest.hash not in below:
                below[node.digest.hash] = pb.Directory.FromString(data[node.digest.hash])
                todo.append(below[node.digest.hash])
    return pb.Tree(root=top, children=[below[name] for name in sorted(below)]).SerializeToString()
