"""Why no connection came about: what gRPC reports as «unavailable», read in the light of TLS.

A certificate that is refused today is refused tomorrow: this is the configuration's trouble, here or there,
and no remote that does not answer.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.errors import ConfigInvalid
from worker.remote.address import place_of

if TYPE_CHECKING:
    from caskeeper.config.remotes import RemoteSpec
    from worker.remote.address import Address

#: So long one more connection may take that finds out why the others failed.
_LOOK_S = 1.0
#: How gRPC begins when it has no connection; it then tells of the last address alone.
_NO_CONNECTION = "failed to connect"
#: What it says when the other side hung up, whatever the reason.
_HUNG_UP = ("Socket closed", "Connection reset", "Broken pipe")

_OTHER_HOST = "mismatch"
_NO_TLS = "WRONG_VERSION_NUMBER"


class _Finding(NamedTuple):
    what: str
    way_out: str


def explain(spec: RemoteSpec, address: Address, message: str) -> ConfigInvalid | None:
    """The error that ``message`` stands for, when it is one about TLS that no retry mends."""
    finding = _told(spec, message) if address.secure else None
    if finding is None and any(words in message for words in (_NO_CONNECTION, *_HUNG_UP)):
        finding = _look(spec, address)
    if finding is None:
        return None
    return ConfigInvalid(finding.what, place_of(spec, url=address.url), finding.way_out)


def _told(spec: RemoteSpec, message: str) -> _Finding | None:
    """By the words of gRPC's TLS library."""
    if "Hostname Verification Check failed" in message:
        return _untrusted(spec, _OTHER_HOST)
    if _NO_TLS in message:
        return _without_tls()
    _, failed, reason = message.partition("CERTIFICATE_VERIFY_FAILED: ")
    return _untrusted(spec, reason.partition(":")[0].strip()) if failed else None


def _without_tls() -> _Finding:
    return _Finding("the server does not speak TLS at this port", "write http://, or the port that does")


def _untrusted(spec: RemoteSpec, reason: str) -> _Finding:
    """The server's certificate did not pass."""
    if _OTHER_HOST in reason:
        return _Finding(
            "the server's certificate is for another host than the url names",
            "name the server in the url as its certificate does, or get one for this name",
        )
    if "issuer" in reason or "self signed" in reason or "self-signed" in reason:
        known = f"server-cert {spec.server_cert!r}" if spec.server_cert else "any authority known here"
        return _Finding(
            f"the server's certificate is not vouched for by {known}",
            "name the server's own certificate, or that of its authority, as `server-cert`",
        )
    if "expired" in reason:
        return _Finding(
            "the server's certificate has expired, or that of its authority", "renew it at the server"
        )
    return _Finding(
        f"the server's certificate is refused: {reason}", "check it, and the clocks of both machines"
    )


def _look(spec: RemoteSpec, address: Address) -> _Finding | None:
    """By a connection of its own, to the first address of the host that takes one."""
    try:
        context = _context(spec) if address.secure else _open_context()
        with socket.create_connection(address.endpoint, timeout=_LOOK_S) as connection:
            return _shake(spec, address, context, connection)
    except (OSError, ValueError):  # also what ssl raises for files: who opens the channel says that
        return None


def _open_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _context(spec: RemoteSpec) -> ssl.SSLContext:
    """What gRPC is told too; without a `server-cert` it has authorities of its own, which are not known."""
    context = _open_context()
    if spec.server_cert:
        context.load_verify_locations(spec.server_cert)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
    if spec.client_cert:
        context.load_cert_chain(spec.client_cert, spec.client_key, password="")
    return context


def _shake(
    spec: RemoteSpec, address: Address, context: ssl.SSLContext, connection: socket.socket
) -> _Finding | None:
    """Hands, and then the server's first word is awaited.

    In TLS 1.3 the client has finished before the server looks at its certificate, and gRPC's servers then
    hang up without a word. One that is content greets.
    """
    try:
        secured = context.wrap_socket(connection, server_hostname=address.endpoint[0])
    except ssl.SSLCertVerificationError as error:
        return _untrusted(spec, error.verify_message)
    except ssl.SSLError as error:
        if not address.secure:
            return None
        return _without_tls() if error.reason == _NO_TLS else _unwanted(spec, error.reason or "")
    try:
        with secured:
            if not address.secure:
                return _Finding("the server speaks TLS at this port", "write https://, or another port")
            return None if secured.recv(1) else _unwanted(spec, "ALERT")
    except ssl.SSLError as error:
        return _unwanted(spec, error.reason or "")
    except ConnectionError:
        return _unwanted(spec, "ALERT")


def _unwanted(spec: RemoteSpec, alert: str) -> _Finding | None:
    """The server hung up on the client, for this reason if it gave one."""
    if "ALERT" not in alert:
        return None
    said = f" ({alert.replace('_', ' ').lower()})" if alert != "ALERT" else ""
    if spec.client_cert:
        return _Finding(
            f"the server does not accept the client-cert {spec.client_cert!r}{said}",
            "get one from an authority that it knows, still valid, or have this one admitted there",
        )
    return _Finding(f"the server wants a client certificate{said}", "give `client-key` and `client-cert`")
