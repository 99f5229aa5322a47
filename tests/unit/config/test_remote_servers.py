"""`artifacts: {servers: …}` as BuildStream 2 writes it (section 22), and its keys in a list."""

import pytest

from caskeeper.config import ConnectionConfig, RemoteSpec
from caskeeper.config.document import parse_document
from caskeeper.config.remotes import remote_list
from caskeeper.errors import ConfigInvalid


def read(text, basedir=None):
    return remote_list(parse_document(text, "f").members.get("artifacts"), basedir, {"HOME": "/home/me"})


def server(text):
    """The one server that has these members, in flow style."""
    (spec,) = read(f"artifacts: {{servers: [{{url: 'https://a', {text}}}]}}\n").specs
    return spec


@pytest.mark.parametrize(
    ("text", "specs", "overrides"),
    [
        ("artifacts: {servers: []}\n", (), False),
        ("artifacts: {override-project-caches: true}\n", (), True),
        ("artifacts: {override-project-caches: null, servers: []}\n", (), False),
        ("artifacts:\n  servers:\n  - url: http://a\n", (RemoteSpec("http://a"),), False),
        (
            "artifacts:\n  servers:\n  - url: http://b\n    push: true\n  - {url: https://a:7}\n",
            (RemoteSpec("http://b", push=True), RemoteSpec("https://a:7")),
            False,
        ),
        ("artifacts: {servers: [{url: 'HTTP://a'}]}\n", (RemoteSpec("HTTP://a"),), False),
    ],
)
def test_servers_are_a_list_of_mappings(text, specs, overrides):
    assert read(text) == (specs, True, overrides)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("type: index", {"type": "index"}),
        ("type: storage", {"type": "storage"}),
        ("type: all", {}),
        ("type: null", {}),
        ("push: 'true'", {"push": True}),
        ("instance-name: main/branch", {"instance_name": "main/branch"}),
        ("instance-name: ''", {}),
        ("index: auto", {}),
        ("index: reference-storage", {"index": "reference-storage"}),
        ("index: remote-asset", {"index": "remote-asset"}),
        ("index: action-cache", {"index": "action-cache"}),
        ("type: storage, index: auto", {"type": "storage"}),
        ("auth: {}", {}),
        ("auth: null", {}),
        ("auth: {server-cert: ca.pem}", {"server_cert": "ca.pem"}),
        ("auth: {client-key: /k, client-cert: ./c}", {"client_key": "/k", "client_cert": "./c"}),
        ("auth: {access-token: ~/t}", {"access_token": "/home/me/t"}),
        (
            "auth: {server-cert: '~/s', access-token: a~/t}",
            {"server_cert": "/home/me/s", "access_token": "a~/t"},
        ),
        (
            "auth: {access-token: t, access-token-reload-interval: 60}",
            {"access_token": "t", "access_token_reload_minutes": 60},
        ),
        ("auth: {access-token: t, access-token-reload-interval: null}", {"access_token": "t"}),
        ("connection-config: {}", {}),
        ("connection-config: null", {}),
        ("connection-config: {keepalive-time: 60}", {"connection": ConnectionConfig(60)}),
        (
            "connection-config: {retry-limit: 3, retry-delay: 1000}",
            {"connection": ConnectionConfig(None, 3, 1000)},
        ),
        ("connection-config: {retry-limit: 0, retry-delay: 0}", {"connection": ConnectionConfig(None, 0, 0)}),
        ("connection-config: {request-timeout: '5'}", {"connection": ConnectionConfig(request_timeout_s=5)}),
        ("connection-config: {keepalive-time: 0, request-timeout: 0}", {}),
    ],
)
def test_every_key_of_a_server_arrives(text, fields):
    assert server(text) == RemoteSpec("https://a", **fields)


