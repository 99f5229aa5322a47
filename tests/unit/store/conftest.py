import pytest

from worker.store.companion.session import Session


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
