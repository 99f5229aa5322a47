"""Views: what an index names, as a tree of which the named message is one file."""

import pytest

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import InvalidRequest
from worker._protos import artifact_pb2
from worker._protos import remote_execution_pb2 as reapi
from worker.closure import WHOLE, Scope, walk
from worker.directory import Directory, FileEntry, parse, serialise
from worker.views import action_view, artifact_view, asset_view, directory_of, message_of


def _message(digest):
    return reapi.Digest(hash=digest.hash, size_bytes=digest.size_bytes)


def _tree(name):
    """A folder of one file: its digest, and the two blobs by digest."""
    data = name.encode()
    folder = serialise(Directory(files=(FileEntry(name, Digest.of(data)),)))
    return Digest.of(folder), {Digest.of(folder): folder, Digest.of(data): data}


def _artifact(**changes):
    named = {name: Digest.of(name.encode()) for name in ("public", "low", "high", "build.log")}
    fields = {
        "version": 2,
        "files": _message(_tree("files")[0]),
        "buildtree": _message(_tree("buildtree")[0]),
        "public_data": _message(named["public"]),
        "low_diversity_meta": _message(named["low"]),
        "high_diversity_meta": _message(named["high"]),
        "logs": [artifact_pb2.Artifact.LogFile(name="build.log", digest=_message(named["build.log"]))],
    }
    return artifact_pb2.Artifact(**{**fields, **changes}).SerializeToString()


def _paths(view, root=None, above=""):
    folder = parse(view.messages[root or view.root], root or view.root)
    found = {f"{above}{entry.name}": entry.digest for entry in folder.files}
    for entry in folder.directories:
        if entry.digest in view.messages:
            found |= _paths(view, entry.digest, f"{above}{entry.name}/")
        else:
            found[f"{above}{entry.name}/"] = entry.digest
    return found


def test_an_artifact_is_a_tree_of_all_it_references():
    data = _artifact()
    view = artifact_view(data, Digest.of(data))
    assert _paths(view) == {
        "message": Digest.of(data),
        "files/": _tree("files")[0],
        "buildtree/": _tree("buildtree")[0],
        "logs/build.log": Digest.of(b"build.log"),
        "meta/public-data.yaml": Digest.of(b"public"),
        "meta/low-diversity.yaml": Digest.of(b"low"),
        "meta/high-diversity.yaml": Digest.of(b"high"),
    }
    assert message_of(parse(view.messages[view.root], view.root)) == Digest.of(data)


def test_every_composed_message_is_what_its_digest_says():
    data = _artifact()
    for digest, composed in artifact_view(data, Digest.of(data)).messages.items():
        assert Digest.of(composed) == digest


def test_an_artifact_walks_like_any_tree_whole_and_without_its_build_tree():
    data = _artifact()
    view = artifact_view(data, Digest.of(data))
    trees = {**_tree("files")[1], **_tree("buildtree")[1], **view.messages}

    def read(digest):
        return parse(trees[digest], digest)

    whole = set(walk(view.root, WHOLE, read).digests)
    without = set(walk(view.root, Scope.of(["buildtree"]), read).digests)
    assert {Digest.of(data), *_tree("files")[1], *_tree("buildtree")[1]} <= whole
    assert whole - without == set(_tree("buildtree")[1])


def test_what_an_artifact_does_not_have_is_not_in_its_view_and_an_empty_folder_is():
    data = artifact_pb2.Artifact(version=2, files=_message(EMPTY)).SerializeToString()
    assert _paths(artifact_view(data, Digest.of(data))) == {"message": Digest.of(data), "files/": EMPTY}


def test_the_sandboxes_of_an_artifact_are_numbered():
    state = artifact_pb2.Artifact.SandboxState(
        subsandbox_digests=[_message(_tree("a")[0]), _message(_tree("b")[0])]
    )
    data = _artifact(buildsandbox=state, sources=_message(_tree("s")[0]), buildroot=_message(_tree("r")[0]))
    paths = _paths(artifact_view(data, Digest.of(data)))
    assert paths["subsandboxes/0/"] == _tree("a")[0]
    assert paths["subsandboxes/1/"] == _tree("b")[0]
    assert paths["sources/"] == _tree("s")[0]
    assert paths["buildroot/"] == _tree("r")[0]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff",
        b"",  # no version
        _artifact(files=reapi.Digest(hash="0" * 63)),
        artifact_pb2.Artifact(
            version=2, files=reapi.Digest(hash="0" * 64, size_bytes=-1)
        ).SerializeToString(),
        _artifact(logs=[artifact_pb2.Artifact.LogFile(name="../x", digest=_message(EMPTY))]),
        _artifact(logs=[artifact_pb2.Artifact.LogFile(name="", digest=_message(EMPTY))]),
        _artifact(
            logs=[
                artifact_pb2.Artifact.LogFile(name="x", digest=_message(Digest.of(b"1"))),
                artifact_pb2.Artifact.LogFile(name="x", digest=_message(Digest.of(b"2"))),
            ]
        ),
    ],
)
def test_what_is_no_artifact_is_refused_by_name(data):
    with pytest.raises(InvalidRequest) as refused:
        artifact_view(data, Digest.of(data))
    assert str(Digest.of(data)) in refused.value.where


def test_a_result_of_an_action_holds_its_files_and_the_folders_of_its_trees():
    root, blobs = _tree("out")
    tree = reapi.Tree(root=reapi.Directory.FromString(blobs[root])).SerializeToString()
    result = reapi.ActionResult(
        output_files=[reapi.OutputFile(path="a/b", digest=_message(Digest.of(b"b")))],
        output_directories=[
            reapi.OutputDirectory(
                path="d", tree_digest=_message(Digest.of(tree)), root_directory_digest=_message(root)
            )
        ],
        stdout_digest=_message(Digest.of(b"said")),
    ).SerializeToString()
    view = action_view(result, Digest.of(result), {Digest.of(tree): tree})
    assert root in view.messages  # no client need have uploaded it
    read = {**view.messages, **blobs}
    digests = set(walk(view.root, WHOLE, lambda digest: parse(read[digest], digest)).digests)
    assert {Digest.of(data) for data in (result, tree, b"b", b"said", b"out")} <= digests


def test_an_asset_is_a_blob_or_a_folder_with_what_was_pushed_as_its_own():
    root, _blobs = _tree("t")
    blob = Digest.of(b"blob")
    of_blob = asset_view(blob=blob, directories=[root])
    of_folder = asset_view(directory=root, blobs=[blob])
    assert _paths(of_blob) == {"message": blob, f"directories/{root.hash}/": root}
    assert _paths(of_folder) == {"directory/": root, f"blobs/{blob.hash}": blob}
    leading = parse(of_folder.messages[of_folder.root], of_folder.root)
    assert directory_of(leading) == root
    assert message_of(leading) is None
    assert of_blob != of_folder
    assert asset_view(blob=blob, directories=[root]) == of_blob
