import pickle
import subprocess
import sys

import pytest

from caskeeper.config import (
    CacheSettings,
    EmbeddedSettings,
    LeaseSettings,
    LogSettings,
    MetricsSettings,
    NamedFile,
    QueueSettings,
    QuotaExpression,
    RemoteSpec,
    ServerSettings,
    Settings,
    load_settings,
)
from caskeeper.config.keys import KEYS, variables
from caskeeper.errors import ConfigInvalid

WHOLE = """\
cachedir: /srv/cache
redis: redis://redis:6379/0
roots: [/srv/in, /srv/cache]
cache:
  quota: 50%
  low-watermark: 80%
  reserved-disk-space: 2G
  headroom: 1.5K
  pull-buildtrees: true
leases:
  operation: 30s
  operation-life: 2h
  session: 1min
  clock-margin: 500ms
  upload-grace: 900
log: {level: debug, format: json}
embedded: {idle: 5min}
queue: {max-transfers: 3, job-budget: 10min}
metrics: {listen: "0.0.0.0:9464"}
server:
  listen: 127.0.0.1:11001
  tls-key: /tls/key.pem
  tls-cert: /tls/cert.pem
  client-ca: /tls/clients.pem
  token-file: ~/tokens
artifacts:
- url: http://a
projects:
  demo:
    artifacts: {url: 'http://b', push: true}
  other:
"""


def test_every_key_arrives(load, home):
    assert load(WHOLE) == Settings(
        cachedir="/srv/cache",
        redis="redis://redis:6379/0",
        roots=("/srv/in", "/srv/cache"),
        cache=CacheSettings(QuotaExpression("50%"), 0.8, QuotaExpression("2G"), 1536, True, True),
        leases=LeaseSettings(30.0, 7200.0, 60.0, 0.5, 900.0),
        log=LogSettings("debug", "json"),
        embedded=EmbeddedSettings(300.0),
        queue=QueueSettings(3, 600.0),
        metrics=MetricsSettings("0.0.0.0:9464"),
        server=ServerSettings(
            listen="127.0.0.1:11001",
            tls_key=NamedFile("/tls/key.pem"),
            tls_cert=NamedFile("/tls/cert.pem"),
            client_ca=NamedFile("/tls/clients.pem"),
            token_file=NamedFile(f"{home}/tokens"),
        ),
        artifacts=(RemoteSpec("http://a"),),
        projects={"demo": (RemoteSpec("http://b", push=True),)},
        source=str(home / "c.yaml"),
        config_file=str(home / "c.yaml"),
    )


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "{}\n", "cache:\nleases:\nlog:\nprojects:\nembedded: ~\nserver: ~\n"]
)
def test_everything_has_a_default(load, home, text):
    found = load(text)
    assert found.cachedir == f"{home}/.cache/caskeeper"
    assert found == Settings(cachedir=found.cachedir, source=found.source, config_file=found.config_file)
    assert found.roots == (found.cachedir,)
    assert found.leases == LeaseSettings(60.0, 21600.0, 120.0, 10.0, 600.0)
    assert found.cache == CacheSettings(QuotaExpression("infinity"), 0.5, QuotaExpression("5%"))
    assert found.notes == ()


def test_without_a_file_the_settings_say_where_it_would_be(home):
    found = load_settings(None, {"HOME": str(home)})
    assert (found.source, found.config_file) == ("", f"{home}/.config/caskeeper.yaml")


def test_the_argument_wins_over_the_variable_and_that_over_the_users_folder(home):
    environ = {"HOME": str(home)}
    for name in ("argument", "variable", ".config/caskeeper"):
        (home / f"{name}.yaml").write_text(f"cachedir: /{name.rpartition('/')[2]}\n")
    assert load_settings(None, environ).cachedir == "/caskeeper"
    environ["CASKEEPER_CONFIG"] = f"{home}/variable.yaml"
    assert load_settings(None, environ).cachedir == "/variable"
    assert load_settings(f"{home}/argument.yaml", environ).cachedir == "/argument"


