from types import SimpleNamespace

from caskeeper.contract import Progress
from tasks.cli.progress import REMINDER_S, STILL_S, Followed, Lines


def seen(*states):
    """A followed job that was seen in these states, a second apart."""
    job = Followed("pull a/b/c")
    for second, state in enumerate(states):
        job.see(state, float(second))
    return job


def test_a_transfer_tells_share_rate_and_time_left():
    job = seen(
        Progress(phase="pull", total_bytes=100 * 1024, done_bytes=0),
        Progress(phase="pull", total_bytes=100 * 1024, done_bytes=25 * 1024),
    )
    assert job.sentence(1.0) == "pull a/b/c: 25% of 100K, 25.0K/s, 3 s left"


def test_what_need_not_travel_is_told():
    job = seen(Progress(phase="push", total_bytes=1024, done_bytes=512, present_bytes=3 * 1024))
    assert job.sentence(0.0) == "pull a/b/c: 50% of 1.0K, 3.0K already there"


def test_work_of_unknown_size_tells_what_is_done():
    job = seen(Progress(phase="capture", done_objects=1200, done_bytes=2048))
    assert job.sentence(0.0) == "pull a/b/c: 1,200 files, 2.0K"


def test_without_numbers_the_phase_is_told():
    assert (
        seen(Progress(phase="trying again after: busy")).sentence(0.0)
        == "pull a/b/c: trying again after: busy"
    )


def test_a_job_that_stands_still_is_said_to():
    job = seen(Progress(phase="pull", total_bytes=100, done_bytes=10))
    assert "no progress for 11 s" in job.sentence(STILL_S + 1)


def test_what_stands_still_has_no_rate_and_no_time_left():
    job = seen(
        Progress(phase="pull", total_bytes=100 * 1024, done_bytes=0),
        Progress(phase="pull", total_bytes=100 * 1024, done_bytes=25 * 1024),
        Progress(phase="waiting", total_bytes=100 * 1024, done_bytes=25 * 1024),
    )
    assert "left" in job.sentence(3.0)
    assert job.sentence(4.5) == "pull a/b/c: 25% of 100K"


def test_a_line_is_written_once_until_it_says_something_new(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("tasks.cli.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    written, job = [], Followed("remove")
    lines = Lines(written.append)
    attempt = [Progress(phase="trying again after: busy"), Progress(phase="started")]
    for look in range(30):
        now[0] += 3.0
        job.see(attempt[look % 2], now[0])
        lines.show([job], waiting=0)
        if now[0] < REMINDER_S:
            assert written == ["remove: trying again after: busy"]
    assert len(written) == 2, "and again when somebody may think that it is dead"
    job.see(Progress(phase="removing"), now[0])
    now[0] += 3.0
    lines.show([job], waiting=0)
    assert written[2] == "remove: removing"


def test_the_rate_does_not_go_negative_when_a_job_begins_anew():
    job = seen(
        Progress(total_bytes=100, done_bytes=90),
        Progress(total_bytes=100, done_bytes=0),
    )
    assert job.rate(2.0) == 0


def test_lines_are_not_written_more_often_than_every_few_seconds():
    written = []
    lines = Lines(written.append)
    for _ in range(50):
        lines.show([seen(Progress(phase="pull"))], waiting=0)
    assert written == []
