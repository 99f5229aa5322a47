"""What is Remote Asset's own (wire-protocols section 6): two URNs, two ways to miss, references."""

import pytest
from harness.lying_indexes import ARTIFACT as ARTIFACT_URN
from harness.lying_indexes import V1
from harness.lying_server import LyingServer
from harness.remotes import ABSENT, Code, remotes

from caskeeper.artifact import Ref
from caskeeper.digest import Digest
from caskeeper.errors import ConfigInvalid, PermissionDenied, RemoteUnavailable
from worker.protocols import ARTIFACT, DIRECTORY, Published

REF, WEAK = Ref.parse("demo/hello/aaaa"), Ref.parse("demo/hello/bbbb")
ROOT, MESSAGE = Digest.of(b"a root"), Digest.of(b"a message")
LOG, FILES = Digest.of(b"a log"), Digest.of(b"files")


@pytest.fixture
def server():
    with LyingServer(indexes=("remote-asset", "remote-asset-push")) as running:
        yield running


@pytest.fixture
def index(server):
    with remotes() as make:
        yield make(server.url, push=True).index


def no_tree():
    raise AssertionError("no Tree is needed")


def test_a_plain_tree_travels_as_a_directory_under_the_urn_of_buildstream_1(server, index):
    index.publish([REF, WEAK], Published((ROOT,)), tree=no_tree)
    assert server.assets == {("Directory", f"{V1}{ref}"): ROOT for ref in (REF, WEAK)}
    assert server.count("PushDirectory") == 1
    assert index.resolve(REF) == Published((ROOT,), DIRECTORY)


def test_an_artifact_travels_as_a_blob_with_what_it_references(server, index):
    published = Published((MESSAGE,), ARTIFACT, (LOG,), (FILES,))
    index.publish([REF, WEAK], published, tree=no_tree)
    assert server.assets == {("Blob", f"{ARTIFACT_URN}{ref}"): MESSAGE for ref in (REF, WEAK)}
    assert server.references == {f"{ARTIFACT_URN}{ref}": ([LOG], [FILES]) for ref in (REF, WEAK)}
    assert index.resolve(WEAK) == Published((MESSAGE,), ARTIFACT)


def test_a_plain_tree_is_taken_where_both_are_there(server, index):
    server.assets["Blob", f"{ARTIFACT_URN}{REF}"] = MESSAGE
    server.assets["Directory", f"{V1}{REF}"] = ROOT
    assert index.resolve(REF) == Published((ROOT,), DIRECTORY)


def test_a_miss_inside_the_answer_is_a_miss(server, index):
    server.inner_status = Code.NOT_FOUND.value[0]
    assert index.resolve(REF) is None


@pytest.mark.parametrize(
    ("code", "error"), [(Code.PERMISSION_DENIED, PermissionDenied), (Code.UNKNOWN, RemoteUnavailable)]
)
def test_another_status_inside_the_answer_is_trouble(server, index, code, error):
    server.inner_status = code.value[0]
    with pytest.raises(error, match="said inside"):
        index.resolve(REF)


@pytest.mark.parametrize("code", [Code.PERMISSION_DENIED, Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED])
def test_what_is_there_under_one_urn_is_found_whatever_becomes_of_the_other(server, index, code):
    """Some servers ask the origin of a URI they do not know, and fail."""
    server.assets["Blob", f"{ARTIFACT_URN}{REF}"] = MESSAGE
    assert index.kinds
    server.answers["FetchDirectory"] = code
    assert index.resolve(REF) == Published((MESSAGE,), ARTIFACT)


def test_trouble_with_one_urn_is_no_miss_where_the_other_misses(server, index):
    assert index.kinds
    server.answers["FetchDirectory"] = Code.PERMISSION_DENIED
    with pytest.raises(PermissionDenied):
        index.resolve(REF)


def test_a_server_without_directories_misses(server, index):
    server.answers["FetchDirectory"] = Code.UNIMPLEMENTED
    assert index.resolve(REF) is None


def test_a_server_that_lost_the_service_is_trouble(server, index):
    assert index.kinds
    server.answers.update(FetchDirectory=Code.UNIMPLEMENTED, FetchBlob=Code.UNIMPLEMENTED)
    with pytest.raises(ConfigInvalid):
        index.resolve(REF)


def test_an_artifact_whose_digest_cannot_be_one_is_trouble(server, index):
    server.assets["Blob", f"{ARTIFACT_URN}{REF}"] = ABSENT._replace(size_bytes=-1)
    with pytest.raises(RemoteUnavailable, match="no digest"):
        index.resolve(REF)
