"""How a ref is written as a URN of Remote Asset and as an action (wire-protocols section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caskeeper.artifact import Ref

#: What BuildStream 1.6 names by URN: a Directory. So do we with plain trees.
DIRECTORY_URN = "urn:fdc:buildstream.build:2020:v1:"
#: What BuildStream 2 names so: the blob that is an Artifact message.
ARTIFACT_URN = "urn:fdc:buildstream.build:2020:artifact:"
#: Begins the key bytes of our own use of the ActionCache. It is a wire format.
ACTION_KEY = "caskeeper:artifact:v1:"


def action_key(ref: Ref) -> bytes:
    """The bytes whose digest is the action that stands for ``ref``."""
    return f"{ACTION_KEY}{ref}".encode()
