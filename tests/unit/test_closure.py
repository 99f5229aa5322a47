import pytest
from harness.trees import MemoryTree

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import BlobMissing, InvalidRequest, PartialArtifact
from worker import closure as module
from worker.closure import WHOLE, Closure, Scope, descend, normalise, part_of, walk
from worker.directory import Directory, DirectoryEntry, FileEntry


@pytest.fixture
def tree():
    """files/{bin/hello,a}, buildtree/{src/{deep/y},obj}, meta/k and a file at the root."""
    built = MemoryTree()
    built.bin = built.folder(_x_hello=b"hello")
    built.files = built.folder(a=b"a", bin=built.bin)
    built.deep = built.folder(y=b"y")
    built.src = built.folder(deep=built.deep, s=b"s")
    built.obj = built.folder(o=b"o")
    built.buildtree = built.folder(src=built.src, obj=built.obj, b=b"b")
    built.meta = built.folder(k=b"k")
    built.root = built.folder(files=built.files, buildtree=built.buildtree, meta=built.meta, top=b"top")
    return built


def content(closure):
    return set(closure.directories), set(closure.files)


def blobs(*contents):
    return {Digest.of(content) for content in contents}


# -- scopes ------------------------------------------------------------------------------------------------


def test_equal_scopes_are_equal_values_with_one_id():
    one = Scope.of(["b", "a", "b"], ["b/x/y", "b/x", "c/z"])
    assert one == Scope.of(["a", "b"], ["b/x"])
    assert one.id == Scope.of(["a", "b"], ["b/x"]).id
    assert len(one.id) == 16
    assert not one.whole


def test_a_scope_without_exclusions_is_the_whole():
    assert Scope.of() == WHOLE
    assert Scope.of([], ["files"]) == WHOLE
    assert Scope.of(["buildtree"], ["buildtree"]) == WHOLE
    assert WHOLE.id == "whole"
    assert WHOLE.whole


def test_different_scopes_have_different_ids():
    scopes = [
        Scope.of(["a"]),
        Scope.of(["b"]),
        Scope.of(["a", "b"]),
        Scope.of(["a"], ["a/b"]),
        Scope.of(["a"], ["a/b", "a/c"]),
        Scope.of(["a", "c"], ["a/b"]),
        Scope.of(["ab"]),
    ]
    assert len({scope.id for scope in scopes}) == len(scopes)


def test_a_path_whose_name_begins_like_another_is_no_part_of_it():
    assert Scope.of(["a"], ["a/b", "a/b-c", "a/b/c"]).included == ("a/b", "a/b-c")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a"])
def test_an_exclusion_is_one_name_at_the_root(name):
    with pytest.raises(InvalidRequest, match="excluded"):
        Scope.of([name])


@pytest.mark.parametrize("path", ["", "/a", "a/../b", "..", "a//b"])
def test_an_included_path_stays_in_the_tree(path):
    with pytest.raises(InvalidRequest):
        Scope.of(["a"], [path])


def test_with_subdir_widens():
    partial = Scope.of(["buildtree"])
    assert partial.with_subdir("buildtree/src") == Scope.of(["buildtree"], ["buildtree/src"])
    assert partial.with_subdir("buildtree/src").with_subdir("buildtree/") == WHOLE
    assert partial.with_subdir("files/bin") == partial


def test_excluding_what_is_not_there_or_empty_excludes_nothing():
    root = Directory(
        files=(FileEntry("a file", Digest.of(b"x")),),
        directories=(DirectoryEntry("buildtree", EMPTY), DirectoryEntry("files", Digest.of(b"f"))),
    )
    assert normalise(Scope.of(["buildtree", "logs", "a file"]), root) == WHOLE
    assert normalise(Scope.of(["buildtree", "files"], ["files/x"]), root) == Scope.of(["files"], ["files/x"])


def test_the_part_of_a_sub_folder():
    scope = Scope.of(["buildtree"], ["buildtree/src"])
    assert part_of(scope, "files/bin").whole
    assert part_of(scope, "buildtree/src/deep/").whole
    half = part_of(scope, "buildtree")
    assert not half.whole
    assert half.below("src").whole
    assert half.below("obj") is None
    with pytest.raises(PartialArtifact, match="buildtree/obj"):
        part_of(scope, "buildtree/obj")


