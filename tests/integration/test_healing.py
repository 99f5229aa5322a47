"""Every verb heals what it meets (R11): with a remote all is as before, without one it is a miss.

Real volumes, a real Valkey, the real server as remote.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.damage import EVERY, flip, truncate
from harness.fleet import Oracle, fleet
from harness.services import make_tree, picture

from caskeeper.artifact import Ref
from caskeeper.config.remotes import RemoteSpec
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    DiffRequest,
    ExtractRequest,
    LinkRequest,
    PullRequest,
    PushDirectoryRequest,
    PushRequest,
    RemoveRequest,
)
from caskeeper.digest import Digest
from caskeeper.errors import ArtifactNotFound, BlobMissing
from worker.protocols import quiet
from worker.server.app import serve
from worker.wiring import build

REF, OLD = "demo/hello/k1", "demo/hello/k0"
FILE = Digest.of(b"deep code")
#: What a look at place and size finds; other bytes of the same length are found by whoever reads them.
SEEN = sorted(set(EVERY) - {"flipped"})


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("source") / "src")


@pytest.fixture
def server(tmp_path, valkey, source):
    """Another cache with a server, which has the artifact."""
    with fleet(tmp_path / "server", f"{valkey.url}?db=1") as services:
        copy = tmp_path / "server" / "src"
        os.system(f"cp -a {source} {copy}")
        services.run(CommitRequest(path=str(copy), refs=(REF, OLD)), quiet())
        running = serve(services, listen="127.0.0.1:0")
        yield f"http://{running.address}"
        running.stop(grace_s=0)


def here(tmp_path, valkey, *urls):
    return fleet(tmp_path / "here", valkey.url, artifacts=tuple(RemoteSpec(url, push=True) for url in urls))


@pytest.fixture
def services(tmp_path, valkey, server):
    """A cache that has pulled it from the server."""
    with here(tmp_path, valkey, server) as made:
        for ref in (REF, OLD):
            made.run(PullRequest(ref=ref), quiet())
        yield made


@pytest.fixture
def alone(tmp_path, valkey, source):
    """A cache that has committed it, and no remote that has it."""
    with here(tmp_path, valkey) as made:
        copy = tmp_path / "here" / "src"
        os.system(f"cp -a {source} {copy}")
        made.run(CommitRequest(path=str(copy), refs=(REF,)), quiet())
        yield made


def place(services, digest=FILE):
    return services.layout.object(digest.hash)


def folder_of(services, ref=REF):
    """The Directory of its folder `buildtree`."""
    root = services.maintenance.refs.read(Ref.parse(ref)).root
    return services.desk.objects.directory(root).directory("buildtree").digest


def is_sound(services):
    oracle = Oracle(services.layout.root)
    assert oracle.troubles() == []
    assert oracle.leavings() == []
    usage = services.coordination.usage.snapshot()
    assert usage.reserved_bytes == 0
    assert usage.used_bytes >= oracle.used_bytes()
    services.run(ComputeSizeRequest(), quiet())
    assert services.coordination.usage.snapshot().used_bytes == oracle.used_bytes()


def extract(services, **arguments):
    return picture(services.run(ExtractRequest(ref=REF, **arguments), quiet()).path)


@pytest.mark.parametrize("harm", SEEN)
def test_an_extract_brings_back_what_is_not_there_as_it_should_be(services, source, harm):
    EVERY[harm](place(services))
    assert extract(services, destination=f"{services.layout.root}/../copy") == picture(source)
    is_sound(services)


@pytest.mark.parametrize("harm", sorted(set(SEEN) - {"flipped"}))
def test_a_shared_checkout_has_no_link_to_what_is_not_as_it_should_be(services, source, harm):
    """A link is not read: bytes that are others, and as many, are `verify`'s to find."""
    EVERY[harm](place(services))
    assert extract(services) == picture(source)
    is_sound(services)


@pytest.mark.parametrize("harm", SEEN)
def test_an_extract_of_what_nobody_has_is_a_miss_and_the_next_one_too(alone, harm):
    EVERY[harm](place(alone))
    with pytest.raises(ArtifactNotFound, match="withdrawn"):
        alone.run(ExtractRequest(ref=REF, destination=f"{alone.layout.root}/../copy"), quiet())
    with pytest.raises(ArtifactNotFound, match="no such ref"):
        extract(alone)
    assert not os.path.exists(f"{alone.layout.root}/../copy")
    is_sound(alone)


