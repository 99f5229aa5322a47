"""TLS credentials of a client, from the PEM files a remote's spec names (wire-protocols section 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from caskeeper.errors import ConfigInvalid
from worker.certificates import Named, read_authorities, read_pair
from worker.remote.address import place_of

if TYPE_CHECKING:
    from caskeeper.config.remotes import RemoteSpec


def client_credentials(spec: RemoteSpec, *, url: str) -> grpc.ChannelCredentials:
    """Reads the files now (AC-12). Raises ConfigInvalid naming the file and why it is of no use."""
    roots = key = chain = None
    place = place_of(spec, url=url)
    if spec.server_cert:
        roots = read_authorities(Named("server-cert", spec.server_cert, place))
    if bool(spec.client_key) != bool(spec.client_cert):
        raise ConfigInvalid("client-key and client-cert go together", place, "give both of them or none")
    if spec.client_key and spec.client_cert:
        key, chain = read_pair(
            Named("client-key", spec.client_key, place), Named("client-cert", spec.client_cert, place)
        )
    return grpc.ssl_channel_credentials(roots, key, chain)
