"""Who may call a server, and how it shows who it is (wire-protocols section 1).

Certificates and tokens are read again while the server runs: what is renewed counts for the next connection
or call within a second, and nobody is cut off. Files that are of no use by then change nothing, and a
warning says so.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import grpc

from caskeeper.errors import ConfigInvalid
from worker.certificates import Named, Pair, read_authorities, read_pair
from worker.hosts import is_loopback
from worker.server.tokens import TokenGate, Tokens

if TYPE_CHECKING:
    from caskeeper.config import NamedFile, ServerSettings

log = logging.getLogger(__name__)

#: What was read so long ago is read again for a new connection.
RELOAD_S = 1.0


class Security:
    """What `server:` says beside the address. Raises ConfigInvalid naming the file or setting, and why."""

    def __init__(self, settings: ServerSettings) -> None:
        _refuse_halves(settings)
        self._certificates: Certificates | None = None
        if settings.tls_key and settings.tls_cert:
            self._certificates = Certificates(settings.tls_key, settings.tls_cert, settings.client_ca)
        self._token_file = settings.token_file
        self._tokens = Tokens(settings.token_file) if settings.token_file else None

    @property
    def interceptors(self) -> list[grpc.ServerInterceptor]:
        """What stands before every handler."""
        return [TokenGate(self._tokens)] if self._tokens else []

    @property
    def words(self) -> tuple[str, ...]:
        """What it does, for people."""
        found = []
        if self._certificates:
            found.append("TLS")
            if self._certificates.asks_clients:
                found.append("client certificates")
        if self._tokens:
            found.append("tokens")
        return tuple(found)

    def add_port(self, server: grpc.Server, *, host: str, port: int) -> int:
        """As grpc's own methods: the port, or 0 or RuntimeError when it cannot be had.

        Raises ConfigInvalid when tokens would travel where anybody can read them.
        """
        if self._certificates:
            return server.add_secure_port(f"{host}:{port}", self._certificates.credentials())
        if self._token_file and not is_loopback(host):
            raise ConfigInvalid(
                "bearer tokens are not taken over connections without TLS",
                self._token_file.where,
                "give `tls-key` and `tls-cert` too, or listen on loopback, behind what has them",
            )
        return server.add_insecure_port(f"{host}:{port}")


class _Files(NamedTuple):
    pair: Pair
    authorities: bytes | None


class Certificates:
    """Key and certificates of the server, and whose certificates it takes of clients."""

    def __init__(self, key: NamedFile, cert: NamedFile, client_ca: NamedFile | None) -> None:
        self._key = Named("tls-key", key.path, key.where)
        self._cert = Named("tls-cert", cert.path, cert.where)
        self._ca = Named("client-ca", client_ca.path, client_ca.where) if client_ca else None
        self._lock = threading.Lock()
        self._files = self._read()
        self._read_at = time.monotonic()
        self._warned = ""

    @property
    def asks_clients(self) -> bool:
        """Who has no certificate that `client-ca` vouches for is not let in."""
        return self._ca is not None

    def credentials(self) -> grpc.ServerCredentials:
        """For a port; every new connection asks whether the files have changed."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._files),
            self._renewed,  # type: ignore[arg-type]  # the stubs do not know that None is an answer
            require_client_authentication=self.asks_clients,
        )

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """What changed since the last time, else None: so gRPC asks, in a thread of its own."""
        with self._lock:
            if time.monotonic() - self._read_at < RELOAD_S:
                return None
            self._read_at = time.monotonic()
            try:
                files = self._read()
            except ConfigInvalid as trouble:
                if trouble.what != self._warned:
                    self._warned = trouble.what
                    log.warning("certificates are not renewed", extra={"reason": trouble.what})
                return None
            self._warned = ""
            if files == self._files:
                return None
            self._files = files
        log.info("certificates renewed", extra={"path": self._cert.path})
        return _configuration(files)

    def _read(self) -> _Files:
        return _Files(read_pair(self._key, self._cert), read_authorities(self._ca) if self._ca else None)


def _configuration(files: _Files) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([files.pair], files.authorities)


def _refuse_halves(settings: ServerSettings) -> None:
    """Raises ConfigInvalid for files that need others beside them."""
    key, cert, authorities = settings.tls_key, settings.tls_cert, settings.client_ca
    for given, name, missing, other in (
        (key, "tls-key", cert, "tls-cert"),
        (cert, "tls-cert", key, "tls-key"),
        (authorities, "client-ca", key, "tls-key` and `tls-cert"),
    ):
        if given and not missing:
            raise ConfigInvalid(f"`{name}` is given without `{other}`", given.where, f"give `{other}` too")