@pytest.mark.parametrize("harm", sorted(EVERY))
def test_a_directory_is_healed_whatever_happened_to_it(services, source, harm):
    EVERY[harm](place(services, folder_of(services)))
    assert extract(services) == picture(source)
    is_sound(services)


@pytest.mark.parametrize("harm", sorted(EVERY))
def test_a_root_without_its_list_is_healed_too(services, source, harm):
    """Nothing here says what belongs to it: it is found step by step."""
    root = services.maintenance.refs.read(Ref.parse(REF)).root
    folder = folder_of(services)
    os.unlink(services.layout.closure(root.hash, "whole"))
    for digest in (root, folder, FILE):
        EVERY[harm](place(services, digest))
    services.run(LinkRequest(ref=REF, key="k2"), quiet())
    assert extract(services) == picture(source)
    is_sound(services)


def test_everything_of_an_artifact_may_be_damaged_at_once(services, source):
    for above, _folders, names in os.walk(services.layout.objects):
        for name in names:
            truncate(f"{above}/{name}")
    assert extract(services) == picture(source)
    is_sound(services)


@pytest.mark.parametrize("harm", SEEN)
def test_a_pull_fetches_it_again(services, source, harm):
    EVERY[harm](place(services))
    result = services.run(PullRequest(ref=REF), quiet())
    assert result.pulled or result.cached
    assert extract(services) == picture(source)
    is_sound(services)


@pytest.mark.parametrize("harm", SEEN)
def test_a_pull_of_what_nobody_has_any_more_says_so_and_leaves_no_ref(tmp_path, valkey, source, harm):
    with fleet(tmp_path / "empty", f"{valkey.url}?db=2") as other:
        running = serve(other, listen="127.0.0.1:0")
        with here(tmp_path, valkey, f"http://{running.address}") as services:
            copy = tmp_path / "here" / "src"
            os.system(f"cp -a {source} {copy}")
            services.run(CommitRequest(path=str(copy), refs=(REF,)), quiet())
            EVERY[harm](place(services))
            for _time in range(2):
                result = services.run(PullRequest(ref=REF), quiet())
                assert (result.pulled, result.cached) == (False, False)
            assert services.listing.list() == []
            is_sound(services)
        running.stop(grace_s=0)


@pytest.mark.parametrize("harm", SEEN)
def test_a_commit_writes_what_is_damaged_anew_and_other_refs_are_whole_again(alone, tmp_path, harm):
    EVERY[harm](place(alone))
    alone.run(CommitRequest(path=str(tmp_path / "here" / "src"), refs=("demo/hello/k3",)), quiet())
    assert sorted(line.ref for line in alone.listing.list()) == [REF, "demo/hello/k3"]
    is_sound(alone)


def test_a_commit_that_meets_what_it_does_not_need_after_all_withdraws_who_did(alone, tmp_path):
    """Its second run finds the file changed: nobody writes the damaged content again."""
    truncate(place(alone))
    work = tmp_path / "here" / "src"

    def change_it(progress):
        if progress.phase == "healing":
            (work / "buildtree/obj/deep/x.o").write_bytes(b"other code")

    context = quiet()._replace(progress=change_it)
    alone.run(CommitRequest(path=str(work), refs=("demo/hello/k3",)), context)
    assert [line.ref for line in alone.listing.list()] == ["demo/hello/k3"]
    is_sound(alone)


@pytest.mark.parametrize("harm", ["flipped", "truncated", "deleted"])
def test_a_push_sends_no_damaged_byte(tmp_path, services, valkey, server, harm):
    with fleet(tmp_path / "sink", f"{valkey.url}?db=2") as sink:
        running = serve(sink, listen="127.0.0.1:0")
        EVERY[harm](place(services))
        only = (f"url=http://{running.address},push=true",)
        assert services.run(PushRequest(refs=(REF,), remotes=only), quiet()).pushed
        assert Oracle(sink.layout.root).troubles() == []
        running.stop(grace_s=0)
    is_sound(services)


