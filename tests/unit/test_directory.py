import pytest
from harness.trees import ROOT, VECTORS

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import InvalidRequest
from worker._protos import remote_execution_pb2 as pb
from worker.directory import Directory, DirectoryEntry, FileEntry, SymlinkEntry, parse, serialise

X = Digest.of(b"x")


def message(*, files=(), directories=(), symlinks=()):
    built = pb.Directory()
    for name in files:
        built.files.add(name=name, digest=pb.Digest(hash=X.hash, size_bytes=1))
    for name in directories:
        built.directories.add(name=name, digest=pb.Digest(hash=X.hash, size_bytes=1))
    for name, target in symlinks:
        built.symlinks.add(name=name, target=target)
    return built.SerializeToString()


def read(data):
    return parse(data, Digest.of(data))


def test_the_bytes_of_the_spec_s_folder_of_one_executable():
    hello = VECTORS["files/bin/hello"]
    data = serialise(Directory(files=(FileEntry("hello", hello, executable=True),)))
    expected = bytes.fromhex("0a4f0a0568656c6c6f12440a40") + hello.hash.encode() + bytes.fromhex("10152001")
    assert data == expected
    assert Digest.of(data) == VECTORS["files/bin"]


def test_the_digests_of_the_spec_s_folders():
    files = Directory(
        files=(
            FileEntry("été", VECTORS["files/été"]),
            FileEntry("Z", Digest.of(b"z")),
            FileEntry("README", Digest.of(b"readme\n")),
        ),
        directories=(DirectoryEntry("bin", VECTORS["files/bin"]),),
        symlinks=(SymlinkEntry("run", "bin/hello"),),
    )
    root = Directory(
        directories=(
            *(DirectoryEntry(name, VECTORS[name]) for name in ("meta", "logs", "files")),
            DirectoryEntry("buildtree", EMPTY),
        )
    )
    assert Digest.of(serialise(files)) == VECTORS["files"]
    assert Digest.of(serialise(root)) == ROOT
    assert Digest.of(serialise(Directory(files=(FileEntry("build.log", EMPTY),)))) == VECTORS["logs"]


def test_what_was_serialised_is_parsed_back_in_canonical_order():
    directory = Directory(
        (FileEntry("b", X), FileEntry("a", EMPTY, executable=True)),
        (DirectoryEntry("d", EMPTY),),
        (SymlinkEntry("z", "../nowhere"), SymlinkEntry("c", "a")),
    )
    again = read(serialise(directory))
    assert again == Directory(
        tuple(sorted(directory.files)), directory.directories, tuple(sorted(directory.symlinks))
    )
    assert serialise(again) == serialise(directory)


def test_no_bytes_are_the_empty_folder():
    assert read(b"") == Directory()
    assert Digest.of(serialise(Directory())) == EMPTY


def test_the_order_is_that_of_code_points():
    data = message(files=["README", "Z", "été"])
    assert [entry.name for entry in read(data).files] == ["README", "Z", "été"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/", "/etc", "a\0", "é" * 128, "n" * 256, "../x", "..\0"]
)
@pytest.mark.parametrize("kind", ["files", "directories", "symlinks"])
def test_a_name_that_could_leave_the_folder_is_refused(kind, name):
    entries = [(name, "t")] if kind == "symlinks" else [name]
    data = message(**{kind: entries})
    with pytest.raises(InvalidRequest, match=Digest.of(data).hash):
        read(data)


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "...", " ", "-rf", "a\\b", "a\nb"])
def test_an_unusual_name_is_taken(name):
    assert read(message(files=[name])).files[0].name == name


@pytest.mark.parametrize(
    "entries",
    [
        {"files": ["a", "a"]},
        {"files": ["a"], "directories": ["a"]},
        {"directories": ["a"], "symlinks": [("a", "/etc")]},
        {"files": ["a"], "symlinks": [("a", "t")]},
    ],
)
def test_two_entries_of_one_name_are_refused(entries):
    with pytest.raises(InvalidRequest, match="one name"):
        read(message(**entries))


@pytest.mark.parametrize(
    "entries", [{"files": ["b", "a"]}, {"directories": ["é", "z"]}, {"symlinks": [("b", "t"), ("a", "t")]}]
)
def test_entries_out_of_order_are_refused(entries):
    with pytest.raises(InvalidRequest, match="not sorted"):
        read(message(**entries))


@pytest.mark.parametrize("target", ["", "a\0b", "t" * 4096])
def test_a_target_that_no_link_can_have_is_refused(target):
    with pytest.raises(InvalidRequest, match="target"):
        read(message(symlinks=[("a", target)]))


@pytest.mark.parametrize(
    ("hash_hex", "size_bytes"),
    [("", 0), (X.hash.upper(), 1), (X.hash[:-1], 1), (X.hash + "0", 1), (X.hash, -1)],
)
@pytest.mark.parametrize("kind", ["files", "directories"])
def test_a_malformed_digest_is_refused(kind, hash_hex, size_bytes):
    built = pb.Directory()
    getattr(built, kind).add(name="good", digest=pb.Digest(hash=X.hash, size_bytes=1))
    getattr(built, kind).add(name="worse", digest=pb.Digest(hash=hash_hex, size_bytes=size_bytes))
    with pytest.raises(InvalidRequest):
        read(built.SerializeToString())


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05ab", b"\x0a\x03\x0a\x01\xff"])
def test_bytes_that_are_no_directory_are_refused(data):
    with pytest.raises(InvalidRequest, match="no Directory"):
        read(data)


def test_fields_of_newer_peers_are_tolerated():
    unknown = bytes.fromhex("2a020800")  # field 5, a message
    assert read(message(files=["a"]) + unknown).files == (FileEntry("a", X),)
