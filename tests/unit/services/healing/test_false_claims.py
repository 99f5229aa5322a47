"""A record that can be read and says what is not so: every command that is named for it works."""

import os

import pytest
from harness.healing import FILE, REF, is_sound
from harness.services import picture

from caskeeper.artifact import Ref
from caskeeper.contract import CleanupRequest, ExtractRequest, PullRequest, RemoveRequest, VerifyRequest
from caskeeper.digest import Digest
from caskeeper.errors import VolumeFailed
from worker.protocols import quiet
from worker.store.refs import encode

REMOVE, REFRESH = f"`caskeeper remove {REF}`", f"`caskeeper pull --refresh {REF}`"


def claim_falsely(services, root):
    ref = Ref.parse(REF)
    path, record = services.layout.ref(ref), services.maintenance.refs.read(ref)
    os.chmod(path, 0o644)
    with open(path, "wb") as file:
        file.write(encode(ref, record._replace(roots=(root,))))
    os.chmod(path, 0o444)
    services.volume.settle_times(path)


def another_size(services):
    return services.maintenance.refs.read(Ref.parse(REF)).root._replace(size_bytes=5)


CLAIMS = {
    "root of another size": another_size,
    "root that is no Directory": lambda _services: FILE,
    "root too large for one": lambda _services: Digest("ab" * 32, 2**50),
}
UNKNOWN = sorted(CLAIMS.keys() - {"root of another size"})  # its closure list says what belongs to it


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_verify_names_for_a_false_claim_works(services, claim):
    claim_falsely(services, CLAIMS[claim](services))
    findings = services.run(VerifyRequest(), quiet()).findings
    (found,) = [each for each in findings if each.kind == "unreadable-ref"]
    assert REMOVE in found.way_out
    assert services.run(RemoveRequest(refs=(REF,)), quiet()).removed == (REF,)
    services.run(CleanupRequest(target_bytes=0), quiet())
    assert services.listing.list() == []
    is_sound(services)


@pytest.mark.parametrize("claim", UNKNOWN)
@pytest.mark.parametrize("command", [REMOVE, REFRESH])
def test_what_a_cleanup_names_for_a_false_claim_works(pushed, tmp_path, claim, command):
    claim_falsely(pushed, CLAIMS[claim](pushed))
    with pytest.raises(VolumeFailed) as told:
        pushed.run(CleanupRequest(target_bytes=0), quiet())
    assert command in told.value.way_out
    if command == REMOVE:
        pushed.run(RemoveRequest(refs=(REF,)), quiet())
    else:
        pushed.run(PullRequest(ref=REF, refresh=True), quiet())
        path = pushed.run(ExtractRequest(ref=REF), quiet()).path
        assert picture(path) == picture(tmp_path / "src")
    is_sound(pushed)
    pushed.run(CleanupRequest(target_bytes=0), quiet())
