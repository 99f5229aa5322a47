"""One call of the command: its global options, its settings, and the client, each made when needed."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from tasks.cli import wording

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caskeeper.client import Client
    from caskeeper.config import Settings
    from worker.wiring import Services


@dataclass
class Invocation:
    """What the global options say. Data goes to stdout, everything said about it to stderr."""

    config: str | None = None
    json: bool = False
    quiet: bool = False
    progress: bool = True
    verbose: bool = False
    _open: list[Any] = field(default_factory=list)

    @cached_property
    def settings(self) -> Settings:
        """The configuration; what was passed over in it is said once. Raises ConfigInvalid."""
        from caskeeper.config import load_settings

        settings = load_settings(self.config)
        for note in settings.notes:
            self.note(note)
        return replace(settings, log=replace(settings.log, level="debug")) if self.verbose else settings

    @cached_property
    def client(self) -> Client:
        """The client of this call, closed at its end."""
        from caskeeper.client import Client

        client = Client(self.settings, say=self.note)
        self._open.append(client)
        return client

    @cached_property
    def services(self) -> Services:
        """The volume opened in this process, for the server.

        Raises ConfigInvalid where the volume is not mounted, CoordinatorUnavailable.
        """
        from worker.wiring import build

        services = build(self.settings, redis_url=self.client.redis_url)
        self._open.append(services)
        return services

    @cached_property
    def _looking(self) -> Services:
        from worker.wiring import build

        services = build(self.settings, redis_url=self.client.redis_url, looks=True)
        self._open.append(services)
        return services

    @cached_property
    def _answering(self) -> str:
        """The Redis, which has answered a moment ago. Raises CoordinatorUnavailable."""
        from caskeeper.reaching import knock

        knock(self.client.redis_url)
        return self.client.redis_url

    def mounted(self) -> bool:
        """Whether the volume is here. A FORMAT that is gone is written anew where that is certain.

        Raises CoordinatorUnavailable, within seconds: a person looks.
        """
        from caskeeper.layout import Layout
        from worker.services.lost_format import find_or_mend_format

        layout, redis_url = Layout(self.settings.cachedir), self._answering
        return os.path.isfile(layout.format) or find_or_mend_format(layout, redis_url=redis_url) is not None

    def look(self) -> Services:
        """As ``services``, on a volume that is there, and nothing is written to try it.

        Raises ConfigInvalid when it is not mounted.
        """
        from caskeeper.layout import Layout
        from caskeeper.presence import check_mounted

        if not self.mounted():  # the embedded worker makes its volume before anybody can join
            check_mounted(Layout(self.settings.cachedir))
        return self._looking

    # What people read goes through here, and is made harmless here: it quotes records, names and remotes.

    def emit(self, document: Mapping[str, Any], text: str | None = None, *, exact: bool = False) -> None:
        """The outcome: one JSON document, or ``text``, which is data and also comes with --quiet.

        ``exact``: as in ``data``.
        """
        if self.json:
            written = json.dumps(document, ensure_ascii=False, separators=(", ", ": "))
            # A path need not be UTF-8: what no stream could carry is written as JSON's own escape.
            print(written.encode("utf-8", "backslashreplace").decode(), flush=True)
        elif text is not None:
            self.data(text, exact=exact)

    def tell(self, document: Mapping[str, Any], text: str) -> None:
        """As ``emit``, but the text is only for people: --quiet leaves it out."""
        self.emit(document, None if self.quiet else text)

    def data(self, text: str, *, exact: bool = False) -> None:
        """Lines of data; --json has them in its document. ``exact``: a path, which is the bytes it is."""
        if not self.json:
            print(text if exact else wording.lines(text.split("\n")), flush=True)

    def say(self, text: str) -> None:
        """A line about the outcome, for people."""
        if not self.quiet:
            self.data(text)

    def note(self, line: str) -> None:
        """A line for people, beside the outcome."""
        if not self.quiet:
            self.complain(line)

    def complain(self, line: str) -> None:
        """A line that is never left out."""
        try:
            sys.stderr.write(f"caskeeper: {wording.printable(line)}\n")
            sys.stderr.flush()
        except BrokenPipeError:
            raise
        except OSError:  # nobody can be told; the exit code still says it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._open.pop().close()