@pytest.mark.parametrize("way", ["argument", "variable"])
def test_a_file_that_was_named_must_exist(home, way):
    missing = f"{home}/none.yaml"
    environ = {"HOME": str(home)} | ({"CASKEEPER_CONFIG": missing} if way == "variable" else {})
    with pytest.raises(ConfigInvalid, match="there is no such file") as caught:
        load_settings(missing if way == "argument" else None, environ)
    assert caught.value.where == missing


ENVIRONMENT = {
    "CASKEEPER_CACHEDIR": ("/env/cache", lambda s: s.cachedir, "/env/cache"),
    "CASKEEPER_REDIS_URL": ("unix:///run/r.sock", lambda s: s.redis, "unix:///run/r.sock"),
    "CASKEEPER_ROOTS": ("/one:/two:/one:", lambda s: s.roots, ("/one", "/two")),
    "CASKEEPER_CACHE_QUOTA": ("3G", lambda s: s.cache.quota.text, "3G"),
    "CASKEEPER_CACHE_LOW_WATERMARK": ("12.5%", lambda s: s.cache.low_watermark, 0.125),
    "CASKEEPER_CACHE_RESERVED_DISK_SPACE": ("1%", lambda s: s.cache.reserved_disk_space.text, "1%"),
    "CASKEEPER_CACHE_HEADROOM": ("0", lambda s: s.cache.headroom_bytes, 0),
    "CASKEEPER_CACHE_PULL_BUILDTREES": ("false", lambda s: s.cache.pull_buildtrees, False),
    "CASKEEPER_QUEUE_MAX_TRANSFERS": ("12", lambda s: s.queue.max_transfers, 12),
    "CASKEEPER_QUEUE_JOB_BUDGET": ("90s", lambda s: s.queue.job_budget_s, 90.0),
    "CASKEEPER_LEASES_OPERATION": ("5", lambda s: s.leases.operation_s, 5.0),
    "CASKEEPER_LEASES_OPERATION_LIFE": ("1h", lambda s: s.leases.operation_life_s, 3600.0),
    "CASKEEPER_LEASES_SESSION": ("7s", lambda s: s.leases.session_s, 7.0),
    "CASKEEPER_LEASES_CLOCK_MARGIN": ("0", lambda s: s.leases.clock_margin_s, 0.0),
    "CASKEEPER_LEASES_UPLOAD_GRACE": ("1d", lambda s: s.leases.upload_grace_s, 86400.0),
    "CASKEEPER_LOG_LEVEL": ("error", lambda s: s.log.level, "error"),
    "CASKEEPER_LOG_FORMAT": ("text", lambda s: s.log.format, "text"),
    "CASKEEPER_EMBEDDED_IDLE": ("1s", lambda s: s.embedded.idle_s, 1.0),
    "CASKEEPER_METRICS_LISTEN": ("localhost:0", lambda s: s.metrics.listen, "localhost:0"),
    "CASKEEPER_SERVER_LISTEN": ("[::1]:0", lambda s: s.server.listen, "[::1]:0"),
    "CASKEEPER_SERVER_TLS_KEY": ("/k", lambda s: s.server.tls_key.path, "/k"),
    "CASKEEPER_SERVER_TLS_CERT": ("/c", lambda s: s.server.tls_cert.path, "/c"),
    "CASKEEPER_SERVER_CLIENT_CA": ("/ca", lambda s: s.server.client_ca.path, "/ca"),
    "CASKEEPER_SERVER_TOKEN_FILE": ("/t", lambda s: s.server.token_file.path, "/t"),
    "CASKEEPER_ARTIFACTS": ("{url: 'http://e'}", lambda s: s.artifacts, (RemoteSpec("http://e"),)),
    "CASKEEPER_PROJECTS": (
        "{p: {artifacts: [{url: 'http://u'}]}}",
        lambda s: s.projects,
        {"p": (RemoteSpec("http://u"),)},
    ),
}


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_the_environment_wins_over_the_file(load, name):
    text, read, expected = ENVIRONMENT[name]
    assert read(load(WHOLE)) != expected
    assert read(load(WHOLE, **{name: text})) == expected
    assert read(load(WHOLE, **{name: "  "})) == read(load(WHOLE))


