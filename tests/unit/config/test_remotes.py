from dataclasses import fields, replace

import pytest

from caskeeper.config import ConnectionConfig, RemoteSpec, specs_from_node
from caskeeper.config.document import parse_document
from caskeeper.errors import ConfigInvalid


def specs(text, basedir=None):
    return specs_from_node(parse_document(text, "f").members.get("artifacts"), basedir)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("other: 1\n", ()),
        ("artifacts: []\n", ()),
        ("artifacts: {url: 'http://a'}\n", (RemoteSpec("http://a"),)),
        ("artifacts:\n  url: http://a\n  push: true\n", (RemoteSpec("http://a", push=True),)),
        (
            "artifacts:\n- url: http://b\n- url: http://a\n  push: True\n",
            (RemoteSpec("http://b"), RemoteSpec("http://a", push=True)),
        ),
        ("artifacts: {url: '  http://a  ', push: null}\n", (RemoteSpec("http://a"),)),
        (
            "artifacts: {url: 'http://a', instance_name: main}\n",
            (RemoteSpec("http://a", instance_name="main"),),
        ),
        (
            "artifacts: {url: 'http://a', instance-name: main}\n",
            (RemoteSpec("http://a", instance_name="main"),),
        ),
        (
            "artifacts: {url: 'https://a', server-cert: s.crt}\n",
            (RemoteSpec("https://a", server_cert="s.crt", instance_name=None),),
        ),
        (
            "artifacts: {url: 'https://a', server-cert: '', client-key: ~, client-cert: ''}\n",
            (RemoteSpec("https://a"),),
        ),
        (
            "artifacts: {url: 'https://a', client-key: ~/k, client-cert: /c}\n",
            (RemoteSpec("https://a", client_key="~/k", client_cert="/c"),),
        ),
        (
            "artifacts:\n- &a {url: 'http://a'}\n- *a\n",
            (RemoteSpec("http://a"), RemoteSpec("http://a")),
        ),
    ],
)
def test_a_remote_is_a_mapping_or_a_list_of_mappings(text, expected):
    assert specs(text) == expected


def test_certificate_paths_are_joined_to_a_projects_folder_only():
    text = "artifacts: {url: 'https://a', server-cert: s, client-key: k, client-cert: /abs/c}\n"
    assert specs(text, "/project") == (
        RemoteSpec("https://a", server_cert="/project/s", client_key="/project/k", client_cert="/abs/c"),
    )
    assert specs(text)[0].server_cert == "s"


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        # AC-9: the shape
        ("artifacts: http://a\n", 1, 11, "must be one mapping with a `url`, or a list of such mappings"),
        ("artifacts: null\n", 1, 11, "must be one mapping"),
        ("artifacts: 3\n", 1, 11, "must be one mapping"),
        ("artifacts:\n- http://a\n", 2, 2, "must be one mapping"),
        ("artifacts:\n- url: http://a\n- [x]\n", 3, 2, "must be one mapping"),
        ("artifacts:\n- url: http://a\n-\n", 3, 1, "must be one mapping"),
        # AC-10.1: unknown keys, the first one, at its value
        ("artifacts:\n  uri: http://a\n  pull: x\n", 2, 7, "unknown key `uri`.*did you mean `url`"),
        ("artifacts: {url: 'http://a', psuh: true}\n", 1, 35, "unknown key `psuh`.*did you mean `push`"),
        ("artifacts:\n- url: http://a\n  servers: []\n", 3, 11, "unknown key `servers`"),
        ("artifacts:\n- url: http://a\n  auht: {}\n", 3, 8, "unknown key `auht`.*did you mean `auth`"),
        ("artifacts:\n- url: http://a\n  access-token: t\n", 3, 16, "unknown key `access-token`"),
        # AC-10.2: no url, at the mapping
        ("artifacts:\n  push: true\n", 2, 2, "misses the key `url`"),
        ("artifacts: {push: true}\n", 1, 11, "misses the key `url`"),
        ("artifacts: {}\n", 1, 11, "misses the key `url`"),
        ("artifacts:\n- url: http://a\n- push: maybe\n", 3, 2, "misses the key `url`"),
        # AC-10.3, AC-11: push
        ("artifacts:\n  url: ''\n  push: yes\n", 3, 8, "`push` has the wrong type.*`true` or `false`"),
        ("artifacts:\n  url: http://a\n  push: 1\n", 3, 8, "`push` has the wrong type"),
        ("artifacts:\n  url: http://a\n  push: [true]\n", 3, 8, "`push` has the wrong type"),
        # AC-10.4: an empty url
        ("artifacts:\n  url: ''\n", 2, 7, "empty `url`"),
        ("artifacts:\n  url: '   '\n", 2, 7, "empty `url`"),
        ("artifacts:\n  url: null\n", 2, 7, "empty `url`"),
        ("artifacts:\n  url: https://me:pass@host\n", 2, 7, "`url` holds a user name"),
        ("artifacts:\n  url: me:pass@host\n", 2, 7, "`url` holds a user name"),
        ("artifacts:\n  url: [a]\n", 2, 7, "`url` has the wrong type.*give text instead of a list"),
        # a scheme that nobody here speaks, and none
        ("artifacts:\n  url: ftp://x\n", 2, 7, "`url` cannot be 'ftp://x'.*http:// or https://"),
        ("artifacts:\n- url: http://a\n- url: grpc://x\n", 3, 7, "`url` cannot be 'grpc://x'"),
        ("artifacts: {url: 'cache:11001', push: true}\n", 1, 17, "`url` cannot be 'cache:11001'"),
        # AC-10.5 and 6: half a pair
        ("artifacts:\n  url: u\n  client-key: k\n", 3, 14, "`client-key` is given without `client-cert`"),
        ("artifacts:\n  url: u\n  client-cert: c\n", 3, 15, "`client-cert` is given without `client-key`"),
        (
            "artifacts:\n  url: u\n  client-key: k\n  client-cert: ''\n",
            3,
            14,
            "`client-key` is given without `client-cert`",
        ),
        # texts
        ("artifacts:\n  url: u\n  server-cert: {a: b}\n", 3, 15, "`server-cert` has the wrong type"),
        ("artifacts:\n  url: u\n  instance_name: [a]\n", 3, 17, "`instance_name` has the wrong type"),
        ("artifacts: {url: u, instance-name: a, instance_name: b}\n", 1, 53, "are one key"),
    ],
)
def test_a_wrong_remote_is_refused_at_the_place_of_the_value(text, line, column, says):
    with pytest.raises(ConfigInvalid, match=says) as caught:
        specs(text)
    assert caught.value.where == f"f [line {line} column {column}]"


OTHERS = {field.name: "x" for field in fields(RemoteSpec) if field.name != "where"} | {
    "push": True,
    "type": "index",
    "index": "remote-asset",
    "access_token_reload_minutes": 5,
    "connection": ConnectionConfig(retry_limit=0),
}


@pytest.mark.parametrize("field", OTHERS)
def test_specs_that_differ_in_any_field_are_two(field):
    one = RemoteSpec("http://a")
    other = replace(one, **{field: OTHERS[field]})
    assert len({one, other, RemoteSpec("http://a")}) == 2


def test_a_spec_is_the_same_wherever_it_is_written():
    one, other = specs("artifacts:\n- url: http://a\n- url: http://a\n")
    assert one == other
    assert (one.where, other.where) == ("f [line 2 column 2]", "f [line 3 column 2]")
