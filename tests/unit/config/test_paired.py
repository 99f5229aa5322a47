"""Which storages belong to which index (section 22): servers of `type: index` and `type: storage`."""

from dataclasses import replace

from caskeeper.config.remote_spec import RemoteSpec, paired

INDEX, STORAGE = RemoteSpec("http://i", type="index"), RemoteSpec("http://s", type="storage")
SECOND = RemoteSpec("http://s2", push=True, type="storage")
BOTH = RemoteSpec("http://b")


def test_servers_that_are_both_stand_for_themselves():
    other = RemoteSpec("http://c", push=True)
    assert paired((BOTH, other)) == (BOTH, other)


def test_an_index_has_every_storage_in_order_those_included_that_are_both():
    assert paired((STORAGE, INDEX, BOTH, SECOND)) == (
        replace(INDEX, storages=(STORAGE, BOTH, SECOND)),
        replace(BOTH, storages=(BOTH, STORAGE, SECOND)),
    )


def test_one_half_alone_is_nothing():
    assert paired((INDEX,)) == paired((STORAGE,)) == paired(()) == ()


def test_a_chosen_index_takes_the_storages_of_its_project_when_none_was_chosen():
    assert paired((INDEX,), (INDEX, STORAGE, SECOND)) == (replace(INDEX, storages=(STORAGE, SECOND)),)
    assert paired((INDEX, SECOND), (INDEX, STORAGE, SECOND)) == (replace(INDEX, storages=(SECOND,)),)


def test_a_chosen_storage_alone_names_nothing():
    assert paired((STORAGE,), (INDEX, STORAGE)) == ()
