"""What a verb that asked remotes ends with."""

import pytest

from caskeeper.config import Settings
from caskeeper.contract import PushOutcome
from caskeeper.errors import (
    CaskeeperError,
    ConfigInvalid,
    DeadlineExceeded,
    NoSpace,
    PermissionDenied,
    RemoteUnavailable,
)
from worker.services.outcomes import FAILED, Offered, Subject, fetch_specs, push_specs, require_one_reached


@pytest.mark.parametrize("choose", [push_specs, fetch_specs])
@pytest.mark.parametrize("source", ["", "/home/c.yaml"])
def test_without_a_remote_the_file_is_named_that_there_is_or_could_be(choose, source):
    settings = Settings(cachedir="/c", source=source, config_file="/home/c.yaml")
    with pytest.raises(ConfigInvalid, match="remote is configured") as told:
        choose(settings, "p")
    assert told.value.where == "/home/c.yaml"


def refused(*failures):
    """What a push to as many remotes ends with, a failure at each."""
    offers = [
        Offered(PushOutcome(url=url, outcome=FAILED), failure)
        for url, failure in zip(("http://a", "http://b"), failures, strict=False)
    ]
    with pytest.raises(CaskeeperError) as told:
        require_one_reached(Subject("ref", "p/e/k"), offers)
    return told.value


@pytest.mark.parametrize("kind", [ConfigInvalid, PermissionDenied, RemoteUnavailable, NoSpace])
def test_one_remotes_failure_stays_what_it_is(kind):
    told = refused(kind("it fails", "url http://a, c.yaml [line 3 column 4]", "mend it"))
    assert type(told) is kind
    assert (told.what, told.way_out) == ("it fails", "mend it")
    assert told.where == "ref p/e/k, url http://a, c.yaml [line 3 column 4]"


def test_ref_and_url_are_named_once_where_the_failure_names_them():
    assert refused(ConfigInvalid("x", "p/e/k at http://a")).where == "p/e/k at http://a"
    assert refused(ConfigInvalid("x")).where == "ref p/e/k, remote http://a"


@pytest.mark.parametrize("kind", [ConfigInvalid, RemoteUnavailable])
def test_failures_of_one_class_keep_it_and_name_the_way_out_once(kind):
    told = refused(kind("it fails", "http://a"), kind("it fails too"))
    assert type(told) is kind
    assert str(told).count(kind.default_way_out) == 1
    assert told.what == "it fails [http://a]; it fails too [remote http://b]"


def test_a_remote_that_may_answer_later_is_20_whatever_kept_it():
    told = refused(DeadlineExceeded("it is silent", "url http://a"))
    assert type(told) is RemoteUnavailable
    assert "it is silent" in told.what


def test_ways_out_that_differ_stand_beside_their_remotes():
    told = refused(ConfigInvalid("x", way_out="mend it"), ConfigInvalid("y", way_out="drop it"))
    assert told.way_out == "http://a: mend it; http://b: drop it"


@pytest.mark.parametrize(
    ("other", "kind", "way_out"),
    [
        (DeadlineExceeded, RemoteUnavailable, RemoteUnavailable.default_way_out),
        (PermissionDenied, PermissionDenied, "`caskeeper remotes` shows what each of them takes"),
        (NoSpace, PermissionDenied, "`caskeeper remotes` shows what each of them takes"),
    ],
)
def test_failures_of_several_classes_have_one_way_out_that_fits_them_all(other, kind, way_out):
    told = refused(ConfigInvalid("x", way_out="mend it"), other("y"))
    assert (type(told), told.way_out) == (kind, way_out)
    assert "mend it" not in str(told)
    assert other.default_way_out not in told.what
    assert told.what.count("http://a") == told.what.count("http://b") == 1


def settled(kind=RemoteUnavailable):
    error = kind("it is left alone", "http://a")
    error.settled = True
    return error


def test_where_every_remote_is_left_alone_trying_again_soon_is_no_use():
    assert refused(settled()).settled
    assert refused(settled(), settled()).settled
    assert refused(settled(), PermissionDenied("x")).settled
    assert not refused(settled(), RemoteUnavailable("busy")).settled
    assert not refused(RemoteUnavailable("busy")).settled