@pytest.mark.parametrize(
    "text", ["auth: {server-cert: s, client-key: k, client-cert: /c, access-token: ~/t}"]
)
def test_paths_of_a_project_are_joined_to_its_folder(text):
    """A project configuration has its list directly below `artifacts`."""
    found = read(f"artifacts:\n- url: https://a\n  {text}\n", "/project")
    assert found == (
        (
            RemoteSpec(
                "https://a",
                server_cert="/project/s",
                client_key="/project/k",
                client_cert="/c",
                access_token="/home/me/t",
            ),
        ),
        False,
        False,
    )


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("- {url: 'http://u', type: index}", RemoteSpec("http://u", type="index")),
        ("- {url: 'http://u', auth: {server-cert: s}}", RemoteSpec("http://u", server_cert="s")),
        ("- {url: 'http://u', index: remote-asset}", RemoteSpec("http://u", index="remote-asset")),
        (
            "- {url: 'http://u', connection-config: {retry-limit: 1}}",
            RemoteSpec("http://u", connection=ConnectionConfig(None, 1)),
        ),
        ("  {url: 'http://u', index: action-cache}", RemoteSpec("http://u", index="action-cache")),
        ("- {url: 'http://u', server-cert: s, auth: null}", RemoteSpec("http://u", server_cert="s")),
    ],
)
def test_a_list_takes_the_keys_of_both_generations(text, spec):
    assert read(f"artifacts:\n{text}\n") == ((spec,), False, False)


def test_a_server_remembers_where_it_is_configured():
    found = read("artifacts:\n  servers:\n  - url: http://a\n  - {url: http://b}\n").specs
    assert [spec.where for spec in found] == ["f [line 3 column 4]", "f [line 4 column 4]"]


