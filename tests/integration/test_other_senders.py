"""A program that has nothing of ours sends tasks by name and reads their results (docs/tasks.md)."""

import pytest
from celery import Celery
from harness.commands import place_in

from caskeeper.broker import broker_url

WAIT_S = 60


@pytest.fixture
def place(tmp_path):
    with place_in(tmp_path) as made:
        made.worker()
        yield made


@pytest.fixture
def sender(place):
    address = broker_url(place.valkey.url)
    made = Celery("other", broker=address, backend=address, set_as_current=False)
    yield made
    made.close()


def test_another_program_commits_and_extracts_with_celery_alone(place, sender):
    tree = place.tree("src", {"file": b"content"})
    words = {"path": tree, "refs": ["demo/hello/aaaa"]}
    committed = sender.send_task("artifacts.commit", kwargs=words, queue="caskeeper.local").get(WAIT_S)
    assert committed["files"] == 1
    words = {"ref": "demo/hello/aaaa"}
    extracted = sender.send_task("artifacts.extract", kwargs=words, queue="caskeeper.local").get(WAIT_S)
    with open(f"{extracted['path']}/file", "rb") as file:
        assert file.read() == b"content"


def test_what_fails_is_raised_there_by_the_name_of_its_class(sender):
    job = sender.send_task("artifacts.pull", kwargs={"ref": "no ref"}, queue="caskeeper.pull")
    with pytest.raises(Exception, match="no ref") as failed:
        job.get(WAIT_S)
    assert type(failed.value).__name__ == "InvalidRequest"
