"""TLS credentials of a client, from the PEM files a remote's spec names (wire-protocols section 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import grpc

from caskeeper.errors import ConfigInvalid
from worker.certificates import Named, Pair, read_authorities, read_pair
from worker.remote.address import place_of

if TYPE_CHECKING:
    from caskeeper.config.remotes import RemoteSpec


class Credentials(NamedTuple):
    """Whom to trust, and what to show; equal while the files say the same."""

    authorities: bytes | None = None
    pair: Pair | None = None

    @classmethod
    def read(cls, spec: RemoteSpec, *, url: str) -> Credentials:
        """The files as they are now (AC-12). Raises ConfigInvalid naming the file and why it is of no use."""
        place = place_of(spec, url=url)
        authorities = pair = None
        if spec.server_cert:
            authorities = read_authorities(Named("server-cert", spec.server_cert, place))
        if bool(spec.client_key) != bool(spec.client_cert):
            raise ConfigInvalid("client-key and client-cert go together", place, "give both of them or none")
        if spec.client_key and spec.client_cert:
            pair = read_pair(
                Named("client-key", spec.client_key, place), Named("client-cert", spec.client_cert, place)
            )
        return cls(authorities, pair)

    def of_channel(self) -> grpc.ChannelCredentials:
        """As gRPC takes them."""
        key, chain = self.pair or (None, None)
        return grpc.ssl_channel_credentials(self.authorities, key, chain)