def assert_refused(text, says):
    """At the place that ¦ marks."""
    before = text.partition("¦")[0]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n") - 1
    with pytest.raises(ConfigInvalid, match=says) as caught:
        read(text.replace("¦", ""))
    assert caught.value.where == f"f [line {line} column {column}]"
    assert caught.value.way_out
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        # the section
        ("artifacts: {servers: ¦null}\n", "`servers` must be a list of mappings"),
        ("artifacts: {servers: ¦{url: 'http://a'}}\n", "`servers` must be a list of mappings"),
        ("artifacts: {servers: ¦http://a}\n", "`servers` must be a list"),
        ("artifacts: {servers: [], url: ¦'http://a'}\n", "`url` stands beside `servers`.*move it into"),
        ("artifacts:\n  servers: []\n  push: ¦true\n", "`push` stands beside `servers`"),
        ("artifacts:\n  servers: []\n  overide-project-caches: ¦true\n", "did you mean `override-project"),
        ("artifacts: {server: ¦[], override-project-caches: true}\n", "unknown key `server`.*`servers`"),
        ("artifacts: {override-project-caches: ¦yes}\n", "`override-project-caches` has the wrong type"),
        ("artifacts: {override-project-caches: ¦[], servers: 3}\n", "has the wrong type"),
        # an item
        ("artifacts:\n  servers:\n  - ¦http://a\n", "an item of `servers` must be a mapping"),
        ("artifacts:\n  servers:\n  - url: http://a\n  -¦\n", "an item of `servers` must be a mapping"),
        ("artifacts:\n  servers:\n  - ¦[x]\n", "an item of `servers` must be a mapping"),
        ("artifacts:\n  servers:\n  - ¦push: true\n", "misses the key `url`"),
        ("artifacts: {servers: [¦{}]}\n", "misses the key `url`"),
        ("artifacts: {servers: [{url: ¦''}]}\n", "empty `url`"),
        ("artifacts: {servers: [{url: ¦null}]}\n", "empty `url`"),
        ("artifacts: {servers: [{url: ¦[a]}]}\n", "`url` has the wrong type"),
        ("artifacts: {servers: [{url: ¦host}]}\n", "`url` cannot be 'host'.*http:// or https://"),
        ("artifacts: {servers: [{url: ¦'grpc://host'}]}\n", "`url` cannot be 'grpc://host'"),
        ("artifacts: {servers: [{url: ¦'https://u:pw@h'}]}\n", "`url` holds a user name"),
        # type and index
        ("artifacts:\n- url: u\n  index: ¦{a: b}\n", "`index` has the wrong type"),
        (
            "artifacts:\n- url: u\n  type: storage\n  index: ¦remote-asset\n",
            "of `type: storage`, which has none",
        ),
        # auth
        (
            "artifacts:\n  servers:\n  - url: http://a\n    auth:\n      token: ¦t\n",
            "unknown key `token` in `auth`",
        ),
        (
            "artifacts:\n  servers:\n  - url: http://a\n    auth:\n      client-key: ¦k\n",
            "without `client-cert`",
        ),
        (
            "artifacts:\n  servers:\n  - url: http://a\n    auth:\n      client-cert: ¦c\n",
            "without `client-key`",
        ),
        ("artifacts:\n- url: u\n  auth: {}\n  server-cert: ¦s\n", "`server-cert` stands beside `auth`"),
        (
            "artifacts:\n- {url: u, client-key: ¦k, client-cert: c, auth: {}}\n",
            "stands beside `auth`.*move it",
        ),
        # the first mistake in the order of AC-10
        ("artifacts: {servers: [{push: 1, nothing: ¦2}]}\n", "unknown key `nothing`"),
        ("artifacts: {servers: [{url: '', push: ¦1}]}\n", "`push` has the wrong type"),
        ("artifacts: {servers: [{url: ¦'', auth: {client-key: k}}]}\n", "empty `url`"),
    ],
)
def test_a_wrong_section_is_refused_at_the_place_of_the_value(text, says):
    assert_refused(text, says)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        # an item
        ("psuh: ¦1", "unknown key `psuh` in `servers`.*`push`"),
        ("instance_name: ¦m", "did you mean `instance-name`"),
        ("push: ¦maybe", "`push` has the wrong type"),
        ("instance-name: ¦[m]", "`instance-name` has the wrong"),
        ("server-cert: ¦s", r"write `auth: \{server-cert: …\}`"),
        ("client-key: ¦s", "write `auth: .client-key"),
        # type and index
        ("type: ¦source", "`type` cannot be 'source'.*storage"),
        ("type: ¦''", "`type` cannot be ''"),
        ("type: ¦[all]", "`type` has the wrong type"),
        ("index: ¦assets", "`index` cannot be 'assets'.*auto"),
        # auth
        ("auth: ¦t", "`auth` has the wrong type"),
        ("auth: ¦[t]", "`auth` has the wrong type"),
        ("auth: {access-token: ¦[t]}", "`access-token` has the wrong"),
        ("auth: {access-token-reload-interval: ¦1h}", "cannot be '1h'.*minutes"),
        ("auth: {access-token-reload-interval: ¦0}", "cannot be '0'.*from 1"),
        ("auth: {access-token-reload-interval: ¦1.5}", "cannot be '1.5'"),
        ("auth: {access-token-reload-interval: ¦[]}", "has the wrong type"),
        # connection-config
        ("connection-config: ¦fast", "has the wrong type"),
        ("connection-config: {retries: ¦3}", "unknown key `retries` in `connection-config`"),
        ("connection-config: {keepalive-time: ¦-1}", "cannot be '-1'.*seconds from 0"),
        ("connection-config: {keepalive-time: ¦1000001}", "to 1000000"),
        ("connection-config: {retry-limit: ¦many}", "cannot be 'many'.*retries"),
        ("connection-config: {retry-limit: ¦true}", "cannot be 'true'"),
        ("connection-config: {retry-delay: ¦1s}", "cannot be '1s'.*milliseconds"),
        ("connection-config: {request-timeout: ¦{s: 1}}", "has the wrong type"),
        ("connection-config: {request-timeout: ¦0x10}", "cannot be '0x10'"),
        ("connection-config: {request-timeout: ¦''}", "cannot be ''"),
    ],
)
def test_a_wrong_server_is_refused_at_the_place_of_the_value(members, says):
    assert_refused(f"artifacts: {{servers: [{{url: 'http://a', {members}}}]}}\n", says)


def test_a_home_folder_must_be_there_for_a_path_that_begins_with_it(monkeypatch):
    node = parse_document("{servers: [{url: 'https://a', auth: {access-token: ~/t}}]}", "f")
    monkeypatch.setattr("caskeeper.config.remotes.home", lambda _environ: None)
    with pytest.raises(ConfigInvalid, match="no home folder for `access-token`") as caught:
        remote_list(node, environ={})
    assert caught.value.where == "f [line 1 column 51]"
