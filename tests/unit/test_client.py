"""The client's door: what it does before anything is connected."""

import subprocess
import sys

import pytest

import caskeeper
from caskeeper.client import Client
from caskeeper.config import CacheSettings, Settings
from caskeeper.contract import MAX_MESSAGE_BYTES, PullRequest, PullTreeRequest, RemotesCheckRequest
from caskeeper.digest import Digest
from caskeeper.errors import ConfigInvalid, CoordinatorUnavailable, InvalidRequest


class Caught(Client):
    """A client whose queue keeps what is sent."""

    def __init__(self, settings):
        super().__init__(settings)
        self.sent = []

    @property
    def queue(self):
        return self

    def submit(self, request, result):
        self.sent.append(request)


def sent(settings, call):
    client = Caught(settings)
    call(client)
    return client.sent[0]


REDIS = Settings(cachedir="/nonexistent", redis="redis://127.0.0.1:1/0")


def test_importing_the_package_loads_neither_queue_nor_redis():
    program = (
        "import sys, caskeeper\n"
        "from caskeeper import Client, Element, Ref, errors\n"
        "heavy = ('celery', 'kombu', 'redis', 'grpc', 'tasks', 'worker')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_names_of_the_door_are_there():
    for name in caskeeper.__all__:
        assert getattr(caskeeper, name)
    assert set(caskeeper.__all__) <= set(dir(caskeeper))
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        caskeeper.Clint  # noqa: B018 -- looking is what fails


@pytest.mark.parametrize(
    ("pull_buildtrees", "options", "excluded"),
    [
        (False, {}, ("buildtree",)),
        (False, {"excluded_subdirs": ["logs"]}, ("logs", "buildtree")),
        (False, {"excluded_subdirs": ["buildtree", "logs"]}, ("buildtree", "logs")),
        (False, {"subdir": "buildtree/src"}, ()),
        (True, {}, ()),
        (True, {"excluded_subdirs": ["logs"]}, ("logs",)),
    ],
)
def test_build_trees_stay_away_unless_they_are_wanted(pull_buildtrees, options, excluded):
    cache = CacheSettings(pull_buildtrees=pull_buildtrees)
    settings = Settings(cachedir="/nonexistent", redis="redis://127.0.0.1:1/0", cache=cache)
    assert sent(settings, lambda c: c.pull("p/e/k", **options)).excluded_subdirs == excluded


def test_refs_are_checked_and_normalised_before_they_travel():
    assert sent(REDIS, lambda c: c.pull("p/a+b.bst/k")) == PullRequest(
        ref="p/a_b/k", excluded_subdirs=("buildtree",)
    )
    assert sent(REDIS, lambda c: c.push("p/e.bst/k", "p/e/k")).refs == ("p/e/k",)
    with pytest.raises(InvalidRequest, match="three parts"):
        Caught(REDIS).pull("p/e")
    with pytest.raises(InvalidRequest, match="no ref"):
        Caught(REDIS).push()


def test_trees_and_messages_are_checked_before_they_travel():
    """AC-75 to AC-77."""
    digest = Digest.of(b"tree")
    for given in (digest, str(digest)):
        request = sent(REDIS, lambda c, given=given: c.pull_tree("demo", given))
        assert request == PullTreeRequest(project="demo", digest=str(digest))
    assert sent(REDIS, lambda c: c.push_directory("demo", None)).digest is None
    request = sent(REDIS, lambda c: c.push_message("demo", b"\0message"))
    assert (request.content, request.subject()) == (b"\0message", "demo")
    assert type(request).from_json(request.to_json()) == request
    for call in (
        lambda c: c.pull_tree("demo", "abc"),
        lambda c: c.pull_tree("a/b", digest),
        lambda c: c.push_directory("demo", ""),
        lambda c: c.push_message("..", b""),
        lambda c: c.push_message("demo", bytes(MAX_MESSAGE_BYTES + 1)),
    ):
        with pytest.raises(InvalidRequest):
            call(Caught(REDIS))


def test_paths_travel_as_absolute_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sent(REDIS, lambda c: c.commit("tree", "p/e/k")).path == str(tmp_path / "tree")
    assert sent(REDIS, lambda c: c.extract("p/e/k", destination="out")).destination == str(tmp_path / "out")


def test_a_path_that_only_looks_as_if_it_were_inside_is_refused(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here-too").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "here-too")
    monkeypatch.chdir(tmp_path / "here")
    embedded = Settings(cachedir=str(tmp_path / "c"))
    for path in ("../here-too", "link", "/"):
        with pytest.raises(InvalidRequest, match="not below a permitted folder"):
            Caught(embedded).commit(path, "p/e/k")
    assert sent(embedded, lambda c: c.commit(".", "p/e/k")).path == str(tmp_path / "here")


def test_looking_without_the_volume_says_how_to_get_it(tmp_path):
    settings = Settings(cachedir=str(tmp_path / "c"), redis="redis://127.0.0.1:1/0")
    with Client(settings) as cache, pytest.raises(ConfigInvalid, match="not mounted"):
        cache.contains("p/e/k")
    with Client(Settings(cachedir=str(tmp_path / "c"))) as cache:
        assert not cache.contains("p/e/k"), "a cache of one's own that was never used is empty"


def test_a_redis_that_is_not_there_is_said_with_its_place():
    with Client(REDIS) as cache, pytest.raises(CoordinatorUnavailable, match=r"127\.0\.0\.1:1"):
        cache.status()


def test_remotes_written_out_travel_with_whole_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    remotes = ["http://configured", "url=https://a,server-cert=ca.pem"]
    for call in (
        lambda client: client.pull("p/e/k", remotes=remotes),
        lambda client: client.push("p/e/k", remotes=remotes),
    ):
        assert sent(REDIS, call).remotes == (
            "http://configured",
            f"url=https://a,server-cert={tmp_path}/ca.pem",
        )
    with pytest.raises(InvalidRequest, match="unknown key"):
        sent(REDIS, lambda client: client.pull("p/e/k", remotes=["url=https://a,psuh=true"]))


@pytest.mark.parametrize("project", [None, "demo"])
def test_a_check_of_remotes_is_for_all_projects_or_one(project):
    assert sent(REDIS, lambda client: client.remotes(project)) == RemotesCheckRequest(project=project)
    with pytest.raises(InvalidRequest):
        sent(REDIS, lambda client: client.remotes("a/b"))
