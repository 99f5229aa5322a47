"""PEM files, read and checked before gRPC gets them: that says nothing useful about one of no use.

Used by both sides of a connection (wire-protocols section 1). An error names the file and why; what a file
holds is shown nowhere.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

#: No bundle of certificates is larger; what is was named by mistake.
_MAX_BYTES = 4 * 1024 * 1024
_WAY_OUT = "name a PEM file that this process can read"
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
#: How often a pair of files is read that somebody is replacing.
_ATTEMPTS = 3


class Pair(NamedTuple):
    """A private key and the certificates that go with it, as PEM."""

    key: bytes
    chain: bytes


class Named(NamedTuple):
    """A file with the name of its setting, and the place where the setting stands."""

    role: str
    path: str
    where: str

    def __str__(self) -> str:
        return f"the {self.role} {self.path!r}"


def read_authorities(file: Named) -> bytes:
    """Certificates of those who are trusted. Raises ConfigInvalid: unreadable, none in it, all expired."""
    data = _read(file)
    _require_certificates(file, data)
    return data


def read_pair(key: Named, chain: Named) -> Pair:
    """A key and its certificates. Raises ConfigInvalid: unreadable, no PEM, locked, no pair, expired."""
    for _ in range(_ATTEMPTS):
        pair = Pair(_read(key), _read(chain))
        _require_certificates(chain, pair.chain, first=True)
        trouble = _mismatch(key, chain)
        # OpenSSL reads the files itself: what it saw counts when it is what was read here.
        if pair == Pair(_read(key), _read(chain)):
            if trouble is not None:
                raise trouble
            return pair
    raise ConfigInvalid(f"{chain} and its key change all the time", chain.where, "replace them once")


def _read(file: Named) -> bytes:
    try:
        with open(file.path, "rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigInvalid(f"{file} cannot be read: {reason}", file.where, _WAY_OUT) from None
    if len(data) > _MAX_BYTES:
        raise ConfigInvalid(f"{file} is larger than {_MAX_BYTES} bytes", file.where, _WAY_OUT)
    return data


def _require_certificates(file: Named, data: bytes, *, first: bool = False) -> None:
    """Certificates, and not all of them expired; of a chain the ``first`` alone counts."""
    text = data.decode("ascii", "replace").replace("\ufffd", "?")  # in comments anything may stand
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigInvalid(f"{file} holds no certificate: {_reason(error)}", file.where, _WAY_OUT) from None
    ends = [end for end in map(_valid_until, _certificates(text)) if end is not None]
    last = max(ends[:1] if first else ends, default=None)
    if last is not None and last < datetime.now(UTC):
        raise ConfigInvalid(f"{file} expired on {last:%Y-%m-%d %H:%M} UTC", file.where, "renew it")


def _mismatch(key: Named, chain: Named) -> ConfigInvalid | None:
    """Why a key and a certificate that is one are no pair."""
    try:
        # An empty password: a locked key fails instead of asking on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(chain.path, key.path, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            what = f"{key} does not belong to {chain}"
            return ConfigInvalid(what, key.where, "name the key that the certificate was made for")
        what = f"{key} and {chain} are not a usable pair: {_reason(error)}"
        return ConfigInvalid(what, key.where, "name a PEM file with a private key that has no password")
    return None


def _reason(error: Exception) -> str:
    """OpenSSL's words without the place in Python's sources."""
    return str(error).partition(" (_ssl.c")[0]


def _certificates(text: str) -> Iterator[bytes]:
    """Each certificate of a PEM text as DER."""
    while _BEGIN in text and _END in text:
        body, _, text = text.partition(_BEGIN)[2].partition(_END)
        yield ssl.PEM_cert_to_DER_cert(f"{_BEGIN}{body}{_END}")


def _valid_until(certificate: bytes) -> datetime | None:
    """The end of a certificate's validity (RFC 5280 section 4.1); None for what cannot be read here.

    Python's ssl module tells it of a peer's certificate only.
    """
    try:
        _, fields = _element(certificate)
        _, fields = _element(fields)
        if fields[0] == 0xA0:  # the version: old certificates have none
            fields = _after(fields)
        for _ in range(3):  # serial number, algorithm, issuer
            fields = _after(fields)
        _, validity = _element(fields)
        tag, moment = _element(_after(validity))
        text = moment.decode("ascii")
        if tag == 0x17:  # two digits of the year, from 1950 on
            text = ("19" if text[:2] >= "50" else "20") + text
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (ValueError, IndexError):
        return None


def _bounds(data: bytes) -> tuple[int, int]:
    """Where the content of the first DER element begins and ends."""
    size, begin = data[1], 2
    if size & 0x80:
        begin += size & 0x7F
        size = int.from_bytes(data[2:begin], "big")
    return begin, begin + size


def _element(data: bytes) -> tuple[int, bytes]:
    """Tag and content of the first DER element."""
    begin, end = _bounds(data)
    return data[0], data[begin:end]


def _after(data: bytes) -> bytes:
    return data[_bounds(data)[1] :]
