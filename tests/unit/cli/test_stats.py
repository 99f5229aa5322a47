"""Totals in words."""

from tasks.cli.stats import _lines, grouped


def test_totals_are_grouped_by_what_they_are_about():
    found = grouped(
        {
            "since_ms": 1000, "hits local": 2, "hits remote": 1, "misses": 1, "errors Busy": 3,
            "bytes pulled http://a": 2048, "blobs pulled http://a": 2, "bytes committed": 5,
            "jobs artifacts.pull done": 4, "jobs artifacts.pull failed": 1, "ms artifacts.pull": 500,
        },
        now_ms=61_000,
    )  # fmt: skip
    assert found["since_s"] == 60
    assert found["hit_percent"] == 75
    assert found["errors"] == {"Busy": 3}
    assert found["moved"]["pulled"] == {"http://a": {"bytes": 2048, "blobs": 2}}
    assert found["moved"]["committed"] == {"": {"bytes": 5, "blobs": 0}}
    assert found["jobs"] == {"artifacts.pull": {"done": 4, "failed": 1, "ms": 500}}
    text = "\n".join(_lines(found))
    assert "2 here, 1 from remotes (75 % of the pulls)" in text
    assert "artifacts.pull: 4 done, 1 failed, 0.1 s each" in text


def test_a_clock_that_was_set_back_makes_no_time_below_nothing():
    assert grouped({"since_ms": 9000}, now_ms=5000)["since_s"] == 0


def test_before_the_first_job_it_says_so():
    assert _lines(grouped({}, now_ms=5)) == ["no job has ended yet"]
