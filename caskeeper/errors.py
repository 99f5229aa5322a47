"""Every failure a caller can meet: one class, one sentence, one exit code (interface section 7).

The tens digit of the exit code says whether to try again: 1x = Permanent, 2x = Transient.
The arguments are positional and JSON-plain, because the queue rebuilds an error as ``cls(*args)``.
"""

from __future__ import annotations

from typing import ClassVar


class CaskeeperError(Exception):
    """Something failed in a way this project foresees.

    ``what`` is what went wrong, ``where`` the place (file, line, column, argument, ref, url; may be
    empty), ``way_out`` what the reader can do about it; the class has a default for the last.
    """

    exit_code: ClassVar[int] = 1
    template: ClassVar[str] = "{what}"
    default_way_out: ClassVar[str] = ""
    #: the same request soon ends the same way, so the queue does not try it again by itself; it stays behind
    #: where the error travels
    settled: bool = False

    def __init__(self, what: str, where: str = "", way_out: str = "") -> None:
        super().__init__(what, where, way_out)
        self.what = what
        self.where = where
        self.way_out = way_out or self.default_way_out

    def __str__(self) -> str:
        sentence = self.template.format(what=self.what)
        if self.where:
            sentence += f" [{self.where}]"
        return f"{sentence}: {self.way_out}" if self.way_out else sentence

    def to_json(self) -> dict[str, object]:
        """The error as one JSON object: error, what, where, way_out, message, exit_code, retry."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "way_out": self.way_out,
            "message": str(self),
            "exit_code": self.exit_code,
            "retry": isinstance(self, Transient),
        }


class Permanent(CaskeeperError):
    """The same request fails the same way."""


class Transient(CaskeeperError):
    """The same request may succeed later."""


class InvalidRequest(Permanent):
    """A ref, digest, Directory message or path that cannot be what it claims."""

    exit_code = 10
    template = "invalid request: {what}"
    default_way_out = "correct the argument and ask again"


class ArtifactNotFound(Permanent):
    """Not here, or every remote answered and none has it."""

    exit_code = 11
    template = "artifact not found: {what}"
    default_way_out = "pull it, or build and commit it"


class BlobMissing(Permanent):
    """An artifact is known, a part of its content is gone."""

    exit_code = 12
    template = "content is missing: {what}"
    default_way_out = "pull the artifact again with --refresh, or rebuild it"


class PartialArtifact(Permanent):
    """Only a part of the tree was pulled, and the whole is needed (AC-67)."""

    exit_code = 12
    template = "artifact is only partly here: {what}"
    default_way_out = "pull it without exclusions first"


class DigestMismatch(Permanent):
    """Bytes are not what their digest says."""

    exit_code = 13
    template = "content does not match its digest: {what}"
    default_way_out = "the sender is damaged or lying: use another remote and check that one"


class PermissionDenied(Permanent):
    """The file system, a remote, or a pin refuses."""

    exit_code = 14
    template = "permission denied: {what}"
    default_way_out = "check owner and mode of the path, or the credentials of the remote"


class CacheTooFull(Permanent):
    """Everything that is left is required, and it is above the quota (AC-44)."""

    exit_code = 15
    template = "cache too full: {what}"
    default_way_out = "raise `cache: quota` or end sessions that no longer need their artifacts"


class TooLarge(Permanent):
    """It would not fit into an empty cache."""

    exit_code = 15
    template = "too large: {what}"
    default_way_out = "raise `cache: quota`"


class DestinationExists(Permanent):
    """A private copy is never written over something."""

    exit_code = 16
    template = "destination exists: {what}"
    default_way_out = "name a folder that does not exist yet or is empty"


class ConfigInvalid(Permanent):
    """The configuration is wrong, or misses what this request needs."""

    exit_code = 17
    template = "configuration: {what}"
    default_way_out = "correct the configuration"


class RemoteUnavailable(Transient):
    """A remote does not answer, or answers with a fault of its own."""

    exit_code = 20
    template = "remote unavailable: {what}"
    default_way_out = "try again later, or use another remote"


class DeadlineExceeded(Transient):
    """Time is up; the work may still be going on."""

    exit_code = 21
    template = "deadline exceeded: {what}"
    default_way_out = "try again, or allow more time"


class NoSpace(Transient):
    """Full now, here or there."""

    exit_code = 22
    template = "no space: {what}"
    default_way_out = "free space or run `caskeeper cleanup`, then try again"


class LeaseLost(Transient):
    """The operation was too slow or Redis forgot it; what it did not publish is garbage."""

    exit_code = 23
    template = "lease lost: {what}"
    default_way_out = "try again"


class Busy(Transient):
    """Somebody else holds what this needs."""

    exit_code = 24
    template = "busy: {what}"
    default_way_out = "try again shortly"


class VolumeFailed(Transient):
    """The volume answered with an I/O error (I10: never reported as a miss)."""

    exit_code = 24
    template = "the cache volume failed: {what}"
    default_way_out = "check the disk and its mount, then try again"


class CoordinatorUnavailable(Transient):
    """Redis or the queue does not answer."""

    exit_code = 25
    template = "coordinator unavailable: {what}"
    default_way_out = "check that Redis runs and that `redis` names it"


class Cancelled(Transient):
    """Somebody asked for the work to stop."""

    exit_code = 26
    template = "cancelled: {what}"
    default_way_out = "ask again if it is wanted after all"


def every_error() -> dict[str, type[CaskeeperError]]:
    """All concrete classes by name, in the order of their exit codes."""
    found = [kind for family in (Permanent, Transient) for kind in family.__subclasses__()]
    return {kind.__name__: kind for kind in sorted(found, key=lambda kind: kind.exit_code)}


def from_json(document: dict[str, object]) -> CaskeeperError:
    """The error that ``to_json`` wrote; an unknown class name becomes the family its bit says."""
    kind = every_error().get(str(document.get("error")))
    if kind is None:
        kind = Transient if document.get("retry") else Permanent
    return kind(
        str(document.get("what", "")), str(document.get("where", "")), str(document.get("way_out", ""))
    )
