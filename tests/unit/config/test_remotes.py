import pytest

from caskeeper.config import RemoteSpec, Settings, parse_remote_argument, specs_from_node
from caskeeper.config.document import parse_document
from caskeeper.errors import ConfigInvalid, InvalidRequest


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
        ("artifacts:\n  servers:\n  - url: http://a\n", 3, 2, "unknown key `servers`"),
        ("artifacts:\n- url: http://a\n  auth: {}\n", 3, 8, "unknown key `auth`"),
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
        ("artifacts:\n  url: [a]\n", 2, 7, "`url` has the wrong type.*give text instead of a list"),
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


@pytest.mark.parametrize("field", ["push", "server_cert", "client_key", "client_cert", "instance_name"])
def test_specs_that_differ_in_any_field_are_two(field):
    one = RemoteSpec("http://a")
    other = one._replace(**{field: True if field == "push" else "x"})
    assert len({one, other, RemoteSpec("http://a")}) == 2


A, B, C = RemoteSpec("http://a"), RemoteSpec("http://b"), RemoteSpec("http://c")
A_PUSH = RemoteSpec("http://a", push=True, server_cert="s")
SETTINGS = Settings(cachedir="/c", artifacts=(A, B), projects={"p": (C, A_PUSH, B), "q": ()})


@pytest.mark.parametrize(
    ("project", "expected"), [("p", (C, A_PUSH, B, A)), ("q", (A, B)), ("unheard", (A, B)), ("", (A, B))]
)
def test_a_projects_own_remotes_come_first_and_equal_ones_once(project, expected):
    assert SETTINGS.remotes_for(project) == expected


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ((), ()),
        (("http://c",), (C,)),
        (("http://a",), (A_PUSH, A)),
        ((" http://b ", "http://c", "http://b"), (B, C)),
        (("http://new",), (RemoteSpec("http://new", push=True),)),
        (("url=http://new,push=false",), (RemoteSpec("http://new"),)),
        (("url=http://c,push=true", "http://c"), (RemoteSpec("http://c", push=True), C)),
    ],
)
def test_a_request_may_name_configured_urls_or_write_remotes_out(only, expected):
    assert SETTINGS.remotes_for("p", only=only) == expected


def test_another_projects_remote_is_not_configured_for_this_one():
    assert SETTINGS.remotes_for("q", only=("http://c",)) == (RemoteSpec("http://c", push=True),)


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
    ],
)
def test_a_remote_argument_is_a_url_or_pairs(text, expected):
    assert parse_remote_argument(text) == expected


def test_a_command_that_only_pulls_may_change_the_default_of_push():
    assert parse_remote_argument("http://a", push=False) == RemoteSpec("http://a")
    assert parse_remote_argument("url=http://a,push=true", push=False) == RemoteSpec("http://a", push=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the remote is empty"),
        ("   ", "the remote is empty"),
        ("http://a,push=true", "a URL is followed by options.*write url=URL"),
        ("url=http://a,", "'' is not key=value"),
        ("url=http://a,push", "'push' is not key=value"),
        ("url=http://a,uri=x", "unknown key `uri`.*did you mean `url`"),
        ("url=http://a,access-token=t", "unknown key `access-token`"),
        ("url=http://a,url=http://b", "the key `url` stands twice"),
        ("push=true", "the key `url` is missing"),
        ("url=,push=true", "the key `url` is missing or empty"),
        ("url=http://a,type=source", "the type 'source' is unknown"),
        ("url=http://a,push=yes", "`push` cannot be 'yes'"),
        ("url=http://a,client-key=k", "`client-key` is given without `client-cert`"),
        ("url=http://a,client-cert=c", "`client-cert` is given without `client-key`"),
    ],
)
def test_a_wrong_remote_argument_is_an_invalid_request_that_names_the_problem(text, says):
    with pytest.raises(InvalidRequest, match=says) as caught:
        parse_remote_argument(text, where="--remote")
    assert caught.value.where.startswith("--remote")
