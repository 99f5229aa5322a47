"""Configuration: YAML with provenance -> Settings; quotas; remote specs (interface section 4)."""

from caskeeper.config.load import load_settings
from caskeeper.config.node import Provenance
from caskeeper.config.places import default_config_path
from caskeeper.config.quota import Limits, QuotaExpression, evaluate, limits
from caskeeper.config.remotes import RemoteSpec, parse_remote_argument, specs_from_node
from caskeeper.config.settings import (
    CacheSettings,
    EmbeddedSettings,
    LeaseSettings,
    LogSettings,
    Settings,
)
from caskeeper.config.sizes import parse_size, pretty_size

__all__ = [
    "CacheSettings",
    "EmbeddedSettings",
    "LeaseSettings",
    "Limits",
    "LogSettings",
    "Provenance",
    "QuotaExpression",
    "RemoteSpec",
    "Settings",
    "default_config_path",
    "evaluate",
    "limits",
    "load_settings",
    "parse_remote_argument",
    "parse_size",
    "pretty_size",
    "specs_from_node",
]
