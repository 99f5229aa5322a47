"""User configurations of BuildStream 1 and 2, accepted as they are (interface section 4)."""

import pytest

from caskeeper.config import ConnectionConfig, RemoteSpec

BUILDSTREAM_2019 = """\
sourcedir: ${XDG_CACHE_HOME}/buildstream/sources
builddir: ${XDG_CACHE_HOME}/buildstream/build
artifactdir: ${XDG_CACHE_HOME}/buildstream/artifacts
logdir: ${XDG_CACHE_HOME}/buildstream/logs
workspacedir: .
cache:
  quota: infinity
  pull-buildtrees: False
  cache-buildtrees: always
scheduler:
  fetchers: 10
  on-error: quit
logging:
  key-length: 8
  message-format: |

    [%{elapsed}] %{message}
prompt:
  auto-init: ask
remote-execution:
  url: http://execution
artifacts:
- url: https://cache.example.com:11002
  server-cert: server.crt
  client-cert: client.crt
  client-key: client.key
  push: true
projects:
  demo:
    strict: False
    default-mirror: oz
    artifacts:
      url: https://demo.example.com:11001
"""


def test_a_buildstream_1_user_configuration_is_accepted_as_it_is(load):
    found = load(BUILDSTREAM_2019)
    assert [spec.url for spec in found.remotes_for("demo")] == [
        "https://demo.example.com:11001",
        "https://cache.example.com:11002",
    ]
    assert not found.cache.modern
    assert len(found.notes) == 1
    for key in ("`artifactdir`", "`scheduler`", "`cache: cache-buildtrees`", "`projects: demo: strict`"):
        assert key in found.notes[0]
    assert "c.yaml" in found.notes[0]


BUILDSTREAM_2 = """\
cachedir: ${XDG_CACHE_HOME}/buildstream
cache:
  quota: 1G
  reserved-disk-space: 5%
  low-watermark: 80%
  storage-service: {url: 'http://storage'}
build: {max-jobs: 4}
fetch: {source: all}
track: {source: aliases}
source-caches: {servers: []}
artifacts:
  override-project-caches: false
  servers:
  - url: https://cache.example.com:11001
    type: all
    push: true
    instance-name: main
    auth:
      server-cert: ~/server.crt
      client-cert: client.crt
      client-key: client.key
      access-token: ~/access.token
      access-token-reload-interval: 60
    connection-config:
      keepalive-time: 60
      retry-limit: 3
      retry-delay: 500
      request-timeout: 120
projects:
  demo:
    options: {debug: true}
    mirrors: []
    source-caches: {}
    artifacts: {servers: [{url: 'http://demo.example.com', type: index}]}
"""


def test_a_buildstream_2_user_configuration_is_accepted_with_its_rules_for_small_quotas(load, home):
    found = load(BUILDSTREAM_2)
    assert found.cachedir == f"{home}/.cache/buildstream"
    assert found.cache.modern
    assert len(found.notes) == 1
    assert found.remotes_for("demo") == (RemoteSpec("http://demo.example.com", type="index"),)
    assert found.remotes_for("another") == (
        RemoteSpec(
            "https://cache.example.com:11001",
            push=True,
            server_cert=f"{home}/server.crt",
            client_key="client.key",
            client_cert="client.crt",
            instance_name="main",
            access_token=f"{home}/access.token",
            access_token_reload_minutes=60,
            connection=ConnectionConfig(60, 3, 500, 120),
        ),
    )


@pytest.mark.parametrize(
    ("text", "environ", "modern"),
    [
        ("", {}, False),
        ("cache: {quota: 3G, headroom: 0, pull-buildtrees: true, cache-buildtrees: auto}\n", {}, False),
        ("cache: {low-watermark: 50%}\n", {}, True),
        ("cache: {reserved-disk-space: 5%}\n", {}, True),
        ("cache: {storage-service: {url: u}}\n", {}, True),
        ("source-caches: {}\n", {}, True),
        ("artifacts: {servers: []}\n", {}, True),
        ("", {"CASKEEPER_ARTIFACTS": "{servers: []}"}, True),
        ("", {"CASKEEPER_CACHE_LOW_WATERMARK": "50%"}, True),
    ],
)
def test_a_key_that_only_buildstream_2_knows_brings_its_rules(load, text, environ, modern):
    assert load(text, **environ).cache.modern is modern