# -- closures ----------------------------------------------------------------------------------------------


def test_the_whole_closure_has_everything_once_and_children_first(tree):
    closure = walk(tree.root, WHOLE, tree.read)
    assert content(closure) == (
        {tree.root, tree.files, tree.bin, tree.buildtree, tree.src, tree.deep, tree.obj, tree.meta},
        blobs(b"hello", b"a", b"y", b"s", b"o", b"b", b"k", b"top"),
    )
    assert_children_first(closure, tree)
    assert len(tree.reads) == 8 + 8  # once by the walk, once by the check above
    assert closure.size_bytes == sum(digest.size_bytes for digest in closure.digests)


def assert_children_first(closure, tree):
    """I2, for what is in the scope."""
    places = {digest: place for place, digest in enumerate(closure.directories)}
    assert len(places) == len(closure.directories)
    assert closure.directories[-1] == closure.root
    for digest, place in places.items():
        for entry in tree.read(digest).directories:
            assert places.get(entry.digest, -1) < place
    published = list(closure.digests)
    assert len(set(published)) == len(published)
    assert published[-len(closure.directories) :] == list(closure.directories)


def test_an_excluded_sub_tree_is_out_with_all_that_only_it_names(tree):
    closure = walk(tree.root, Scope.of(["buildtree"]), tree.read)
    assert content(closure) == (
        {tree.root, tree.files, tree.bin, tree.meta},
        blobs(b"hello", b"a", b"k", b"top"),
    )
    assert_children_first(closure, tree)
    assert tree.buildtree not in tree.reads[:4]


def test_an_included_path_brings_the_messages_on_the_way_and_the_whole_below(tree):
    scope = Scope.of(["buildtree"], ["buildtree/src"])
    closure = walk(tree.root, scope, tree.read)
    assert content(closure) == (
        {tree.root, tree.files, tree.bin, tree.meta, tree.buildtree, tree.src, tree.deep},
        blobs(b"hello", b"a", b"k", b"top", b"y", b"s"),
    )
    assert_children_first(closure, tree)
    assert closure.scope == scope


def test_exclusion_is_by_name_at_the_root_only():
    tree = MemoryTree()
    inner = tree.folder(x=b"x")
    root = tree.folder(buildtree=inner, files=tree.folder(buildtree=inner))
    closure = walk(root, Scope.of(["buildtree"]), tree.read)
    assert inner in closure.directories
    assert set(closure.files) == blobs(b"x")


def test_two_included_paths_through_one_folder_in_two_places():
    tree = MemoryTree()
    leaf, other = tree.folder(l=b"l"), tree.folder(o=b"o")
    twice = tree.folder(leaf=leaf, other=other)
    above = tree.folder(twice=twice)
    root = tree.folder(a=tree.folder(above=above), b=twice)
    closure = walk(root, Scope.of(["a", "b"], ["a/above/twice/leaf", "b/other"]), tree.read)
    assert_children_first(closure, tree)
    assert {leaf, other, twice, above, root} < set(closure.directories)


def test_a_folder_that_is_partly_wanted_here_and_whole_there_is_whole():
    tree = MemoryTree()
    shared = tree.folder(in_it=tree.folder(z=b"z"), f=b"f", wanted=tree.folder(w=b"w"))
    root = tree.folder(a=shared, b=shared)
    closure = walk(root, Scope.of(["a"], ["a/wanted"]), tree.read)
    assert set(closure.files) == blobs(b"z", b"f", b"w")
    assert_children_first(closure, tree)


def test_a_file_that_is_also_a_directory_message_is_published_as_the_latter():
    tree = MemoryTree()
    inner = tree.folder(x=b"x")
    root = tree.folder(copy=tree.data[inner.hash], inner=inner)
    closure = walk(root, WHOLE, tree.read)
    assert inner in closure.files
    assert_children_first(closure, tree)


def test_the_empty_folder_has_a_closure():
    tree = MemoryTree()
    tree.data[EMPTY.hash] = b""
    assert walk(EMPTY, WHOLE, tree.read) == Closure(EMPTY, WHOLE, (EMPTY,), ())


