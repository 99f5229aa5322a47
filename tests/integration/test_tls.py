"""TLS, client certificates and tokens through the real command line; and where secrets must not be."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading

import pytest
import redis
from harness.certificates import EXPIRED, Authority, read
from harness.commands import Place, processes_naming, start, until
from harness.valkey import ValkeyServer

from caskeeper.config import load_settings
from tasks.celery_app import make_app

PASSWORD = "a-very-secret-password"
#: what stands in the token files, in the order in which the tests use them
TOKENS = ["first-secret-token", "second-secret-token", "other-secret-token", "wrong-secret-token"]
REF = "demo/hello/1"


class Guarded(Place):
    """Two servers of two authorities, each with its own credentials, and a worker that has them all."""

    def __init__(self, folder, valkey, port):
        self.port = port
        super().__init__(folder, valkey)
        for name in ("one", "two"):
            os.makedirs(f"{folder}/{name}-files")
        self.one = Authority(f"{folder}/one-files", "one")
        self.two = Authority(f"{folder}/two-files", "two")
        self.client_key, self.client_cert = self.one.issue("client", "worker@example.org")
        self.said = []

    def configure(self, name="fleet", *, database=0, **more):
        more = {"log": {"level": "debug", "format": "text"}, **more}
        address = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/{database}"
        return super().configure(name, **{"redis": address, **more})

    def write(self, name, *tokens):
        path = f"{self.folder}/{name}"
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(tokens) + "\n")
        return path

    def run(self, *words, **options):
        done = super().run(*words, **options)
        self.said.append(done.stdout + done.stderr)
        return done

    def begin(self):
        tokens = self.write("one-tokens", TOKENS[0]), self.write("two-tokens", TOKENS[2])
        key, cert = self.one.issue("server", "localhost")
        _, url = self.server(
            *("--tls-key", key, "--tls-cert", cert, "--client-ca", self.one.file, "--token-file", tokens[0]),
            config=self.configure("one", database=1, cachedir=f"{self.folder}/one"),
            name="one",
        )
        self.first = url.replace("http://127.0.0.1", "https://localhost")
        key, cert = self.two.issue("server")
        _, url = self.server(
            config=self.configure(
                "two",
                database=2,
                cachedir=f"{self.folder}/two",
                server={"tls-key": key, "tls-cert": cert, "token-file": tokens[1]},
            ),
            name="two",
        )
        self.second = url.replace("http://127.0.0.1", "https://localhost")
        auth = {
            "server-cert": self.one.file,
            "client-key": self.client_key,
            "client-cert": self.client_cert,
            "access-token": self.write("one-token", TOKENS[0]),
        }
        other = {"server-cert": self.two.file, "access-token": self.write("two-token", TOKENS[2])}
        self.config = self.configure(
            artifacts={
                "servers": [
                    {"url": self.first, "push": True, "auth": auth},
                    {"url": self.second, "push": True, "auth": other},
                ]
            }
        )
        self.worker()
        self.done("commit", self.tree("hello", {"f": b"hello\n", "large": os.urandom(200_000)}), REF)

    def done(self, *words):
        done = self.run("--json", *words)
        assert done.returncode == 0, done
        return json.loads(done.stdout)


@contextlib.contextmanager
def monitored(folder, port):
    """Everything that is said to Redis from now on, line by line."""
    client = redis.Redis(port=port, password=PASSWORD)
    lines = []

    def listen():
        with contextlib.suppress(redis.RedisError, OSError, ValueError), client.monitor() as monitor:
            begun.set()
            lines.extend(command["command"] for command in monitor.listen())

    begun = threading.Event()
    threading.Thread(target=listen, daemon=True).start()
    begun.wait(30)
    yield lines
    with contextlib.suppress(redis.RedisError):
        client.client_kill_filter(_type="normal", skipme=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with ValkeyServer(options=["--port", str(port), "--bind", "127.0.0.1"]) as valkey:
        with valkey.client() as client:
            client.config_set("requirepass", PASSWORD)
        folder = tmp_path_factory.mktemp("tls")
        made = Guarded(folder, valkey, port)
        try:
            with monitored(folder, port) as made.redis_heard:
                made.begin()
                yield made
                made.end()
        finally:
            made.end()


def failure(place, *words):
    done = place.run("--json", *words)
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"], done
    return document


def test_push_and_pull_through_tls_with_each_remotes_own_credentials(place):
    health = place.done("remotes")["remotes"]
    assert [(one["url"], one["usable"], one["push"], one["reason"]) for one in health] == [
        (place.first, True, True, ""),
        (place.second, True, True, ""),
    ]
    outcomes = place.done("push", REF)["remotes"]
    assert [(one["url"], one["outcome"]) for one in outcomes] == [
        (place.first, "pushed"),
        (place.second, "pushed"),
    ]
    for url in (place.first, place.second):
        place.done("remove", REF)
        (result,) = place.done("pull", REF, "--remote", url)["results"]
        assert (result["pulled"], result["remote"]) == (True, url)
    target = f"{place.folder}/out"
    place.done("extract", REF, "--to", target)
    assert read(f"{target}/large") == read(f"{place.folder}/hello/large")


def test_a_server_says_what_it_asks_for(place):
    for name, words in (("one", "TLS, client certificates, tokens"), ("two", "TLS, tokens")):
        assert f"(read-write, {words})" in read(f"{place.folder}/{name}.log").decode()


def test_the_configuration_alone_may_say_all_of_it(place):
    key, cert = place.one.issue("alone", "localhost")
    config = place.configure(
        "alone",
        database=4,
        cachedir=f"{place.folder}/alone",
        server={"listen": "127.0.0.1:0", "tls-key": key, "tls-cert": cert, "client-ca": place.one.file},
    )
    process = start("--config", config, "--json", "server", stderr=subprocess.DEVNULL)
    try:
        said = json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert (said["event"], said["security"]) == ("listening", ["TLS", "client certificates"])
    assert process.returncode == 0


def test_a_remote_written_out_names_its_files(place):
    spec = f"url={place.second},push=true,server-cert={place.two.file},access-token={place.folder}/two-token"
    assert place.done("push", REF, "--remote", spec)["remotes"][0]["outcome"] == "already-there"


def test_tokens_are_renewed_on_both_sides_while_everything_runs(place):
    place.write("one-tokens", TOKENS[0], TOKENS[1])
    place.write("one-token", TOKENS[1])
    place.done("push", REF, "--remote", place.first)
    place.write("one-tokens", TOKENS[1])
    until(lambda: "tokens=1" in read(f"{place.folder}/one.log").decode() or _touched(place))
    # The worker's children read the first one in the beginning and are refused with it now.
    for number in range(3):
        place.done("commit", place.tree(f"more-{number}", {"f": os.urandom(10)}), f"demo/more/{number}")
        outcomes = place.done("push", f"demo/more/{number}")["remotes"]
        assert [one["outcome"] for one in outcomes] == ["pushed", "pushed"], outcomes


def _touched(place):
    """The server looks at its file when it is called."""
    place.done("push", REF, "--remote", place.first)


@pytest.mark.parametrize(
    ("changes", "error", "exit_code", "says"),
    [
        ({"access-token": "wrong"}, "PermissionDenied", 14, "bearer token is not accepted"),
        ({"access-token": None}, "PermissionDenied", 14, "wants a bearer token"),
        ({"client-key": None, "client-cert": None}, "ConfigInvalid", 17, "wants a client certificate"),
        ({"client-cert": "old", "client-key": "old"}, "ConfigInvalid", 17, "expired on"),
        ({"client-cert": "strange", "client-key": "strange"}, "ConfigInvalid", 17, "does not accept"),
        ({"server-cert": "strange"}, "ConfigInvalid", 17, "not vouched for by server-cert"),
        ({"server-cert": "absent"}, "ConfigInvalid", 17, "absent.pem' cannot be read"),
        ({"url": "127.0.0.1"}, "ConfigInvalid", 17, "for another host"),
    ],
)
def test_what_is_wrong_with_credentials_is_said_with_the_file(place, changes, error, exit_code, says):
    old, strange = (
        place.one.issue("old", "worker@example.org", **EXPIRED),
        place.two.issue("strange", "w@x.org"),
    )
    files = {
        ("client-key", "old"): old[0],
        ("client-cert", "old"): old[1],
        ("client-key", "strange"): strange[0],
        ("client-cert", "strange"): strange[1],
        ("server-cert", "strange"): place.two.file,
        ("server-cert", "absent"): f"{place.folder}/absent.pem",
        ("access-token", "wrong"): place.write("wrong", TOKENS[3]),
        ("url", "127.0.0.1"): place.first.replace("localhost", "127.0.0.1"),
    }
    spec = {
        "url": place.first,
        "server-cert": place.one.file,
        "client-key": place.client_key,
        "client-cert": place.client_cert,
        "access-token": f"{place.folder}/one-token",
    }
    spec |= {name: files.get((name, value)) for name, value in changes.items()}
    remote = ",".join(f"{name}={value}" for name, value in spec.items() if value)
    pulled = failure(place, "pull", "demo/none/1", "--remote", remote)
    pushed = failure(place, "push", REF, "--remote", f"{remote},push=true")
    for document in pulled, pushed:
        assert (document["error"], document["exit_code"]) == (error, exit_code), document["what"]
        assert says in document["what"]
        assert spec["url"] in document["message"]
    assert pushed["way_out"] == pulled["way_out"]


def test_a_remote_with_a_wrong_certificate_stands_in_nobodys_way(place):
    """It costs no time-out; the next one is asked, and what it did not get is said."""
    wrong = f"url={place.first},push=true,server-cert={place.two.file}"
    place.done("push", REF, "--remote", place.second)
    place.done("remove", REF)
    (result,) = place.done("pull", REF, "--remote", wrong, "--remote", place.second)["results"]
    assert (result["pulled"], result["remote"]) == (True, place.second)
    done = place.run("--json", "push", REF, "--remote", wrong, "--remote", place.second)
    assert done.returncode == 3, done
    refused, taken = json.loads(done.stdout)["remotes"]
    assert (refused["outcome"], refused["retry"], taken["outcome"]) == ("failed", False, "already-there")
    assert f"not vouched for by server-cert {place.two.file!r}" in refused["reason"]


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        ([], 2, "--listen"),
        (["--listen", "127.0.0.1:0", "--tls-key", "k"], 17, "`tls-key` is given without `tls-cert`"),
        (["--listen", "127.0.0.1:0", "--token-file", "none"], 17, "argument --token-file"),
    ],
)
def test_a_server_that_cannot_be_secured_does_not_start(place, words, exit_code, says):
    config = place.configure("lone", database=3, cachedir=f"{place.folder}/lone")
    done = place.run("server", *words, config=config)
    assert done.returncode == exit_code, done
    assert says in done.stderr


def test_no_secret_is_anywhere_but_in_its_file(place):
    """Logs at debug, what was said to Redis (messages, results, events), what Flower asks workers, arguments.

    The tests before have pushed, pulled and been refused with every secret there is.
    """
    for look in ("status", "remotes", "list"):
        place.run(look)
    settings = load_settings(place.config, {"HOME": place.folder})
    app = make_app(settings, settings.redis)
    asked = {}
    for question in ("conf", "stats", "active", "reserved", "report", "registered"):
        asked[question] = getattr(app.control.inspect(timeout=10, limit=1), question)()
        assert asked[question], question
    app.close()
    logs = [f"{place.folder}/{name}" for name in os.listdir(place.folder) if name.endswith(".log")]
    assert len(logs) == 3
    places = {
        **{path: read(path).decode() for path in logs},
        "redis": "\n".join(place.redis_heard),
        "commands": "\n".join(place.said),
        "flower": json.dumps(asked, default=str),
    }
    assert "artifacts.push" in places["redis"]
    assert REF in places["commands"]
    for known in ("pushed", "two-token"):  # what is no secret is there: the places are the right ones
        assert any(known in text for text in places.values()), known
    keys = [read(place.client_key), read(f"{place.folder}/one-files/server.key")]
    for secret in (*TOKENS, PASSWORD, *(key.decode().split("\n")[2] for key in keys)):
        found = [name for name, text in places.items() if secret in text]
        assert found == [], f"{secret[:6]}… is in {found}"
        assert processes_naming(secret) == {}
    shutil.rmtree(f"{place.folder}/out", ignore_errors=True)
