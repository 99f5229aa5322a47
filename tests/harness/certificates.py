"""Certificates made for one test: an authority, and what it vouches for, as PEM files in a folder."""

from __future__ import annotations

import datetime as dt

import trustme

NOW = dt.datetime.now(dt.UTC)
#: validity of a certificate that is over, and of one that has not begun
EXPIRED = {"not_before": NOW - dt.timedelta(days=9), "not_after": NOW - dt.timedelta(days=1)}
EARLY = {"not_before": NOW + dt.timedelta(days=1), "not_after": NOW + dt.timedelta(days=9)}


class Authority:
    """One authority; ``file`` is its certificate."""

    def __init__(self, folder, name="authority"):
        self.name = name
        self.folder = str(folder)
        self.ca = trustme.CA(organization_name=name)
        self.file = self._write(f"{name}.pem", self.ca.cert_pem.bytes())

    def issue(self, name, *identities, **validity):
        """Paths of a new key and its certificate."""
        return self.write(name, self.leaf(*identities, **validity))

    def leaf(self, *identities, **validity):
        return self.ca.issue_cert(*(identities or ("localhost", "127.0.0.1")), **validity)

    def write(self, name, leaf):
        """Paths of key and certificate; what was there by this name is replaced."""
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        return (
            self._write(f"{name}.key", leaf.private_key_pem.bytes()),
            self._write(f"{name}.crt", chain),
        )

    def _write(self, name, data):
        path = f"{self.folder}/{name}"
        with open(path, "wb") as file:
            file.write(data)
        return path


def read(path):
    with open(path, "rb") as file:
        return file.read()