@pytest.mark.parametrize("harm", ["flipped", "truncated", "deleted"])
def test_a_diff_reads_no_damaged_directory(services, tmp_path, source, harm):
    other = tmp_path / "here" / "other"
    other.mkdir()
    (other / "new").write_bytes(b"new")
    services.run(CommitRequest(path=str(other), refs=("demo/new/k1",)), quiet())
    request = DiffRequest(ref_a="demo/new/k1", ref_b=REF)
    before = services.run(request, quiet())
    EVERY[harm](place(services, folder_of(services)))
    assert services.run(request, quiet()) == before
    is_sound(services)


@pytest.mark.parametrize("harm", ["flipped", "truncated", "deleted"])
def test_a_folder_is_pushed_whole_or_is_12_at_once(services, harm):
    folder = folder_of(services)
    EVERY[harm](place(services, folder))
    assert services.run(PushDirectoryRequest(project="demo", digest=str(folder)), quiet()).remotes
    with pytest.raises(BlobMissing):
        services.run(PushDirectoryRequest(project="demo", digest=str(Digest.of(b"never"))), quiet())
    is_sound(services)


@pytest.mark.parametrize("harm", ["flipped", "truncated", "deleted"])
@pytest.mark.parametrize("request_", [CleanupRequest(target_bytes=0), RemoveRequest(refs=("demo/new/k1",))])
def test_a_tree_that_cannot_be_looked_through_stops_no_cleanup(alone, tmp_path, harm, request_):
    """I9 keeps everything as long as one tree is unknown; healing ends that."""
    other = tmp_path / "here" / "other"
    other.mkdir()
    (other / "new").write_bytes(b"new")
    alone.run(CommitRequest(path=str(other), refs=("demo/new/k1",)), quiet())
    root = alone.maintenance.refs.read(Ref.parse(REF)).root
    os.unlink(alone.layout.closure(root.hash, "whole"))
    EVERY[harm](place(alone, folder_of(alone)))
    alone.run(request_, quiet())
    assert alone.listing.list() == []
    is_sound(alone)


def test_a_damaged_checkout_is_made_anew(services, source):
    """A user's program wrote through a link into the cache (R25)."""
    path = services.run(ExtractRequest(ref=REF), quiet()).path
    flip(f"{path}/buildtree/obj/deep/x.o")
    with services.maintenance.run("heal", check=lambda: None) as run:
        assert services.healing.quarantine(run, FILE)
    assert not os.path.exists(path)
    assert extract(services) == picture(source)
    is_sound(services)


def test_two_that_meet_the_same_damage_heal_it_once(tmp_path, valkey, server, source):
    """Both answer; nobody's ref is lost."""
    specs = (RemoteSpec(server, push=True),)
    with fleet(tmp_path / "here", valkey.url, count=2, artifacts=specs) as (one, two):
        one.run(PullRequest(ref=REF), quiet())
        truncate(place(one))
        copies = [f"{tmp_path}/here/copy-{number}" for number in range(2)]
        with ThreadPoolExecutor(2) as threads:
            jobs = [
                threads.submit(each.run, ExtractRequest(ref=REF, destination=copy), quiet())
                for each, copy in zip((one, two), copies, strict=True)
            ]
            for job in jobs:
                job.result()
        assert picture(copies[0]) == picture(copies[1]) == picture(source)
        assert os.listdir(one.layout.damaged) == [FILE.hash]
        is_sound(one)


def test_a_worker_that_died_in_between_leaves_what_the_next_reader_heals(tmp_path, valkey, services, source):
    """The content is gone, its ref is not: as after a crash between quarantine and restore."""
    truncate(place(services))
    with services.maintenance.run("heal", check=lambda: None) as run:
        services.healing.quarantine(run, FILE)
    assert extract(services) == picture(source)
    is_sound(services)


def test_healing_knows_nothing_of_the_process_that_found_it(services):
    """Another set of services, as another worker has it, heals the same."""
    other = build(services.settings, redis_url=services.coordination.url)
    try:
        truncate(place(services))
        other.run(LinkRequest(ref=REF, key="k2"), quiet())
    finally:
        other.close()
    is_sound(services)
