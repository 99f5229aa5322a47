"""Reads an artifact while cleaners move things about; by the documented layout, no code of the store.

What a cleanup looks at twice lies in its trash folder for a moment, so that is where a reader looks next
(safety.md section 3), and then at the place again.
"""

from __future__ import annotations

import hashlib
import os

from harness.fleet import EMPTY_HASH, Oracle, _fields, _unaged


class Reader(Oracle):
    """Looking makes nothing younger, so it keeps nothing alive."""

    def trouble(self, ref, root):
        """Why ``ref`` is not the whole artifact with this root; "" = it is."""
        try:
            record = _fields(
                self._bytes(f"{self.root}/cas/refs/heads/{ref}", f"r-{str(ref).replace('/', '%')}")
            )
            found = (record[1][0].decode(), record.get(2, [0])[0])
            if found != tuple(root):
                return f"names {found[0]}, not {root.hash}"
            self._walk(*found, set(), top=True)
        except FileNotFoundError as gone:
            return f"missing: {gone}"
        except AssertionError as wrong:
            return f"wrong: {wrong}"
        return ""

    def blob_trouble(self, digest):
        """Why this blob cannot be read; "" = it can."""
        try:
            self._read(digest.hash, digest.size_bytes)
        except FileNotFoundError as gone:
            return f"missing: {gone}"
        except AssertionError as wrong:
            return f"wrong: {wrong}"
        return ""

    def _read(self, hash_hex, size):
        if hash_hex == EMPTY_HASH:
            return b""
        data = self._bytes(f"{self.objects}/{hash_hex[:2]}/{hash_hex[2:]}", f"o-{hash_hex}")
        assert len(data) == size, f"{hash_hex} has {len(data)} bytes, not {size}"
        assert hashlib.sha256(data).hexdigest() == hash_hex, f"{hash_hex} has other bytes"
        return data

    def _bytes(self, place, name_in_trash):
        for _ in range(2):
            trash = f"{self.root}/trash"
            for path in (place, *(f"{trash}/{run}/{name_in_trash}" for run in os.listdir(trash))):
                try:
                    with open(path, "rb", opener=_unaged) as file:
                        return file.read()
                except (FileNotFoundError, NotADirectoryError):
                    continue
        raise FileNotFoundError(place)
