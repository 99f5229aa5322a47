"""Names: elements, keys and refs (AC-4 to AC-7, interface: REF)."""

import pytest

from caskeeper.artifact import Element, Ref, normal_element, project_name
from caskeeper.errors import InvalidRequest


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("app+dev", "app_dev"),
        ("été", "_t_"),
        ("a.b-c_d", "a.b-c_d"),
        ("a++b", "a__b"),
        ("e\u0301", "e_"),
        ("日本", "__"),
        ("\U0001f600", "_"),
        ("ß\t \n", "____"),
        ("Ünïcode", "_n_code"),
        ("²½٣", "___"),
        ("app.bst", "app"),
        ("foo.tar.bst", "foo.tar"),
        ("app.bst.bst", "app.bst"),
        ("app.txt", "app.txt"),
        ("a/b.bst", "a-b"),
        ("a/b/c+d.bst", "a-b-c_d"),
        ("", ""),
    ],
)
def test_an_element_is_normalised_one_character_for_one(name, normal):
    """AC-4: per code point, nothing collapsed, letters of other scripts are no letters."""
    assert normal_element(name) == normal
    assert normal_element(normal) == normal.removesuffix(".bst")


def test_different_elements_may_share_a_prefix_and_differ_by_their_keys():
    """AC-7, D-31."""
    assert Ref.of("p", "a/b.bst", "k1") == Ref.of("p", "a-b.bst", "k1")
    assert Ref.of("p", "a+b", "k1") == Ref.of("p", "a_b", "k1") != Ref.of("p", "a_b", "k2")


@pytest.mark.parametrize(
    "text", ["p/e/k", "p/app+dev.bst/k", f"my-project_2/été.bst/{'f' * 64}", "p/e/A.b_c-d"]
)
def test_what_a_ref_prints_is_parsed_back(text):
    """AC-5: it is the path here and the key on every remote."""
    ref = Ref.parse(text)
    assert Ref.parse(str(ref)) == ref
    assert str(ref).isascii()
    assert str(ref).count("/") == 2


@pytest.mark.parametrize("key", ["k", "f" * 255, "..a", "-", "_", "...", "A.b_c-d"])
def test_a_key_is_opaque(key):
    assert Ref.of("p", "e", key).key == key


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "a b", "é", "f" * 256, "a\n", "a\0"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(InvalidRequest):
        Ref.of("p", "e", key)


@pytest.mark.parametrize("project", ["", ".", "..", "a/b", "p+q", "é", "p\n"])
def test_a_project_is_taken_as_it_is_or_refused(project):
    """AC-5: projects need no normalisation, so none is made."""
    with pytest.raises(InvalidRequest, match="project"):
        Ref.of(project, "e", "k")
    with pytest.raises(InvalidRequest, match="project"):
        project_name(project)


@pytest.mark.parametrize("element", ["", ".bst", ".", "..", "..bst", "e" * 256])
def test_an_element_of_which_no_name_is_left_is_refused(element):
    with pytest.raises(InvalidRequest, match="element"):
        Ref.of("p", element, "k")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("p/a/b.bst/k", "p/a-b.bst/k"),
        ("p/a/b/c/k", "p/a-b-c/k"),
        ("p/e", "PROJECT/ELEMENT/KEY"),
        ("p", "PROJECT/ELEMENT/KEY"),
        ("", "PROJECT/ELEMENT/KEY"),
        ("/e/k", "project"),
        ("p//k", "element"),
        ("p/e/", "key"),
    ],
)
def test_a_ref_of_another_shape_is_refused_with_the_way_out(text, says):
    with pytest.raises(InvalidRequest, match=says):
        Ref.parse(text)


def test_no_key_is_a_fault_of_the_program():
    """AC-6: a key that is not known yet stands in an Element, never in a ref."""
    with pytest.raises(TypeError):
        Ref.of("p", "e", None)
    assert Element("p", "e").refs == ()
    assert Element("p", "e", None, "w").refs == (Ref("p", "e", "w"),)


def test_an_element_has_each_known_key_once_and_the_strong_one_first():
    assert Element("p", "d/e.bst", "s", "w").refs == (Ref("p", "d-e", "s"), Ref("p", "d-e", "w"))
    assert Element("p", "e", "s", "s").keys == ("s",)
    assert Element("p", "e", "", "w").keys == ("w",)
