"""What a verb that asked remotes ends with."""

import pytest

from caskeeper.config import Settings
from caskeeper.contract import PushOutcome
from caskeeper.errors import ConfigInvalid, RemoteUnavailable
from worker.services.outcomes import FAILED, Subject, fetch_specs, push_specs, require_one_reached


@pytest.mark.parametrize("choose", [push_specs, fetch_specs])
@pytest.mark.parametrize("source", ["", "/home/c.yaml"])
def test_without_a_remote_the_file_is_named_that_there_is_or_could_be(choose, source):
    settings = Settings(cachedir="/c", source=source, config_file="/home/c.yaml")
    with pytest.raises(ConfigInvalid, match="remote is configured") as told:
        choose(settings, "p")
    assert told.value.where == "/home/c.yaml"


def test_a_push_that_reached_nobody_names_the_way_out_once():
    reason = str(RemoteUnavailable("it does not answer", "http://a"))
    outcomes = [
        PushOutcome(url=url, outcome=FAILED, reason=reason, retry=True) for url in ("http://a", "http://b")
    ]
    with pytest.raises(RemoteUnavailable) as told:
        require_one_reached(Subject("ref", "p/e/k"), outcomes)
    assert str(told.value).count(RemoteUnavailable.default_way_out) == 1
    assert str(told.value).count("it does not answer") == 2
