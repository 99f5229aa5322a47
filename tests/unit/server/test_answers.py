"""What of an error a peer is told."""

import pytest

from caskeeper.errors import BlobMissing, NoSpace, PermissionDenied, VolumeFailed
from worker import status
from worker.remote.failure import CallFailed
from worker.remote.methods import PUSH_DIRECTORY
from worker.server.answers import details_of


def test_a_peer_is_not_told_where_on_our_disk_it_was_nor_what_its_owner_can_do():
    told = details_of(
        VolumeFailed("a ref is damaged", "/srv/cache/cas/refs/heads/a/b/c", "run `caskeeper remove`")
    )
    assert "a ref is damaged" in told
    assert "/srv" not in told
    assert "caskeeper remove" not in told


def test_a_peer_is_told_every_other_place_and_the_way_out():
    told = details_of(BlobMissing("0" * 64, "ref a/b/c", "upload it, then send the reference again"))
    assert "[ref a/b/c]: upload it, then send the reference again" in told


@pytest.mark.parametrize(
    ("error", "code", "way_out"),
    [
        (
            PermissionDenied("only read", "", status.PUSH_ELSEWHERE),
            status.PERMISSION_DENIED,
            "push to another",
        ),
        (BlobMissing("a blob", "", status.UPLOAD_FIRST), status.FAILED_PRECONDITION, "try again later"),
        (NoSpace("full"), status.RESOURCE_EXHAUSTED, "free space on that remote"),
    ],
)
def test_a_client_of_ours_shows_what_we_say_with_one_way_out(error, code, way_out):
    shown = CallFailed(code, details_of(error)).error(PUSH_DIRECTORY, "http://a", where="a/b/c")
    assert shown.way_out.startswith(way_out)
    assert shown.what.endswith(error.template.format(what=error.what))
