"""The settings as values (interface section 4). They are made by ``load_settings``, or by hand in tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from caskeeper.config.quota import INFINITY, QuotaExpression
from caskeeper.config.remote_arguments import chosen_specs
from caskeeper.config.remote_spec import Precedence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from caskeeper.config.remote_spec import RemoteSpec

_RESERVED_DISK_SPACE = QuotaExpression("5%")
_AS_IN_2019 = Precedence()

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """`cache:`. ``low_watermark`` is a fraction; ``headroom_bytes`` None follows interface section 4.

    ``modern``: a key that only BuildStream 2 knows is given, and its rules for small quotas hold.
    """

    quota: QuotaExpression = INFINITY
    low_watermark: float = 0.5
    reserved_disk_space: QuotaExpression = _RESERVED_DISK_SPACE
    headroom_bytes: int | None = None
    pull_buildtrees: bool = False
    modern: bool = False


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """`leases:`, in seconds."""

    operation_s: float = 60.0
    operation_life_s: float = 21600.0
    session_s: float = 120.0
    clock_margin_s: float = 10.0
    upload_grace_s: float = 600.0


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """`embedded:`: after how many idle seconds the background server of a cachedir ends."""

    idle_s: float = 60.0


@dataclass(frozen=True, slots=True)
class LogSettings:
    """`log:`: one of LOG_LEVELS, one of LOG_FORMATS."""

    level: str = "info"
    format: str = "text"


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """`queue:`: what jobs may do to remotes.

    ``max_transfers`` at once at each remote, all workers together: 8 use the 32 streams that one of our
    servers serves at once. ``job_budget_s`` is all the time that one job of the lanes pull and push has.
    """

    max_transfers: int = 8
    job_budget_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """`metrics:`: where a worker or a server answers `/metrics`, and where that stands. None: nowhere."""

    listen: str | None = None
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a setting names, and where the setting stands."""

    path: str
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`server:`: where `caskeeper server` listens, what it shows its clients, and what it asks of them."""

    listen: str | None = None
    tls_key: NamedFile | None = None
    tls_cert: NamedFile | None = None
    #: whoever calls shows a certificate that one in this file vouches for
    client_ca: NamedFile | None = None
    #: whoever calls shows one of the bearer tokens in this file
    token_file: NamedFile | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that was configured.

    ``cachedir`` and ``roots`` are absolute; without roots the cachedir is the one. ``source`` is the
    file that was read, empty when none was; ``config_file`` names it or else the place where it would
    be looked for. ``notes`` are lines for the user: what was ignored.
    """

    cachedir: str
    redis: str | None = field(default=None, repr=False)  # it may hold a password
    roots: tuple[str, ...] = ()
    cache: CacheSettings = CacheSettings()
    leases: LeaseSettings = LeaseSettings()
    log: LogSettings = LogSettings()
    embedded: EmbeddedSettings = EmbeddedSettings()
    server: ServerSettings = ServerSettings()
    queue: QueueSettings = QueueSettings()
    metrics: MetricsSettings = MetricsSettings()
    artifacts: tuple[RemoteSpec, ...] = ()
    projects: Mapping[str, tuple[RemoteSpec, ...]] = field(default_factory=dict)
    precedence: Precedence = _AS_IN_2019
    source: str = ""
    config_file: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.roots:
            object.__setattr__(self, "roots", (self.cachedir,))

    def remotes_for(
        self,
        project: str,
        *,
        only: Sequence[str] | None = None,
        push: bool = True,
        recommended: Sequence[RemoteSpec] = (),
    ) -> tuple[RemoteSpec, ...]:
        """A project's remotes, highest priority first, as `Precedence` orders its own and the global ones.

        ``recommended`` are those of the project's own configuration, where a caller knows it. ``only``
        narrows to what a request names: configured URLs, or remotes written out, which take ``push`` when
        they do not say (D-16) and name files below `roots`. Raises InvalidRequest.
        """
        configured = self.precedence.effective(
            project, self.projects.get(project, ()), self.artifacts, recommended
        )
        if only is None:
            return configured
        return chosen_specs(configured, only, push=push, roots=self.roots)
