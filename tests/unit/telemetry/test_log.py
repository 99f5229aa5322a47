"""Log lines."""

import io
import json
import logging

import pytest

from worker.telemetry.log import Log, configure, context


@pytest.fixture
def lines():
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()

    def start(**options):
        configure(stream=stream, **options)
        return lambda: stream.getvalue().splitlines()

    yield start
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_is_an_event_with_its_fields(lines):
    read = lines()
    Log("caskeeper.pull").info("pulled", ref="a/b/c", bytes=3, why='a "b"')
    assert read()[0].endswith(' INFO caskeeper.pull pulled ref=a/b/c bytes=3 why="a \\"b\\""')


def test_json_lines_hold_the_same(lines):
    read = lines(format="json")
    with context(job="j"):
        Log("caskeeper.pull").warning("slow", seconds=1.5)
    document = json.loads(read()[0])
    assert {**document, "time": ""} == {
        "time": "",
        "level": "warning",
        "source": "caskeeper.pull",
        "event": "slow",
        "job": "j",
        "seconds": 1.5,
    }


def test_context_ends_with_its_block_and_nests(lines):
    read = lines()
    with context(job="j"):
        with context(task="t"):
            Log("x").info("inner")
        Log("x").info("outer")
    Log("x").info("after")
    assert [line.split(" x ")[1] for line in read()] == ["inner job=j task=t", "outer job=j", "after"]


def test_the_level_decides(lines):
    read = lines(level="warning")
    Log("x").info("quiet")
    Log("x").error("loud")
    assert len(read()) == 1


def test_lines_of_libraries_keep_their_words_on_one_line(lines):
    read = lines()
    logging.getLogger("library").info("some %s\nand more", "words")
    assert read()[0].endswith("INFO library some words | and more")


def test_a_traceback_follows_its_line(lines):
    read = lines()
    try:
        int("x")
    except ValueError:
        logging.getLogger("library").exception("failed")
    assert read()[-1].startswith("ValueError: invalid literal")
