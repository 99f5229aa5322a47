"""What a request itself gets wrong, or what is wrong on this volume: interface section 7, exits 10 to 17."""

import json
import os
import shutil
import stat

import pytest
from harness.scene import KEPT, assert_failure, done, finish, scene_in

from caskeeper.digest import Digest


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with scene_in(tmp_path_factory.mktemp("requests")) as made:
        yield made


@pytest.fixture(autouse=True)
def _tidy(scene):
    yield
    scene.tidy()


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        (["pull", "demo/kept"], "three parts, this has 2"),
        (["commit", "{kept}", KEPT, "demo/lib/kept/1"], "demo/lib-kept/1"),
        (["push", "de mo/kept/1"], "project 'de mo'"),
        (["extract", "demo/kept/.."], "key '..'"),
        (["remove", "demo//1"], "element ''"),
        (["contains", f"demo/kept/{'k' * 256}"], "255"),
        (["link", KEPT, "../1"], "key '../1'"),
        (["hold", "demo/kept", "--", "true"], "three parts"),
        (["pull", "demo/kept/\udcff"], "REF"),
        (["pull", KEPT, "--subdir", "../bin"], "'../bin'"),
        (["pull", KEPT, "--subdir", "typo"], ["'typo'", f"ref {KEPT}"]),
        (["pull", KEPT, "--subdir", "/bin"], "relative to the artifact's root"),
        (["pull", KEPT, "--refresh", "--exclude", "bin/large"], "names of folders at the root"),
        (["extract", KEPT, "--subdir", "bin/../.."], "relative to the artifact's root"),
        (["extract", KEPT, "--subdir", "nowhere"], ["'nowhere'", f"ref {KEPT}"]),
        (["contains", KEPT, "--subdir", "bin//x"], "'bin//x'"),
        (["commit", "/etc", "demo/x/1"], ["'/etc'", "{folder}", "`roots`"]),
        (["commit", "{folder}/none", "demo/x/1"], "{folder}/none"),
        (["commit", "{kept}/hello", "demo/x/1"], ["is not a folder", "argument DIR"]),
        (["push-directory", KEPT, "--project", "demo"], ["argument DIGEST", "64 characters"]),
        (["commit", "{folder}/away", "demo/x/1"], "`roots`"),
        (["commit", "{folder}/no\udcffne", "demo/x/1"], "is not a folder"),
        (["extract", KEPT, "--to", "/etc/caskeeper"], ["'/etc/caskeeper'", "`roots`"]),
        (["extract", KEPT, "--to", "{folder}/cache/cas/x"], "a folder of the cache itself"),
        (["extract", KEPT, "--to", "{folder}/no/such/folder"], "make it first"),
        (["cleanup", "--to", "lots"], "--to"),
    ],
)
def test_a_request_that_cannot_be_what_it_claims_is_10(scene, words, holds):
    names = {"folder": scene.folder, "kept": f"{scene.folder}/kept"}
    if not os.path.islink(f"{scene.folder}/away"):
        os.symlink("/etc", f"{scene.folder}/away")
    holds = [text.format(**names) for text in ([holds] if isinstance(holds, str) else holds)]
    scene.fails(*[word.format(**names) for word in words], error="InvalidRequest", holds=holds)


def fifo(folder):
    os.mkfifo(f"{folder}/entry")


def device(folder):
    os.mknod(f"{folder}/entry", stat.S_IFCHR | 0o600, 0)  # the one device that everybody may make


def name(folder):
    open(os.fsencode(folder) + b"/entry-\xff", "wb").close()


def folder_name(folder):
    os.mkdir(os.fsencode(folder) + b"/entry-\xff")


def target(folder):
    os.symlink(b"to-\xff", os.fsencode(f"{folder}/entry"))


@pytest.mark.parametrize("make", [fifo, device, name, folder_name, target])
def test_what_no_tree_can_hold_is_10_and_named(scene, make):
    tree = scene.tree(f"odd-{make.__name__}", {f"fine/{n}": b"%d" % n for n in range(50)})
    make(f"{tree}/fine")
    scene.fails("commit", tree, "demo/odd/1", error="InvalidRequest", holds=f"{tree}/fine")


def test_a_socket_is_passed_over(scene):
    import socket

    tree = scene.tree("socket", {"file": b"1"})
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tree)  # its path is too long for a socket's address
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
    path = done(scene.start("commit", tree, "demo/socket/1")) and done(
        scene.start("extract", "demo/socket/1")
    )
    assert os.listdir(path.strip()) == ["file"]


