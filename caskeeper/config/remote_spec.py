"""One configured server as a value (AC-8, section 22), and which ones a project uses (AC-15)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: What a server is used for: names to digests, content, or both.
TYPES = ("index", "storage", "all")
#: How a server is asked for names; ``auto`` finds out.
INDEXES = ("reference-storage", "remote-asset", "action-cache", "auto")


class ConnectionConfig(NamedTuple):
    """`connection-config:`. None: as this project thinks best (`worker/remote/patience.py`)."""

    keepalive_time_s: int | None = None
    #: retries after the first attempt
    retry_limit: int | None = None
    #: the first pause between attempts
    retry_delay_ms: int | None = None
    request_timeout_s: int | None = None


_DEFAULTS = ConnectionConfig()


@dataclass(frozen=True, slots=True)
class RemoteSpec:
    """One configured server; equal only when every field is (AC-8, AC-16), wherever it was written.

    The certificate fields and ``access_token`` are paths: no secret is kept here.
    """

    url: str
    push: bool = False
    server_cert: str | None = None
    client_key: str | None = None
    client_cert: str | None = None
    instance_name: str | None = None
    type: str = "all"
    index: str = "auto"
    access_token: str | None = None
    #: None: the token's file is read once
    access_token_reload_minutes: int | None = None
    connection: ConnectionConfig = _DEFAULTS
    #: the servers that hold the content of what this one names; none: it does so itself
    storages: tuple[RemoteSpec, ...] = ()
    #: the place in the configuration, for errors; empty when nobody wrote it down
    where: str = field(default="", compare=False)

    @property
    def names(self) -> bool:
        """It is asked for names."""
        return self.type != "storage"

    @property
    def holds(self) -> bool:
        """It is asked for content."""
        return self.type != "index"

    @property
    def files(self) -> dict[str, str]:
        """The files it names, by their keys."""
        named = {
            "server-cert": self.server_cert,
            "client-key": self.client_key,
            "client-cert": self.client_cert,
            "access-token": self.access_token,
        }
        return {key: path for key, path in named.items() if path is not None}


class RemoteList(NamedTuple):
    """What stands under one `artifacts:`.

    ``modern``: it is written with `servers:`, as BuildStream 2 does; then a project's list replaces the
    global one. ``overrides``: what projects themselves recommend is left out.
    """

    specs: tuple[RemoteSpec, ...] = ()
    modern: bool = False
    overrides: bool = False


class Precedence(NamedTuple):
    """How the lists of a configuration go together; the default is what the form of 2019 says."""

    #: the global list is written with `servers:`
    modern: bool = False
    #: it says `override-project-caches`
    overrides: bool = False
    #: the projects whose own list replaces the global one
    replacing: frozenset[str] = frozenset()
    #: the projects whose own section says `override-project-caches`
    overriding: frozenset[str] = frozenset()

    @classmethod
    def of(cls, everywhere: RemoteList, projects: Mapping[str, RemoteList]) -> Precedence:
        """What the sections say, the global one and those of projects."""
        return cls(
            modern=everywhere.modern,
            overrides=everywhere.overrides,
            replacing=frozenset(name for name, own in projects.items() if own.modern and own.specs),
            overriding=frozenset(name for name, own in projects.items() if own.overrides),
        )

    def effective(
        self,
        project: str,
        own: Sequence[RemoteSpec],
        everywhere: Sequence[RemoteSpec],
        recommended: Sequence[RemoteSpec] = (),
    ) -> tuple[RemoteSpec, ...]:
        """A project's remotes, highest priority first.

        With lists of 2019: its own in the user configuration, what the project itself recommends, the
        global ones, one after the other (AC-15). With `servers:`: its own, or else the global ones, and
        the recommendations last (section 22).
        """
        if self.overrides or project in self.overriding:
            recommended = ()
        if project in self.replacing:
            return distinct(own, recommended)
        if self.modern:
            return distinct(own, everywhere, recommended)
        return distinct(own, recommended, everywhere)


def paired(chosen: Sequence[RemoteSpec], everywhere: Sequence[RemoteSpec] = ()) -> tuple[RemoteSpec, ...]:
    """The servers of ``chosen`` that name artifacts, each with the storages of what it names.

    One of `type: index` has all storages among ``chosen``, or else those of ``everywhere``; one of
    `type: all` itself, and after it those of `type: storage`. Nothing when there is no index or no storage.
    """
    pool = chosen if any(spec.holds for spec in chosen) else everywhere
    storages = tuple(spec for spec in pool if spec.holds)
    pure = tuple(spec for spec in storages if not spec.names)
    found = []
    for spec in chosen if storages else ():
        if spec.type == "index":
            found.append(replace(spec, storages=storages))
        elif spec.names:
            found.append(replace(spec, storages=(spec, *pure)) if pure else spec)
    return tuple(found)


def distinct(*lists: Iterable[RemoteSpec]) -> tuple[RemoteSpec, ...]:
    """The lists one after the other, of equal specs the first."""
    return tuple(dict.fromkeys(spec for specs in lists for spec in specs))
