"""Whole files through the front door, in both generations' forms: every error has file, line and column.

¦ marks the place an error must name. What single sections may hold: test_remotes.py, test_remote_servers.py.
"""

import pytest

from caskeeper.config import RemoteSpec, load_settings
from caskeeper.errors import ConfigInvalid


def load(tmp_path, text):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return load_settings(str(file), {"HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        # sizes and shares
        ("cache:\n  quota: ¦-1\n", "'-1' is not a size of a cache"),
        ("cache: {quota: ¦5 G}\n", "'5 G' is not a size"),
        ("cache: {quota: ¦.5G}\n", "'.5G' is not a size"),
        ("cache: {quota: ¦10g}\n", "'10g' is not a size"),
        ("cache: {quota: ¦10GB}\n", "'10GB' is not a size"),
        ("cache: {quota: ¦Infinity}\n", "'Infinity' is not a size"),
        ("cache: {quota: ¦100.1%}\n", "'100.1%' is not a size"),
        ("cache: {quota: ¦1e9}\n", "'1e9' is not a size"),
        ("cache: {headroom: ¦-1}\n", "'-1' is not a size"),
        ("cache: {headroom: ¦infinity}\n", "'infinity' is not a size"),
        ("cache:\n  low-watermark: ¦80\n", "`low-watermark` cannot be '80'"),
        ("cache:\n  low-watermark: ¦-5%\n", "`low-watermark` cannot be '-5%'"),
        ("cache:\n  low-watermark: ¦100.5%\n", "`low-watermark` cannot be"),
        ("cache:\n  reserved-disk-space: ¦101%\n", "'101%' is not a size"),
        ("cache:\n  reserved-disk-space: ¦[5%]\n", "wrong type"),
        # durations and switches
        ("leases:\n  clock-margin: ¦-1\n", "'-1' is not a duration"),
        ("leases: {upload-grace: ¦1 week}\n", "'1 week' is not a duration"),
        ("leases: {session: ¦1h30min}\n", "is not a duration"),
        ("cache: {pull-buildtrees: ¦[]}\n", "`pull-buildtrees` has the wrong type"),
        ("cache: {pull-buildtrees: ¦TRUE}\n", "`pull-buildtrees` has the wrong type"),
        # shapes
        ("embedded: ¦[]\n", "`embedded` has the wrong type"),
        ("projects:\n¦- p\n", "`projects` has the wrong type"),
        ("redis: ¦[redis://h]\n", "`redis` has the wrong type"),
        ("roots: [¦'']\n", "a path is empty"),
        # 2019, in its places
        ("projects:\n  p:\n    artifacts: ¦text\n", "must be one mapping"),
        ("projects:\n  p:\n    artifacts:\n    - url: http://a\n    - ¦http://b\n", "must be one mapping"),
        (
            "projects:\n  p:\n    artifacts:\n      url: http://a\n      client-key: ¦k\n",
            "without `client-cert`",
        ),
        ("artifacts:\n- url: http://a\n- url: http://b\n  push: ¦on\n", "`push` has the wrong type"),
        ("artifacts:\n- url: http://a\n  server_cert: ¦s\n", "did you mean `server-cert`"),
        # BuildStream 2, in its places
        (
            "projects:\n  p:\n    artifacts:\n      override-project-caches: ¦maybe\n",
            "`override-project-caches` has the wrong type",
        ),
        (
            "projects:\n  p: {artifacts: {servers: [{url: 'http://a', type: ¦cas}]}}\n",
            "`type` cannot be",
        ),
        ("projects:\n  p: {artifacts: {servers: [{url: ¦'a:11001'}]}}\n", "http:// or https://"),
        ("artifacts:\n  servers:\n  - url: http://a\n    auth: {server-cert: ¦[x]}\n", "wrong type"),
        ("artifacts:\n  servers:\n  - url: http://a\n    auth: {access_token: ¦t}\n", "`access-token`"),
        (
            "artifacts:\n  servers:\n  - url: http://a\n    connection-config: {request-timeout: ¦1m}\n",
            "'1m'",
        ),
        ("artifacts:\n  servers:\n  - url: http://a\n    index: ¦Remote-Asset\n", "`index` cannot be"),
        # YAML itself
        ("artifacts:\n  servers:\n  - url: http://a\n    ¦url: http://b\n", "stands here a second time"),
        ("¦%YAML 9.9\n---\na: 1\n", "malformed YAML"),
        ("¦\tcachedir: /x\n", "malformed YAML"),
        ("source-caches: [\n¦", "malformed YAML"),
        ("cachedir: /x\n¦---\ncachedir: /y\n", "second document"),
        ("cachedir: ¦!!python/object:os.system x\n", "the tag"),
        ("cache: ¦*quota\n", "nothing is anchored"),
    ],
)
def test_a_mistake_has_its_place_in_the_file(tmp_path, text, says):
    before = text.partition("¦")[0]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n") - 1
    with pytest.raises(ConfigInvalid, match=says) as caught:
        load(tmp_path, text.replace("¦", ""))
    assert caught.value.where == f"{tmp_path}/c.yaml [line {line} column {column}]"
    assert caught.value.way_out


A, B = RemoteSpec("http://a"), RemoteSpec("http://b", push=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("artifacts: {url: 'http://a'}\n", (A,)),
        ("artifacts:\n- {url: 'http://b', push: True}\n- {url: 'http://a'}\n", (B, A)),
        ("artifacts: []\nprojects: {p: {artifacts: {url: 'http://a'}}}\n", (A,)),
        ("artifacts: {servers: [{url: 'http://a'}, {url: 'http://b', push: true}]}\n", (A, B)),
        ("artifacts: {servers: []}\nprojects: {p: {artifacts: {servers: [{url: 'http://a'}]}}}\n", (A,)),
        ("scheduler: {a: &a {url: 'http://a'}}\nartifacts: [*a]\n", (A,)),
        ('"artifacts": {"url": "http://a"}\n', (A,)),
        ("# only a remark\n", ()),
        ("artifacts: [{url: 'http://a', push: null, instance-name: ~}]\n", (A,)),
        ("projects: {p: {options: {x: y}}, q: {artifacts: {url: 'http://b'}}}\n", ()),
    ],
)
def test_what_is_right_gives_the_remotes_of_a_project(tmp_path, text, expected):
    assert load(tmp_path, text).remotes_for("p") == expected
