import io
import time
from types import SimpleNamespace

from rich.console import Console

from caskeeper.contract import Progress
from tasks.cli.progress import REMINDER_S, STILL_S, Bars, Followed, Lines, shortened


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


def test_many_jobs_have_one_line_together(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("tasks.cli.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    written = []
    lines = Lines(written.append, jobs=100)
    jobs = [Followed(f"pull a/b/{n}") for n in range(16)]
    for look in range(20):
        now[0] += 1.0
        jobs[0].see(Progress(phase="pull", total_bytes=100 * 1024, done_bytes=look * 1024), now[0])
        lines.show(jobs, waiting=84 - 2 * look)
    assert len(written) == 6
    assert written[-1] == "66 of 100 jobs left, 1.0K/s; pull a/b/0: 17% of 100K, 1.0K/s, 83 s left"
    for _ in range(10):
        now[0] += 3.0
        lines.show(jobs, waiting=46)
    assert len(written) < 6 + 10, "nothing new is nothing to say, but that it stands still"


def test_bars_tell_bytes_objects_what_is_there_and_how_many_have_no_bar():
    screen = io.StringIO()
    bars = Bars(Console(file=screen, force_terminal=True, width=120, color_system=None))
    jobs = [Followed(f"pull a/b/{n}") for n in range(20)]
    seen = {"total_bytes": 100 * 1024, "total_objects": 40, "done_objects": 10, "present_bytes": 2048}
    for second, done in enumerate((0, 25 * 1024)):
        jobs[0].see(Progress(phase="pull", done_bytes=done, **seen), time.monotonic() - 1 + second)
    jobs[1].see(Progress(phase="waiting for a turn at http://cache"), time.monotonic())
    bars.show(jobs, waiting=84)
    bars.close()
    shown = screen.getvalue()
    assert "25.0K of 100K, 10 of 40" in shown
    assert "/s" in shown
    assert "2.0K already there" in shown
    assert "waiting for a turn at http://cache" in shown
    assert "and 88 jobs more" in shown


def test_on_a_narrow_screen_jobs_are_told_apart_and_their_numbers_are_there():
    screen = io.StringIO()
    bars = Bars(Console(file=screen, force_terminal=True, width=60, color_system=None))
    jobs = [Followed(f"pull demo/an-element-with-a-long-name/{n:064x}") for n in range(2)]
    jobs.append(Followed(f"pull demo/another-element-of-this-length/{'a' * 64}"))
    for job in jobs:
        job.see(Progress(phase="pull", total_bytes=1024, done_bytes=512), time.monotonic())
    bars.show(jobs, waiting=0)
    bars.close()
    shown = screen.getvalue()
    assert "50%" in shown
    assert "long-name/00000000…" not in shown, "no room"
    assert "name/00000000…" in shown
    assert "gth/aaaaaaaa…" in shown


def test_what_is_short_enough_is_not_shortened():
    assert shortened("pull demo/a/k1", 16) == "pull demo/a/k1"
    assert shortened(f"pull demo/app/{'0123456789abcdef' * 4}", 30) == "pull demo/app/01234567…"
    assert shortened("remove " + "x" * 40, 16) == "remove …xxxxxxxx"
    assert shortened("x" * 40, 16).startswith("xxx")
