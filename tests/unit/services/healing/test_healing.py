"""The whole sequence that every verb begins when it meets damage (R11)."""

import pytest
from harness.damage import EVERY, truncate
from harness.healing import FILE, REF, is_sound, place, quarantined
from harness.services import picture

from caskeeper.contract import (
    ExtractRequest,
)
from caskeeper.coordination.events import HEALED
from caskeeper.digest import Digest
from worker.protocols import quiet
from worker.store.damage import damaged, missing


@pytest.mark.parametrize("harm", EVERY)
def test_what_a_remote_has_is_healed_whatever_happened_to_it(pushed, tmp_path, harm):
    EVERY[harm](place(pushed))
    trouble = missing(FILE, "") if harm == "deleted" else damaged(FILE, "")
    assert pushed.healing.heal(trouble, quiet())
    event = pushed.coordination.events.of(REF)[0]
    assert (event.what, event.why) == (HEALED, "a part of it was damaged or missing, and was fetched anew")
    path = pushed.run(ExtractRequest(ref=REF), quiet()).path
    assert picture(path) == picture(tmp_path / "src")
    is_sound(pushed)


@pytest.mark.parametrize("harm", EVERY)
def test_what_nobody_has_takes_its_refs_along(services, harm):
    EVERY[harm](place(services))
    trouble = missing(FILE, "") if harm == "deleted" else damaged(FILE, "")
    assert services.healing.heal(trouble, quiet())
    assert services.listing.list() == []
    is_sound(services)


def test_healing_twice_is_healing_once(pushed):
    truncate(place(pushed))
    for _time in range(2):
        assert pushed.healing.heal(damaged(FILE, ""), quiet())
    assert quarantined(pushed) == [FILE.hash]
    is_sound(pushed)


def test_what_is_part_of_nothing_is_not_healed(services):
    assert not services.healing.heal(missing(Digest.of(b"never here"), ""), quiet())
    assert services.remotes.asked == []