def test_a_destination_that_is_no_utf8_is_as_good_as_any(scene):
    """Also where the output is strict about it."""
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    first, second = (f"{scene.folder}/copy-{n}-\udcff" for n in (1, 2))
    assert done(scene.start("extract", KEPT, "--to", first, **strict)).strip() == first
    asked = finish(scene.start("--json", "extract", KEPT, "--to", second, **strict))
    assert json.loads(asked.stdout)["path"] == second
    assert asked.stdout.isascii()
    assert sorted(os.listdir(first)) == sorted(os.listdir(second)) == ["bin", "hello"]
    gone = f"{scene.folder}/gone-\udcff"
    scene.fails("commit", gone, "demo/x/1", error="InvalidRequest", holds="is not a folder", **strict)
    asked = finish(scene.start("--json", "commit", first, "demo/\udcff/1", **strict))
    assert json.loads(asked.stdout)["refs"] == ["demo/_/1"]
    assert "demo/_/1" in scene.refs()


def test_what_is_not_here_is_11(scene):
    remote = ["--remote", "url=http://127.0.0.1:1,push=true"]
    for words in (["extract", "demo/none/1"], ["push", "demo/none/1", *remote], ["show", "demo/none/1"]):
        scene.fails(*words, error="ArtifactNotFound", holds="ref demo/none/1")
    scene.fails("remove", KEPT, "demo/none/1", error="ArtifactNotFound", holds="ref demo/none/1")
    assert finish(scene.start("contains", KEPT, "demo/none/1")).returncode == 11
    scene.fails("link", "demo/none/1", "2", error="ArtifactNotFound", holds="ref demo/none/1")


def objects(scene):
    """Path -> size of every stored object."""
    found = {}
    for folder, _folders, names in os.walk(scene.oracle.objects):
        found |= {f"{folder}/{each}": os.path.getsize(f"{folder}/{each}") for each in names}
    return found


@pytest.fixture
def large(scene, request):
    """A ref, and the path of the object of its file, which is as it was afterwards, or gone with its ref."""
    content = os.urandom(300_000)
    name = request.node.originalname
    ref = f"demo/hurt/{name}"
    done(scene.start("commit", scene.tree(f"{name}-{content[:4].hex()}", {"large": content}), ref))
    hash_hex = Digest.of(content).hash
    path = f"{scene.oracle.objects}/{hash_hex[:2]}/{hash_hex[2:]}"
    shutil.copy2(path, f"{scene.folder}/saved")
    yield ref, path
    if ref in scene.refs():  # it was only looked at
        if os.path.exists(path):
            os.unlink(path)
        shutil.copy2(f"{scene.folder}/saved", path)
        os.chmod(path, 0o444)
    scene.assert_sound()


def fails_when_damaged(scene, *words, error, holds):
    """The oracle sees the damage, so only what the command did is looked at."""
    refs, before = scene.refs(), objects(scene)
    assert_failure(*scene.both(*words), error=error, holds=holds)
    assert (scene.refs(), objects(scene)) == (refs, before)
    assert scene.oracle.leavings() == []


def is_a_miss(scene, *words, ref, holds):
    """No remote has it, so its ref goes (issue C, point 2): the first command says why."""
    first, second = (finish(scene.start("--json", *words)) for _time in range(2))
    assert (first.returncode, second.returncode) == (11, 11), (first, second)
    for text in holds:
        assert text in json.loads(first.stdout)["message"]
    assert "there is no such ref" in json.loads(second.stdout)["message"]
    assert ref not in scene.refs()
    scene.assert_sound()


def test_content_that_is_gone_is_12_where_a_command_only_looks(scene, large):
    ref, path = large
    os.unlink(path)
    fails_when_damaged(scene, "cat", ref, "large", error="BlobMissing", holds="--refresh")


def test_content_that_is_damaged_is_13_where_a_command_only_looks(scene, large):
    ref, path = large
    os.chmod(path, 0o644)
    os.truncate(path, 1000)
    fails_when_damaged(scene, "cat", ref, "large", error="DigestMismatch", holds=[path, "verify --repair"])


@pytest.mark.parametrize("destination", [[], ["--to", "{folder}/copy-of-gone"]])
def test_an_object_that_is_gone_is_a_miss_and_never_an_empty_file(scene, large, destination):
    ref, path = large
    os.unlink(path)
    words = [word.format(folder=scene.folder) for word in destination]
    is_a_miss(scene, "extract", ref, *words, ref=ref, holds=[f"ref {ref}", "withdrawn"])
    assert not os.path.exists(f"{scene.folder}/copy-of-gone")
    assert not os.path.exists(f"{scene.cachedir}/extract/demo/hurt")


def test_an_object_that_is_cut_short_is_a_miss_too(scene, large):
    ref, path = large
    os.chmod(path, 0o644)
    os.truncate(path, 1000)
    copy = f"{scene.folder}/copy-of-short"
    is_a_miss(scene, "extract", ref, "--to", copy, ref=ref, holds=[f"ref {ref}", "withdrawn"])
    assert not os.path.exists(copy)
    assert not os.path.exists(path)


