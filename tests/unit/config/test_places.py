import pytest

from caskeeper.config.places import default_config_path, expand, user_folder
from caskeeper.errors import ConfigInvalid

ENVIRON = {"HOME": "/home/u", "DATA": "/data", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/abs", "/abs"),
        ("/abs/../x/", "/x"),
        ("rel/x", "/base/rel/x"),
        (".", "/base"),
        ("~", "/home/u"),
        ("~/x", "/home/u/x"),
        ("~root/x", "/root/x"),
        ("x~", "/base/x~"),
        ("$DATA/x", "/data/x"),
        ("${DATA}x", "/datax"),
        ("${XDG_CACHE_HOME}/buildstream", "/home/u/.cache/buildstream"),
        ("/a${EMPTY}/b", "/a/b"),
        ("/a $ b", "/a $ b"),
    ],
)
def test_paths_are_expanded_to_absolute_ones(text, path):
    assert expand(text, ENVIRON, base="/base", where="w") == path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("$MISSING/x", "the variable `MISSING` is not set"),
        ("${MISSING}", "the variable `MISSING` is not set"),
        ("", "a path is empty"),
        ("$EMPTY", "a path is empty"),
        ("a\0b", "holds a NUL"),
        ("~nobody-of-that-name/x", "no home folder"),
    ],
)
def test_a_path_that_is_none_is_refused(text, says):
    with pytest.raises(ConfigInvalid, match=says) as caught:
        expand(text, ENVIRON, base="/base", where="w")
    assert caught.value.where == "w"


def test_xdg_variables_name_the_users_folders_when_they_are_absolute():
    assert user_folder("XDG_CACHE_HOME", {"HOME": "/h", "XDG_CACHE_HOME": "/c"}) == "/c"
    assert user_folder("XDG_CACHE_HOME", {"HOME": "/h", "XDG_CACHE_HOME": "c"}) == "/h/.cache"
    assert default_config_path({"HOME": "/h"}) == "/h/.config/caskeeper.yaml"
    assert default_config_path({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}) == "/x/caskeeper.yaml"
