"""What several tests of the store begin with; each says itself which ``volume`` it has."""

import pytest
from harness.volumes import Account, begin, blobs_of

from worker.store.companion.session import Session


@pytest.fixture
def account():
    return Account()


@pytest.fixture
def blobs(volume, account):
    return blobs_of(begin(volume, account=account))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def helped(monkeypatch):
    """The number of units that came back done."""
    done = []
    receive = Session.receive

    def received(session, wait_s):
        results = receive(session, wait_s)
        done.extend(results or ())
        return results

    monkeypatch.setattr(Session, "receive", received)
    return done
