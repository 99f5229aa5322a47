"""Which keys there are: ours, and those of a BuildStream user configuration that are not for us.

A BuildStream user configuration is accepted as it is: what stands in the ``*_IGNORED`` sets is
ignored with one line. The names are those of the releases 1.0 to 2.x.
"""

from __future__ import annotations

#: Our keys: a section with its keys, or a key of the top level with none.
KEYS: dict[str, tuple[str, ...]] = {
    "cachedir": (),
    "redis": (),
    "roots": (),
    "cache": ("quota", "low-watermark", "reserved-disk-space", "headroom", "pull-buildtrees"),
    "leases": ("operation", "operation-life", "session", "clock-margin", "upload-grace"),
    "log": ("level", "format"),
    "embedded": ("idle",),
    "server": ("listen", "tls-key", "tls-cert", "client-ca", "token-file"),
    "queue": ("max-transfers", "job-budget"),
    "metrics": ("listen",),
    "artifacts": (),
    "projects": (),
}

#: What may stand under `projects: NAME:`.
PROJECT_KEYS = ("artifacts",)

IGNORED: dict[str, frozenset[str]] = {
    "": frozenset(
        {
            "artifactdir",
            "build",
            "builddir",
            "fetch",
            "logdir",
            "logging",
            "prompt",
            "remote-execution",
            "scheduler",
            "source-caches",
            "sourcedir",
            "strict",
            "track",
            "workspacedir",
        }
    ),
    "cache": frozenset({"cache-buildtrees", "storage-service"}),
    "projects": frozenset(
        {"aliases", "default-mirror", "mirrors", "options", "remote-execution", "source-caches", "strict"}
    ),
}

#: Keys that only BuildStream 2 knows: with one of them its rules for small quotas hold (interface section 4).
MODERN_CACHE_KEYS = ("low-watermark", "reserved-disk-space", "storage-service")
MODERN_KEYS = ("fetch", "source-caches", "track")

#: Keys whose environment variable holds YAML, because they are no scalars.
STRUCTURED = frozenset({"artifacts", "projects"})


PREFIX = "CASKEEPER_"


def variable(*path: str) -> str:
    """The environment variable of a key: ``cache``, ``low-watermark`` -> CASKEEPER_CACHE_LOW_WATERMARK."""
    if path == ("redis",):
        return f"{PREFIX}REDIS_URL"
    return PREFIX + "_".join(path).upper().replace("-", "_")


def variables() -> list[str]:
    """Every environment variable that is a setting."""
    found = [f"{PREFIX}CONFIG"]
    for key, names in KEYS.items():
        found += [variable(key, name) for name in names] or [variable(key)]
    return found
