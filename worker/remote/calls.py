"""Calls that end with the errand they belong to."""

from __future__ import annotations

from typing import Any

import grpc

from worker import errand, status
from worker.remote.failure import CallFailed


def called(call: Any, request: Any, timeout_s: float) -> Any:
    """The answer of a unary call, which ends with the errand. Raises CallFailed."""
    found = errand.current()
    try:
        if found is None:
            return call(request, timeout=timeout_s)
        return result(call.future(request, timeout=found.bounded(timeout_s)))
    except grpc.RpcError as error:
        raise CallFailed.of(error) from None
    except grpc.FutureCancelledError:
        raise CallFailed(status.CANCELLED, "the connection was closed here") from None


def first_piece(call: Any, request: Any, timeout_s: float) -> Any:
    """The first answer of a call that answers with a stream, which is then ended; None: it had none.

    Raises CallFailed.
    """
    answers = call(request, timeout=timeout_s)
    try:
        with errand.under_way(answers.cancel):
            return next(iter(answers), None)
    except grpc.RpcError as error:
        raise CallFailed.of(error) from None
    finally:
        answers.cancel()


def result(call: Any) -> Any:
    """The answer of a call under way. Raises what gRPC raises."""
    with errand.under_way(call.cancel):
        return call.result()
