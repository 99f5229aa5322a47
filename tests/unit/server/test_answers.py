"""What of an error a peer is told."""

from caskeeper.errors import BlobMissing, VolumeFailed
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
