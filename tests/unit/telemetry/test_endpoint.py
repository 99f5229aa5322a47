"""The pages over HTTP."""

import http.client
import socket
import urllib.error
import urllib.request

import pytest

from worker.telemetry.endpoint import MOST_PEERS, Endpoint, bind


@pytest.fixture
def endpoint():
    def render():
        raise KeyError("a fault")

    made = Endpoint(bind("127.0.0.1:0"), render=render, sick=lambda: "", unready=lambda: "")
    made.start()
    yield made
    made.close()


def test_a_page_that_cannot_be_made_is_in_the_log(endpoint, caplog):
    with pytest.raises(http.client.RemoteDisconnected):
        urllib.request.urlopen(f"http://{endpoint.address}/metrics", timeout=10)
    (record,) = caplog.records
    assert record.exc_info[0] is KeyError
    with urllib.request.urlopen(f"http://{endpoint.address}/healthz", timeout=10) as answer:
        assert answer.status == 200


def test_peers_that_never_finish_their_question_keep_no_other_from_its_answer(endpoint):
    host, port = endpoint.address.rsplit(":", 1)
    slow = [socket.create_connection((host, int(port)), timeout=30) for _ in range(3 * MOST_PEERS)]
    try:
        for peer in slow:
            peer.sendall(b"GET /heal")
        with urllib.request.urlopen(f"http://{endpoint.address}/healthz", timeout=30) as answer:
            assert answer.status == 200
        assert slow[0].recv(1) == b"", "it made room"
    finally:
        for peer in slow:
            peer.close()


def test_what_is_no_question_is_refused_and_the_next_one_answered(endpoint):
    for words, method in (("/healthz", "POST"), (f"/{'a' * 100_000}", "GET"), ("/metrics/..", "GET")):
        asked = urllib.request.Request(f"http://{endpoint.address}{words}", method=method)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=30)
        refused.value.close()
        assert refused.value.code in {404, 414, 501}
    with urllib.request.urlopen(f"http://{endpoint.address}/healthz", timeout=30) as answer:
        assert answer.status == 200
