"""The tasks ``artifacts.*``: what moves and changes artifacts."""

from __future__ import annotations

from caskeeper.contract import (
    CommitRequest,
    ExtractRequest,
    LinkRequest,
    PullRequest,
    PushRequest,
    RemoveRequest,
    Request,
)

KINDS: tuple[type[Request], ...] = (
    PullRequest,
    CommitRequest,
    ExtractRequest,
    LinkRequest,
    RemoveRequest,
    PushRequest,
)