def test_a_damaged_ref_is_trouble_and_no_miss(scene):
    """I10."""
    done(scene.start("commit", scene.tree("other", {"a": b"1"}), "demo/other/1"))
    path = f"{scene.cachedir}/cas/refs/heads/demo/other/1"
    with open(path, "wb") as file:
        file.write(b"\xff\xff\xff")
    for words in (["extract", "demo/other/1"], ["show", "demo/other/1"], ["link", "demo/other/1", "2"]):
        fails_when_damaged(scene, *words, error="VolumeFailed", holds=[path, "caskeeper verify --repair"])
    done(scene.start("remove", "demo/other/1"))
    assert "demo/other/1" not in scene.refs()
    scene.assert_sound()


def test_an_unreadable_source_is_14(scene):
    tree = scene.tree("secret", {"a": b"1", "below/b": b"2"})
    for path in (f"{tree}/a", f"{tree}/below", tree):
        mode = os.stat(path).st_mode
        os.chmod(path, 0)
        try:
            scene.fails("commit", tree, "demo/secret/1", error="PermissionDenied", holds=path)
        finally:
            os.chmod(path, mode)
    done(scene.start("commit", tree, "demo/secret/1"))


def test_a_destination_that_cannot_be_written_is_14(scene):
    os.makedirs(f"{scene.folder}/locked", mode=0o500)
    to = f"{scene.folder}/locked/copy"
    scene.fails("extract", KEPT, "--to", to, error="PermissionDenied", holds=to)


def test_nothing_is_written_over_16(scene):
    folder = scene.tree("mine", {"precious": b"data"})
    os.symlink(folder, f"{scene.folder}/to-mine")
    for to in (folder, f"{folder}/precious", f"{scene.folder}/to-mine"):
        scene.fails("extract", KEPT, "--to", to, error="DestinationExists", holds=folder)
    assert os.listdir(folder) == ["precious"]
    with open(f"{folder}/precious", "rb") as file:
        assert file.read() == b"data"


def test_a_project_without_a_remote_is_17(scene):
    scene.fails(
        "pull", "demo/none/1", error="ConfigInvalid", holds=["project 'demo'", scene.config, "artifacts"]
    )
    scene.fails("push", KEPT, error="ConfigInvalid", holds=["project 'demo'", scene.config, "push: true"])
    scene.fails("pull", "demo/none/1", "--remote", "ftp://x", error="InvalidRequest", holds="ftp://x")


@pytest.mark.parametrize(
    ("text", "place", "holds"),
    [
        ("cache:\n  qouta: 1G\n", "[line 2 column 9]", "quota"),
        ("cache: {quota: lots}\n", "[line 1 column 15]", "lots"),
        ("artifacts:\n  url: http://x\n  push: maybe\n", "[line 3 column 8]", "maybe"),
        ("leases: {operation: fast}\n", "[line 1 column 20]", "fast"),
        ("cachedir: [a\n", "[line 2", "yaml"),
        ("redis: nowhere\n", "[line 1 column 7]", "redis://"),
        ("artifacts:\n  url: ftp://x\n", "[line 2 column 7]", "http:// or https://"),
        ("- a\n- b\n", "[line 1 column 0]", "key: value"),
        ("cachedir: \xff\n", "", "UTF-8"),
    ],
)
def test_a_slip_in_the_configuration_is_17_with_its_place(scene, text, place, holds):
    path = f"{scene.folder}/slip.yaml"
    with open(path, "w", encoding="latin-1") as file:
        file.write(text)
    document = scene.fails("list", config=path, error="ConfigInvalid")
    assert document["where"].startswith(path)
    assert place in document["where"]
    assert holds.lower() in document["message"].lower()


def test_a_slip_in_the_environment_is_17_and_names_the_variable(scene):
    scene.fails(
        "list", CASKEEPER_CACHE_QUOTA="1 elephant", error="ConfigInvalid", holds="CASKEEPER_CACHE_QUOTA"
    )


def test_a_volume_that_is_not_mounted_is_17_and_stays_untouched(scene):
    os.makedirs(f"{scene.folder}/mountpoint", exist_ok=True)
    config = scene.configure("unmounted", cachedir=f"{scene.folder}/mountpoint")
    for words in (["contains", KEPT], ["list"], ["hold", KEPT, "--", "true"], ["worker"]):
        scene.fails(
            *words, config=config, error="ConfigInvalid", holds=[f"{scene.folder}/mountpoint", "mount"]
        )
    assert os.listdir(f"{scene.folder}/mountpoint") == []


def test_another_volumes_redis_is_17(scene):
    other = f"{scene.folder}/other-volume"
    own = scene.configure("own", cachedir=other, redis=f"{scene.valkey.url}?db=5")
    with_worker = scene.worker(own, concurrency=1)  # makes that volume
    with_worker.terminate()
    with_worker.wait(30)
    wrong = scene.configure("wrong", cachedir=other)
    for words in (["list"], ["worker"], ["server", "--listen", "127.0.0.1:0"]):
        scene.fails(*words, config=wrong, error="ConfigInvalid", holds="volume")