def test_a_missing_message_is_named(tree):
    del tree.data[tree.src.hash]
    with pytest.raises(BlobMissing, match=tree.src.hash):
        walk(tree.root, WHOLE, tree.read)
    assert walk(tree.root, Scope.of(["buildtree"]), tree.read).root == tree.root


def test_an_included_path_that_does_not_exist_is_refused(tree):
    with pytest.raises(InvalidRequest, match="'nowhere'"):
        walk(tree.root, Scope.of(["buildtree"], ["buildtree/src/nowhere"]), tree.read)


def chain(tree, length):
    at = tree.folder(end=b"end")
    for _ in range(length - 1):
        at = tree.folder(d=at)
    return at


def test_a_tree_as_deep_as_allowed_is_walked_and_a_deeper_one_refused():
    tree = MemoryTree()
    assert len(walk(chain(tree, module.MAX_DEPTH), WHOLE, tree.read).directories) == module.MAX_DEPTH
    with pytest.raises(InvalidRequest, match="deeper"):
        walk(chain(tree, module.MAX_DEPTH + 1), WHOLE, tree.read)


def test_depth_counts_the_longest_way_to_a_folder():
    tree = MemoryTree()
    deep = chain(tree, module.MAX_DEPTH - 1)
    root = tree.folder(a=deep, b=tree.folder(c=tree.folder(d=deep)))
    with pytest.raises(InvalidRequest, match="deeper"):
        walk(root, WHOLE, tree.read)


@pytest.mark.parametrize("scope", [WHOLE, Scope.of(["meta"])])
def test_a_tree_with_too_many_bytes_of_messages_is_refused_before_they_are_read(tree, scope, monkeypatch):
    total = sum(digest.size_bytes for digest in walk(tree.root, scope, tree.read).directories)
    monkeypatch.setattr(module, "MAX_TREE_BYTES", total)
    assert walk(tree.root, scope, tree.read).root == tree.root
    monkeypatch.setattr(module, "MAX_TREE_BYTES", total - 1)
    read = []

    def noting(digest):
        read.append(digest.size_bytes)
        return tree.read(digest)

    with pytest.raises(InvalidRequest, match=f"more than {total - 1} bytes"):
        walk(tree.root, scope, noting)
    assert sum(read) < total


@pytest.mark.parametrize("scope", [WHOLE, Scope.of(["none"], [])])
def test_few_messages_that_unfold_without_end_are_refused(scope):
    tree = MemoryTree()
    at = tree.folder(x=b"x")
    for _ in range(40):
        at = tree.folder(a=at, b=at)
    with pytest.raises(InvalidRequest, match="unfolds"):
        walk(at, scope, tree.read)


def test_a_tree_that_contains_itself_is_refused():
    """Only a reader that does not verify can be shown one."""
    one, two = Digest.of(b"one"), Digest.of(b"two")
    lies = {
        one: Directory(directories=(DirectoryEntry("a", two),)),
        two: Directory(directories=(DirectoryEntry("b", one),)),
    }
    with pytest.raises(InvalidRequest, match="contains itself"):
        walk(one, WHOLE, lies.__getitem__)
    with pytest.raises(InvalidRequest, match=r"deeper|contains itself"):
        walk(one, Scope.of(["a"], ["a/b/a/b/a"]), lies.__getitem__)


def test_one_hash_with_two_sizes_is_refused():
    tree = MemoryTree()
    good = tree.file(b"good")
    root = Digest.of(b"root")
    lies = {root: Directory(files=(FileEntry("a", good), FileEntry("b", Digest(good.hash, 5))))}
    with pytest.raises(InvalidRequest, match="two sizes"):
        walk(root, WHOLE, lies.__getitem__)


def test_descend_answers_the_folder_or_names_the_part_that_is_none(tree):
    assert descend(tree.root, "buildtree/src/", tree.read) == tree.src
    with pytest.raises(InvalidRequest, match="'none'"):
        descend(tree.root, "files/none/deeper", tree.read)
    with pytest.raises(InvalidRequest, match="'top'"):
        descend(tree.root, "top", tree.read)
