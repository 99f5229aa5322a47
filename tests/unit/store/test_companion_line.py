import os
import pickle
import socket

import pytest

from worker.store.companion.line import Line


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    pair = Line(one), Line(other)
    yield pair
    for line in pair:
        line.close()


def test_messages_come_whole_and_in_order(ends):
    one, other = ends
    said = ["a", 1, b"x" * 1000, [None, {}]]
    for message in said:
        one.put(message)
    assert [other.get(None) for _ in said] == said
    assert other.get(0.0) is None


def test_both_may_have_more_to_say_than_fits_before_either_listens(ends):
    said = b"x" * 3_000_000, b"y" * 3_000_000
    heard = [None, None]
    for line, message in zip(ends, said, strict=True):
        line.put(message)
    while None in heard:
        for number, line in enumerate(ends):
            heard[number] = heard[number] or line.get(0.0)
    assert (heard[1], heard[0]) == said


def test_a_part_of_a_message_holds_nobody_up(ends):
    one, other = ends
    one.put(b"x" * 3_000_000)  # of which the socket takes a part
    assert other.get(0.0) is None


def test_what_was_said_before_the_end_is_heard(ends):
    one, other = ends
    one.put("last")
    one.close()
    assert other.get(None) == "last"
    with pytest.raises(EOFError):
        other.get(None)
    with pytest.raises(OSError, match="pipe"):
        other.put("more")


class Odd(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


def test_what_cannot_be_made_again_here_ends_it(ends):
    one, other = ends
    one.put(Odd(1, 2))
    with pytest.raises(EOFError, match="not understood"):
        other.get(None)


def test_what_cannot_be_sent_is_not_sent_in_part(ends):
    one, other = ends
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        one.put(lambda: None)
    one.put("whole")
    assert other.get(None) == "whole"


def test_the_end_of_the_other_process_is_the_end_though_the_line_is_open():
    one, other = socket.socketpair()
    child = os.fork()
    if not child:
        os._exit(0)
    peer = os.pidfd_open(child)
    try:
        line = Line(one, peer=peer)
        with pytest.raises(EOFError, match="ended"):
            line.get(None)
    finally:
        os.waitpid(child, 0)
        os.close(peer)
        one.close()
        other.close()
