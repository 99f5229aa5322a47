"""A remote as `--remote` and the tasks' argument `remotes` write it."""

import os

import pytest

from caskeeper.config import RemoteSpec, Settings, parse_remote_argument
from caskeeper.config.remote_arguments import absolute_remote_argument
from caskeeper.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a:1234", RemoteSpec("http://a:1234", push=True)),
        ("https://a/x?y=z", RemoteSpec("https://a/x?y=z", push=True)),
        ("  http://a ", RemoteSpec("http://a", push=True)),
        ("url=http://a", RemoteSpec("http://a", push=True)),
        ("url=http://a?x=y", RemoteSpec("http://a?x=y", push=True)),
        ("url=http://a,push=False", RemoteSpec("http://a")),
        (" push = true , url = http://a , type=all", RemoteSpec("http://a", push=True)),
        (
            "url=https://a,instance-name=main,server-cert=s,client-key=k,client-cert=c",
            RemoteSpec("https://a", True, "s", "k", "c", "main"),
        ),
        ("url=http://a,server-cert=", RemoteSpec("http://a", push=True)),
        ("url=https://a,access-token=t", RemoteSpec("https://a", push=True, access_token="t")),
        ("url=http://a,type=index", RemoteSpec("http://a", push=True, type="index")),
        ("url=http://a,type=storage,push=false", RemoteSpec("http://a", type="storage")),
        ("url=http://a,index=remote-asset", RemoteSpec("http://a", push=True, index="remote-asset")),
        ("url=http://a,type=storage,index=auto", RemoteSpec("http://a", push=True, type="storage")),
    ],
)
def test_a_remote_argument_is_a_url_or_pairs(text, expected):
    assert parse_remote_argument(text) == expected


def test_a_command_that_only_pulls_may_change_the_default_of_push():
    assert parse_remote_argument("http://a", push=False) == RemoteSpec("http://a")
    assert parse_remote_argument("url=http://a,push=true", push=False) == RemoteSpec("http://a", push=True)
    assert Settings(cachedir="/c").remotes_for("p", only=("http://a",), push=False) == (
        RemoteSpec("http://a"),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the remote is empty"),
        ("   ", "the remote is empty"),
        ("http://a,push=true", "a URL is followed by options.*write url=URL"),
        ("url=http://a,", "'' is not key=value"),
        ("url=http://a,push", "'push' is not key=value"),
        ("url=http://a,uri=x", "unknown key `uri`.*did you mean `url`"),
        ("url=http://a,access-tokn=t", "unknown key `access-tokn`.*did you mean `access-token`"),
        ("url=http://a,override-project-caches=true", "unknown key `override-project-caches`"),
        ("url=http://a,url=http://b", "the key `url` stands twice"),
        ("push=true", "the key `url` is missing"),
        ("url=,push=true", "the key `url` is missing or empty"),
        ("url=http://a,type=source", "`type` cannot be 'source'.*index, storage, all"),
        ("url=http://a,type=", "`type` cannot be ''"),
        ("url=http://a,index=refs", "`index` cannot be 'refs'.*remote-asset"),
        ("url=http://a,type=storage,index=remote-asset", "type=storage has no index"),
        ("url=http://a,push=yes", "`push` cannot be 'yes'"),
        ("url=http://a,push=", "`push` cannot be ''"),
        ("url=http://a,client-key=k", "`client-key` is given without `client-cert`"),
        ("url=http://a,client-cert=c", "`client-cert` is given without `client-key`"),
        ("http://me:pa55@host", "holds a user name"),
        ("url=http://me:pa55@host,push=true", "holds a user name"),
        ("http://me:pa55@host,push=true", "followed by options"),
    ],
)
def test_a_wrong_remote_argument_is_an_invalid_request_that_names_the_problem(text, says):
    with pytest.raises(InvalidRequest, match=says) as caught:
        parse_remote_argument(text, where="--remote")
    assert caught.value.where.startswith("--remote")
    assert caught.value.way_out
    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize("key", ["server-cert", "access-token"])
@pytest.mark.parametrize("path", ["/etc/passwd", "{root}/../outside", "{root}/link", "relative", "~/x"])
def test_a_request_cannot_make_a_worker_read_files_outside_of_its_roots(tmp_path, key, path):
    """Or else whoever may queue a job could have any file of the worker's sent to a server of his."""
    root = tmp_path / "root"
    root.mkdir()
    os.symlink("/etc/passwd", root / "link")
    settings = Settings(cachedir="/c", roots=(str(root),))
    with pytest.raises(InvalidRequest, match=f"remotes: {key}"):
        settings.remotes_for("p", only=(f"url=https://evil,{key}={path.format(root=root)}",))
    inside = f"url=https://host,{key}={root}/file"
    assert settings.remotes_for("p", only=(inside,)) == (parse_remote_argument(inside),)


def test_a_client_writes_file_paths_out_for_its_workers(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    written = absolute_remote_argument(
        " url=https://a, server-cert=ca.pem,client-key=~/k ,client-cert=/abs/c,push=true", folder="/here"
    )
    assert written == (
        "url=https://a,server-cert=/here/ca.pem,client-key=/home/me/k,client-cert=/abs/c,push=true"
    )
    assert absolute_remote_argument(" https://a?x=y ", folder="/here") == "https://a?x=y"
    with pytest.raises(InvalidRequest, match="comma"):
        absolute_remote_argument("url=https://a,access-token=t", folder="/a,b")
    with pytest.raises(InvalidRequest, match="unknown key"):
        absolute_remote_argument("url=https://a,certificate=t", folder="/here")
