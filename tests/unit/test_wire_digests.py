"""Digests of messages are checked all together as they would be one by one."""

from hypothesis import example, given
from hypothesis import strategies as st

from caskeeper.digest import Digest
from caskeeper.errors import InvalidRequest
from worker.wire_digests import all_checked, all_from_wire, all_to_wire

RIGHT = st.builds(Digest, st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(0, 2**63 - 1))
WRONG = st.builds(
    Digest,
    st.text("0123456789abcdefABCDEF \n٣", min_size=62, max_size=66),
    st.integers(-(2**63), 2**63 - 1),
)


@given(st.lists(RIGHT, max_size=5))
def test_right_ones_come_out_as_they_are(digests):
    assert all_checked(all_to_wire(digests)) == all_from_wire(all_to_wire(digests)) == digests


@given(st.lists(RIGHT | WRONG, max_size=5))
@example([Digest("a" * 62 + "  ", 1)])
@example([Digest("a" * 63, 1), Digest("a" * 65, 1)])
@example([Digest("A" * 64, 1)])
@example([Digest("a" * 64, -1)])
def test_they_are_refused_together_when_one_would_be(digests):
    messages = all_to_wire(digests)
    wrong = [said for digest in digests if (said := _refusal(Digest.checked, *digest))]
    if wrong:
        assert _refusal(all_checked, messages) == wrong[0]
    else:
        assert all_checked(messages) == digests


def _refusal(check, *arguments):
    try:
        check(*arguments)
    except InvalidRequest as refused:
        return str(refused)
    return ""
