from caskeeper.contract import RemoteHealth
from tasks.cli.remotes import _table


def test_without_remotes_it_says_so():
    assert _table(()) == "no remote is configured"


def test_columns_are_as_wide_as_what_stands_in_them():
    found = (
        RemoteHealth(
            url="http://a", usable=True, fetch=True, push=False, protocol="reference-storage", latency_ms=12.3
        ),
        RemoteHealth(url="http://much-longer", usable=False, fetch=False, push=False, projects=("p", "*")),
    )
    assert _table(found).splitlines() == [
        "URL                 USABLE  FETCH  PUSH  PROTOCOL           LATENCY  PROJECTS",
        "http://a            yes     yes    no    reference-storage  0.012 s",
        "http://much-longer  no      no     no    -                  -        p *",
    ]
