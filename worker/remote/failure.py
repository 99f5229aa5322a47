"""What went wrong in one call, before it is decided whether to try again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from caskeeper.errors import RemoteUnavailable, every_error
from worker import status

if TYPE_CHECKING:
    import grpc

    from caskeeper.errors import CaskeeperError
    from worker.remote.methods import Method

_WAYS_OUT = {
    status.PERMISSION_DENIED: "use another remote, or other credentials for this one",
    status.RESOURCE_EXHAUSTED: "free space on that remote, or use another one",
    status.UNIMPLEMENTED: "check that the url names an artifact server of this kind",
    status.INVALID_ARGUMENT: "check url and instance name of the remote",
    status.UNAUTHENTICATED: "check `access-token` and `client-cert` of the remote",
}
_THEIR_WAYS_OUT = (
    status.PUSH_ELSEWHERE,
    status.UPLOAD_FIRST,
    *(kind.default_way_out for kind in every_error().values()),
)


class CallFailed(Exception):
    """One attempt ended with a status other than OK; on its way to the retry loop, never out of here."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        retry_after_s: float = 0.0,
        final: bool = False,
        entry: bool = False,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        #: our own clock ended it: trying again would cost the same time once more
        self.final = final
        #: the status of one blob in a batch: the remote answered, and the message had a fit size
        self.entry = entry
        #: a name was refused for content that the remote does not have
        self.lacks_content = False

    @classmethod
    def of(cls, error: grpc.RpcError) -> CallFailed:
        """The status gRPC raised."""
        code = error.code()
        number = int(code.value[0]) if code is not None else status.UNKNOWN
        return cls(number, error.details() or "", retry_after_s=_retry_after_s(error))

    @property
    def transient(self) -> bool:
        """Another attempt may succeed."""
        return self.code in status.TRANSIENT_CODES and not self.final

    @property
    def oversize(self) -> bool:
        """One side found a message too large; gRPC says so with the code of a full disk."""
        return not self.entry and (
            self.code == status.INVALID_ARGUMENT
            or (self.code == status.RESOURCE_EXHAUSTED and "larger than max" in self.message)
        )

    @property
    def silent(self) -> bool:
        """Nobody answered: the remote is left alone for a while."""
        return self.code in {status.UNAVAILABLE, status.DEADLINE_EXCEEDED} and not self.entry

    def error(self, method: Method[Any, Any], url: str, *, where: str = "") -> CaskeeperError:
        """The error the caller meets: the status table, read in the light of this method."""
        self.lacks_content = method.binds and self.code == status.FAILED_PRECONDITION
        said, theirs = _parted(_plain(self.message))
        what = f"{method.name}: {status.name_of(self.code)}: {said}"
        place = f"{where} at {url}" if where else url
        if self.code in method.unexpected:
            return RemoteUnavailable(what, place)
        way_out = theirs if theirs == status.PUSH_ELSEWHERE else _WAYS_OUT.get(self.code, "")
        return status.error_of(self.code, what, place, way_out)


def _parted(line: str) -> tuple[str, str]:
    """What a server says and, when it is one of ours, the way out it appends; an error has one only."""
    for way_out in _THEIR_WAYS_OUT:
        said = line.removesuffix(f": {way_out}")
        if said != line:
            return said, way_out
    return line, ""


def _plain(text: str) -> str:
    """What a remote wrote, fit for one line of ours."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in line)[:300] or "no reason given"


def _retry_after_s(error: grpc.RpcError) -> float:
    """The RetryInfo a server may send along; 0 when there is none."""
    metadata: Any = error.trailing_metadata()
    for key, value in metadata or ():
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        info = error_details_pb2.RetryInfo()
        try:
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    delay = info.retry_delay
                    return max(0.0, float(delay.seconds) + float(delay.nanos) / 1e9)
        except DecodeError:
            return 0.0
    return 0.0
