"""session: the protection of `hold`, across the steps of a CI job. No worker is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tasks.cli import wording
from tasks.cli.lazy import ALSO, command, global_options

if TYPE_CHECKING:
    from tasks.cli.invocation import Invocation

#: The exit code of ArtifactNotFound, which is an answer here and no failure.
NOT_HERE = 11


class _Group(click.Group):
    """A group that also takes the global options, with its commands in the order of their use."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params += global_options(hidden=True)
        self.epilog = ALSO

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group("session", cls=_Group)
def session() -> None:
    """Protect artifacts across the steps of a CI job.

    `open` prints an id; `require` protects artifacts by it, those too that are brought later; both keys of
    an artifact protect it under every name. Each `require` and `renew` gives the session one more life.
    Once it is over, they exit 23 and nothing it required is protected: open a new one.
    """


@command("open")
@click.option("--label", metavar="L", default="", help="What `status` and cleanup plans show of it.")
@click.option(
    "--life",
    metavar="DURATION",
    help="How long it lives without being used, such as 20min or 6h. Default: `leases: session` (120 s).",
)
@click.pass_obj
def open_session(invocation: Invocation, *, label: str, life: str | None) -> None:
    """Begin a session, and print its id."""
    life_s = None if life is None else _duration(life)
    opened = invocation.client.detached_session().open(label=label, life_s=life_s)
    life_s = invocation.settings.leases.session_s if life_s is None else life_s
    invocation.emit({"session": opened.id, "label": label, "life_s": life_s}, opened.id)


@command("require")
@click.argument("session_id", metavar="ID")
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.pass_obj
def require(invocation: Invocation, *, session_id: str, refs: tuple[str, ...]) -> int:
    """Protect every REF from now on; print those that are here. Exit 0, or 11 when some are not.

    What is not here yet is protected as soon as somebody brings it.
    """
    from caskeeper.artifact import Ref

    wanted = [str(ref) for ref in dict.fromkeys(Ref.parse(text) for text in refs)]
    present = [str(ref) for ref in invocation.client.detached_session(session_id).require(*wanted)]
    absent = [ref for ref in wanted if ref not in set(present)]
    invocation.emit({"session": session_id, "present": present, "absent": absent}, "\n".join(present) or None)
    if absent and not invocation.json:
        invocation.note(f"not here, protected once somebody brings it: {', '.join(absent)}")
    return NOT_HERE if absent else 0


@command("renew")
@click.argument("session_id", metavar="ID")
@click.pass_obj
def renew(invocation: Invocation, *, session_id: str) -> None:
    """One more life for the session."""
    invocation.client.detached_session(session_id).renew()
    left_s = _left_s(invocation, session_id)
    invocation.tell(
        {"session": session_id, "expires_in_s": left_s},
        f"{session_id}: ends in {wording.duration(left_s)} unless it is used",
    )


@command("close")
@click.argument("session_id", metavar="ID")
@click.pass_obj
def close(invocation: Invocation, *, session_id: str) -> None:
    """End the protection now. No error when it is over already."""
    invocation.client.detached_session(session_id).close()
    invocation.tell({"session": session_id}, f"{session_id}: closed")


for _one in (open_session, require, renew, close):
    session.add_command(_one)


def _left_s(invocation: Invocation, session_id: str) -> float:
    coordination = invocation.client.coordination
    ends = {live.id: live.expires_ms for live in coordination.sessions.live()}
    return max(0, ends.get(session_id, 0) - coordination.now_ms()) / 1000


def _duration(text: str) -> float:
    from caskeeper.config.durations import parse_duration
    from caskeeper.errors import ConfigInvalid, InvalidRequest

    try:
        return parse_duration(text)
    except ConfigInvalid as wrong:
        raise InvalidRequest(wrong.what, "--life", wrong.way_out) from None