def test_every_setting_has_a_variable():
    assert set(variables()) == {"CASKEEPER_CONFIG", *ENVIRONMENT}


@pytest.mark.parametrize(
    ("name", "text", "where", "says"),
    [
        ("CASKEEPER_CACHE_QUOTA", "lots", "", "'lots' is not a size of a cache"),
        ("CASKEEPER_LEASES_SESSION", "soon", "", "'soon' is not a duration"),
        ("CASKEEPER_REDIS_URL", "localhost:6379", "", "not a URL of a Redis server"),
        ("CASKEEPER_LOG_LEVEL", "loud", "", "`level` cannot be 'loud'"),
        ("CASKEEPER_CACHE_PULL_BUILDTREES", "1", "", "`pull-buildtrees` has the wrong type"),
        ("CASKEEPER_CACHEDIR", "$NOWHERE", "", "`NOWHERE` is not set"),
        ("CASKEEPER_ARTIFACTS", "http://a", " [line 1 column 0]", "must be one mapping"),
        ("CASKEEPER_ARTIFACTS", "{url: ''}", " [line 1 column 6]", "empty `url`"),
        ("CASKEEPER_ARTIFACTS", "{url: a: b}", " [line 1 column 7]", "malformed YAML"),
        ("CASKEEPER_PROJECTS", "{p: {x: 1}}", " [line 1 column 8]", "unknown key `x` in `projects: p`"),
    ],
)
def test_a_wrong_variable_is_named(load, name, text, where, says):
    with pytest.raises(ConfigInvalid, match=says) as caught:
        load("", **{name: text})
    assert caught.value.where == f"environment variable {name}{where}"


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        # keys
        ("cachdir: /x\n", 1, 9, "unknown key `cachdir`.*did you mean `cachedir`"),
        ("cachedir: /x\nzzzz:\n  a: b\n", 3, 2, "unknown key `zzzz`.*known here: `artifacts`, `cache`"),
        ("cache:\n  qouta: 1G\n", 2, 9, "unknown key `qouta` in `cache`.*did you mean `quota`"),
        ("cache: {quota: 3G, low_watermark: 5%}\n", 1, 34, "unknown key `low_watermark` in `cache`"),
        ("leases:\n  sessions: 5\n", 2, 12, "unknown key `sessions` in `leases`.*`session`"),
        ("log: {levle: info}\n", 1, 13, "unknown key `levle` in `log`"),
        ("server: {tls-keys: x}\n", 1, 19, "unknown key `tls-keys` in `server`.*did you mean `tls-key`"),
        ("embedded:\n  idel: 1\n", 2, 8, "unknown key `idel` in `embedded`"),
        ("projects:\n  p:\n    artefacts: []\n", 3, 15, "unknown key `artefacts` in `projects: p`"),
        ("shceduler: {}\n", 1, 11, "unknown key `shceduler`.*did you mean `scheduler`"),
        # shapes
        ("cache: 10G\n", 1, 7, "`cache` has the wrong type.*a mapping instead of '10G'"),
        ("leases: [a]\n", 1, 8, "`leases` has the wrong type.*a mapping instead of a list"),
        ("log: info\n", 1, 5, "`log` has the wrong type"),
        ("projects: [p]\n", 1, 10, "`projects` has the wrong type"),
        ("projects:\n  p: text\n", 2, 5, "`p` has the wrong type"),
        ("cachedir: [x]\n", 1, 10, "`cachedir` has the wrong type"),
        ("redis: {url: x}\n", 1, 7, "`redis` has the wrong type"),
        ("roots: {a: b}\n", 1, 7, "`roots` has the wrong type"),
        ("roots:\n- /x\n- [y]\n", 3, 2, "`roots` has the wrong type"),
        ("cache: {quota: [1]}\n", 1, 15, "`quota` has the wrong type"),
        # values
        ("cachedir: ''\n", 1, 10, "a path is empty"),
        ("cachedir: ${NOWHERE}/x\n", 1, 10, "`NOWHERE` is not set"),
        ("roots: [/x, $NOWHERE]\n", 1, 12, "`NOWHERE` is not set"),
        ("redis: localhost\n", 1, 7, "not a URL of a Redis server"),
        ("redis: http://h\n", 1, 7, "not a URL of a Redis server"),
        ("redis: redis://\n", 1, 7, "not a URL of a Redis server"),
        ("cache:\n  quota: 1.5X\n", 2, 9, "'1.5X' is not a size of a cache"),
        ("cache: {quota: 101%}\n", 1, 15, "'101%' is not a size of a cache"),
        ("cache: {quota: ''}\n", 1, 15, "'' is not a size of a cache"),
        ("cache:\n  low-watermark: 0.5\n", 2, 17, "`low-watermark` cannot be '0.5'"),
        ("cache: {low-watermark: 101%}\n", 1, 23, "`low-watermark` cannot be '101%'"),
        ("cache:\n  reserved-disk-space: infinity\n", 2, 23, "`reserved-disk-space` cannot be infinity"),
        ("cache:\n  reserved-disk-space: some\n", 2, 23, "'some' is not a size"),
        ("cache:\n  headroom: 10%\n", 2, 12, "'10%' is not a size"),
        ("cache:\n  pull-buildtrees: yes\n", 2, 19, "`pull-buildtrees` has the wrong type"),
        ("leases:\n  operation: 1 hour\n", 2, 13, "'1 hour' is not a duration"),
        ("leases:\n  operation: 0\n", 2, 13, "`operation` must be longer than 0"),
        ("leases: {session: 0s}\n", 1, 18, "`session` must be longer than 0"),
        ("leases:\n  operation-life: 30s\n", 2, 18, "`operation-life` is shorter than `operation`"),
        ("leases:\n  operation: 7h\n", 2, 13, "`operation-life` is shorter than `operation`"),
        ("log:\n  level: loud\n", 2, 9, "`level` cannot be 'loud'.*debug, info, warning, error"),
        ("log:\n  format: xml\n", 2, 10, "`format` cannot be 'xml'.*text, json"),
        ("metrics: {listen: 9464}\n", 1, 18, "'9464' is not an address to listen on"),
        ("server: {listen: here}\n", 1, 17, "'here' is not an address to listen on"),
        ("server:\n  listen: 127.0.0.1:70000\n", 2, 10, "'127.0.0.1:70000' is not an address to listen on"),
        ("server: {token-file: [x]}\n", 1, 21, "`token-file` has the wrong type"),
        ("server: {client-ca: $NOWHERE}\n", 1, 20, "`NOWHERE` is not set"),
        ("embedded: {idle: never}\n", 1, 17, "'never' is not a duration"),
        # remotes: tests/unit/config/test_remotes.py has them all
        ("artifacts: none\n", 1, 11, "must be one mapping"),
        ("artifacts:\n  servers:\n  - url: gopher://a\n", 3, 9, "`url` cannot be 'gopher://a'"),
        ("artifacts: {url: ftp://x}\n", 1, 17, "`url` cannot be 'ftp://x'.*http:// or https://"),
        ("projects:\n  p:\n    artifacts:\n    - push: true\n", 4, 6, "misses the key `url`"),
        # YAML
        ("a: b: c\n", 1, 4, "malformed YAML"),
        ("cachedir: /x\ncachedir: /y\n", 2, 0, "the key `cachedir` stands here a second time"),
    ],
)
def test_a_mistake_is_refused_at_its_place_with_a_way_out(load, home, text, line, column, says):
    with pytest.raises(ConfigInvalid, match=says) as caught:
        load(text)
    assert caught.value.where == f"{home}/c.yaml [line {line} column {column}]"
    assert caught.value.way_out
    assert caught.value.exit_code == 17


