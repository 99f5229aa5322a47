"""TLS credentials of a client, from the PEM files a remote's spec names (wire-protocols section 1)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import grpc

from caskeeper.errors import ConfigInvalid
from worker.remote.address import place_of

if TYPE_CHECKING:
    from caskeeper.config.remotes import RemoteSpec

_WAY_OUT = "name a PEM file that the worker can read"


def _content(path: str, *, role: str, place: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ConfigInvalid(
            f"the {role} {path!r} cannot be read: {error.strerror or error}", place, _WAY_OUT
        ) from None


def client_credentials(spec: RemoteSpec, *, url: str) -> grpc.ChannelCredentials:
    """Reads the files now (AC-12). Raises ConfigInvalid naming the file and why it is of no use.

    gRPC says nothing useful about a damaged file, so OpenSSL is asked before.
    """
    roots = key = chain = None
    place = place_of(spec, url=url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if spec.server_cert:
        roots = _content(spec.server_cert, role="server-cert", place=place)
        try:
            context.load_verify_locations(cadata=roots.decode("ascii", "replace"))
        except (ssl.SSLError, ValueError) as error:
            raise ConfigInvalid(
                f"the server-cert {spec.server_cert!r} holds no certificate: {error}", place, _WAY_OUT
            ) from None
    if bool(spec.client_key) != bool(spec.client_cert):
        raise ConfigInvalid("client-key and client-cert go together", place, "give both of them or none")
    if spec.client_key and spec.client_cert:
        key = _content(spec.client_key, role="client-key", place=place)
        chain = _content(spec.client_cert, role="client-cert", place=place)
        try:
            # An empty password: a locked key fails instead of asking on the terminal.
            context.load_cert_chain(spec.client_cert, spec.client_key, password="")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ConfigInvalid(
                f"the client-key {spec.client_key!r} and client-cert {spec.client_cert!r} "
                f"are not a usable pair: {error}",
                place,
                _WAY_OUT,
            ) from None
    return grpc.ssl_channel_credentials(roots, key, chain)
