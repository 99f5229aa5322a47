"""The lines of verify."""

from caskeeper.maintenance import VerifyResult
from tasks.cli.verify import _summary


def test_a_sample_that_met_no_object_says_so():
    found = VerifyResult(repair=False, sampled_percent=1, refs=2, objects=9, hashed_objects=0)
    assert "no object was looked into" in _summary(found)
    assert "nothing found" in _summary(found)


def test_an_empty_cache_has_nothing_to_look_into():
    found = VerifyResult(repair=False, sampled_percent=100)
    assert "0 objects, 0 hashed" in _summary(found)
