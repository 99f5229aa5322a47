"""The tasks ``artifacts.*`` and ``remotes.check``: what moves and changes artifacts, and from where."""

from __future__ import annotations

from caskeeper.contract import (
    CommitRequest,
    DiffRequest,
    ExtractRequest,
    ImportRequest,
    LinkRequest,
    PullRequest,
    PullTreeRequest,
    PushDirectoryRequest,
    PushMessageRequest,
    PushRequest,
    RemotesCheckRequest,
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
    PullTreeRequest,
    PushDirectoryRequest,
    PushMessageRequest,
    DiffRequest,
    ImportRequest,
    RemotesCheckRequest,
)
