"""Which remotes a project uses: AC-15 for lists of 2019, section 22 for `servers:` of BuildStream 2."""

import pytest

from caskeeper.config import RemoteSpec, Settings, load_settings

A, B, C = RemoteSpec("http://a"), RemoteSpec("http://b"), RemoteSpec("http://c")
A_PUSH = RemoteSpec("http://a", push=True, server_cert="s")
R = RemoteSpec("http://recommended")
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


LISTED = "artifacts: [{url: 'http://a'}, {url: 'http://b'}]\n"
SERVED = "artifacts: {servers: [{url: 'http://a'}, {url: 'http://b'}]}\n"
OVERRIDING = "artifacts: {override-project-caches: true, servers: [{url: 'http://a'}, {url: 'http://b'}]}\n"
OWN_LIST = "projects: {p: {artifacts: [{url: 'http://c'}, {url: 'http://b'}]}}\n"
OWN_SERVERS = "projects: {p: {artifacts: {servers: [{url: 'http://c'}, {url: 'http://b'}]}}}\n"
OWN_NONE = "projects: {p: {artifacts: {servers: []}}}\n"
OWN_OVERRIDE = "projects: {p: {artifacts: {override-project-caches: true}}}\n"
OWN_BOTH = "projects: {p: {artifacts: {override-project-caches: true, servers: [{url: 'http://c'}]}}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # 2019: the project's own, what it recommends, the global ones; nothing replaces anything
        ("", (R,)),
        (LISTED, (R, A, B)),
        (OWN_LIST, (C, B, R)),
        (LISTED + OWN_LIST, (C, B, R, A)),
        ("artifacts: []\n" + OWN_LIST, (C, B, R)),
        (LISTED + "projects: {p: {artifacts: []}}\n", (R, A, B)),
        # BuildStream 2: the project's own or else the global ones, then what it recommends
        (SERVED, (A, B, R)),
        (SERVED + OWN_SERVERS, (C, B, R)),
        (SERVED + OWN_NONE, (A, B, R)),
        (OWN_SERVERS, (C, B, R)),
        (OWN_NONE, (R,)),
        (OVERRIDING, (A, B)),
        (OVERRIDING + OWN_SERVERS, (C, B)),
        (SERVED + OWN_OVERRIDE, (A, B)),
        (SERVED + OWN_BOTH, (C,)),
        ("artifacts: {override-project-caches: true}\n", ()),
        ("artifacts: {servers: []}\n", (R,)),
        # one of each: the project's own section decides whether it replaces
        (LISTED + OWN_SERVERS, (C, B, R)),
        (LISTED + OWN_NONE, (R, A, B)),
        (LISTED + OWN_OVERRIDE, (A, B)),
        (SERVED + OWN_LIST, (C, B, A, R)),
        (OVERRIDING + OWN_LIST, (C, B, A)),
    ],
)
def test_the_form_of_the_configuration_decides_about_precedence(tmp_path, text, expected):
    (tmp_path / "c.yaml").write_text(text)
    found = load_settings(f"{tmp_path}/c.yaml", {"HOME": str(tmp_path)})
    assert found.remotes_for("p", recommended=(R,)) == expected
    assert found.remotes_for("p") == tuple(spec for spec in expected if spec != R)


def test_one_projects_override_is_no_other_projects_matter(tmp_path):
    (tmp_path / "c.yaml").write_text(SERVED + OWN_BOTH)
    found = load_settings(f"{tmp_path}/c.yaml", {"HOME": str(tmp_path)})
    assert found.remotes_for("q", recommended=(R,)) == (A, B, R)


@pytest.mark.parametrize(
    ("text", "modern"), [(LISTED, False), (SERVED, True), (OWN_SERVERS, True), (OWN_LIST, False)]
)
def test_servers_are_a_key_of_buildstream_2_and_bring_its_rule_for_small_quotas(tmp_path, text, modern):
    (tmp_path / "c.yaml").write_text(text)
    assert load_settings(f"{tmp_path}/c.yaml", {"HOME": str(tmp_path)}).cache.modern is modern


def test_the_variables_of_the_environment_take_both_forms():
    environ = {
        "HOME": "/nowhere",
        "CASKEEPER_ARTIFACTS": "{servers: [{url: 'http://a'}, {url: 'http://b'}]}",
        "CASKEEPER_PROJECTS": "{p: {artifacts: {servers: [{url: 'http://c'}]}}}",
    }
    found = load_settings(None, environ)
    assert (found.remotes_for("p"), found.remotes_for("q")) == ((C,), (A, B))
    assert found.remotes_for("p")[0].where == "environment variable CASKEEPER_PROJECTS [line 1 column 27]"