def test_a_redis_url_is_not_repeated_in_an_error():
    with pytest.raises(ConfigInvalid) as caught:
        load_settings(None, {"HOME": "/nowhere", "CASKEEPER_REDIS_URL": "http://:secret@host"})
    assert "secret" not in str(caught.value)


def test_files_of_the_server_keep_their_places_for_later_errors(load, home):
    found = load("server:\n  tls-key: k.pem\n", CASKEEPER_SERVER_TLS_CERT="/c.pem").server
    assert (found.tls_key.path, found.tls_key.where) == (
        f"{home}/k.pem", f"{home}/c.yaml [line 2 column 11]",
    )  # fmt: skip
    assert found.tls_cert.where == "environment variable CASKEEPER_SERVER_TLS_CERT"


def test_the_quota_keeps_its_place_for_later_errors(load, home):
    assert load("cache:\n  quota: 3G\n").cache.quota.where == f"{home}/c.yaml [line 2 column 9]"
    found = load("", CASKEEPER_CACHE_QUOTA="3G")
    assert found.cache.quota.where == "environment variable CASKEEPER_CACHE_QUOTA"


def test_relative_paths_start_beside_the_file_or_where_the_variable_was_read(
    load, home, monkeypatch, tmp_path
):
    assert load("cachedir: c\nroots: [r, ~/s]\n").cachedir == f"{home}/c"
    assert load("roots: [r, ~/s]\n").roots == (f"{home}/r", f"{home}/s")
    assert load("roots: r\n").roots == (f"{home}/r",)
    monkeypatch.chdir(tmp_path)
    assert load("cachedir: c\n", CASKEEPER_CACHEDIR="e").cachedir == f"{tmp_path}/e"


