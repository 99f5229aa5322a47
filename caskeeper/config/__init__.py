"""Configuration: YAML with provenance -> Settings; quotas; remote specs (interface section 4)."""

from caskeeper.config.load import load_settings
from caskeeper.config.node import Provenance
from caskeeper.config.places import default_config_path
from caskeeper.config.quota import Limits, QuotaExpression, evaluate, limits
from caskeeper.config.remote_arguments import parse_remote_argument
from caskeeper.config.remote_spec import ConnectionConfig, Precedence, RemoteSpec
from caskeeper.config.remotes import specs_from_node
from caskeeper.config.settings import (
    CacheSettings,
    EmbeddedSettings,
    LeaseSettings,
    LogSettings,
    MetricsSettings,
    NamedFile,
    QueueSettings,
    ServerSettings,
    Settings,
)
from caskeeper.config.sizes import parse_size, pretty_size, pretty_sizes

__all__ = [
    "CacheSettings",
    "ConnectionConfig",
    "EmbeddedSettings",
    "LeaseSettings",
    "Limits",
    "LogSettings",
    "MetricsSettings",
    "NamedFile",
    "Precedence",
    "Provenance",
    "QueueSettings",
    "QuotaExpression",
    "RemoteSpec",
    "ServerSettings",
    "Settings",
    "default_config_path",
    "evaluate",
    "limits",
    "load_settings",
    "parse_remote_argument",
    "parse_size",
    "pretty_size",
    "pretty_sizes",
    "specs_from_node",
]
