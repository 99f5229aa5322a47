from types import SimpleNamespace

from tasks.bundles import BundledEvents


class Timer:
    """Knows what is to be called, and calls it when it is told to."""

    def __init__(self):
        self.due = []

    def call_after(self, _seconds, fun):
        self.due.append(fun)
        return SimpleNamespace(cancel=lambda: self.due.remove(fun))

    def pass_by(self):
        due, self.due = self.due, []
        for fun in due:
            fun()


class Dispatcher:
    """The library's: what is sent waits for a flush."""

    def __init__(self):
        self.waiting = []
        self.left = []
        self.on_send_buffered = self.flush

    def send(self, *events):
        for event in events:
            self.waiting.append(event)
            self.on_send_buffered()

    def flush(self):
        self.left.append(self.waiting)
        self.waiting = []


def consumer(dispatcher):
    return SimpleNamespace(timer=Timer(), event_dispatcher=dispatcher, steps=[])


def begun():
    parent = consumer(Dispatcher())
    step = BundledEvents(parent)
    step.start(parent)
    return step, parent


def test_events_of_a_moment_leave_together():
    _step, parent = begun()
    parent.event_dispatcher.send("received", "started", "succeeded")
    assert parent.event_dispatcher.left == []
    parent.timer.pass_by()
    assert parent.event_dispatcher.left == [["received", "started", "succeeded"]]
    parent.event_dispatcher.send("received")
    parent.timer.pass_by()
    assert parent.event_dispatcher.left[1:] == [["received"]]
    parent.timer.pass_by()
    assert len(parent.event_dispatcher.left) == 2, "nobody wakes an idle worker"


def test_what_is_left_at_the_end_is_told():
    step, parent = begun()
    parent.event_dispatcher.send("succeeded")
    step.stop(parent)
    assert parent.event_dispatcher.left == [["succeeded"]]
    assert parent.timer.due == []
    step.stop(parent)
    assert len(parent.event_dispatcher.left) == 1


def test_after_a_reconnect_the_new_dispatcher_has_its_bundles():
    step, parent = begun()
    parent.event_dispatcher.send("received")
    step.stop(parent)
    parent.event_dispatcher = Dispatcher()
    step.start(parent)
    parent.event_dispatcher.send("started", "succeeded")
    parent.timer.pass_by()
    assert parent.event_dispatcher.left == [["started", "succeeded"]]


def test_without_an_event_loop_every_event_leaves_at_once():
    dispatcher = Dispatcher()
    dispatcher.on_send_buffered = None
    parent = consumer(dispatcher)
    BundledEvents(parent).start(parent)
    assert dispatcher.on_send_buffered is None