def test_a_variable_that_looks_like_a_slip_is_noted_and_others_are_not(load):
    found = load("", CASKEEPER_CACHE_QOUTA="1G", CASKEEPER_PORT="tcp://10.0.0.1:80")
    assert [note for note in found.notes if "CASKEEPER_PORT" in note] == []
    (note,) = found.notes
    assert "CASKEEPER_CACHE_QOUTA" in note
    assert "did you mean CASKEEPER_CACHE_QUOTA?" in note


def test_settings_travel_to_child_processes(load):
    found = load(WHOLE)
    assert pickle.loads(pickle.dumps(found)) == found


def test_no_section_is_left_out_of_the_whole_example():
    assert all(f"{key}:" in WHOLE for key in KEYS)
    assert all(f"{name}:" in WHOLE for names in KEYS.values() for name in names)


def test_without_a_file_yaml_is_not_imported(tmp_path):
    script = (
        "import sys, caskeeper.config as c\n"
        f"c.load_settings(None, {{'HOME': {str(tmp_path)!r}}})\n"
        "assert 'yaml' not in sys.modules and 'difflib' not in sys.modules, 'imported'\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_source_is_absolute_and_errors_show_the_path_as_it_was_given(home, monkeypatch):
    monkeypatch.chdir(home)
    (home / "c.yaml").write_text("cachedir: c\n")
    found = load_settings("c.yaml", {"HOME": str(home)})
    assert (found.source, found.config_file) == (f"{home}/c.yaml", f"{home}/c.yaml")
    (home / "c.yaml").write_text("redis: nowhere\n")
    with pytest.raises(ConfigInvalid) as caught:
        load_settings("c.yaml", {"HOME": str(home)})
    assert caught.value.where == "c.yaml [line 1 column 7]"


@pytest.mark.parametrize("name", ["CASKEEPER_CACHEDIR", "XDG_CACHE_HOME"])
def test_a_cache_folder_that_is_no_text_is_refused(load, name):
    with pytest.raises(ConfigInvalid, match=r"/x\\udcff.* is not UTF-8") as caught:
        load("", **{name: "/x\udcff"})
    str(caught.value).encode()
    assert caught.value.exit_code == 17
