"""Why an address cannot be listened on; gRPC tells that only to its own log."""

from __future__ import annotations

import errno
import socket

from caskeeper.errors import ConfigInvalid

_WAY_OUT = {
    errno.EADDRINUSE: "something listens there already: end it, or name another port",
    errno.EADDRNOTAVAIL: "name an address of this machine, or 0.0.0.0 for all it has",
    errno.EACCES: "ports below 1024 are the system's: name a higher one",
}


def cannot_listen(host: str, port: int) -> ConfigInvalid:
    """The error for it, with the reason that a plain socket is given there."""
    what, way_out = f"cannot listen on {host}:{port}", "name another address or port"
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _name, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
                probe.bind(address)
    except OSError as trouble:
        what += f": {trouble.strerror}"
        unknown = "name a host that is known, or an address"
        way_out = (
            unknown if isinstance(trouble, socket.gaierror) else _WAY_OUT.get(trouble.errno or 0, way_out)
        )
    return ConfigInvalid(what, "--listen", way_out)
