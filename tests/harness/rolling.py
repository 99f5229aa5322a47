"""Operations for the server's, without a volume or Redis: they say what became of them."""

from contextlib import contextmanager
from types import SimpleNamespace

from caskeeper.errors import CoordinatorUnavailable, LeaseLost

GRACE_S = 600.0


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


class Operation:
    def __init__(self, desk, context):
        self.desk = desk
        self.context = context
        self.born_s = desk.clock()
        self.lost = False
        self.parts = 0
        self.used_on = False
        self.settles_with = None
        self.staging = SimpleNamespace(announce=None, batches=None)

    def check(self):
        if self.lost:
            raise LeaseLost("fenced")
        self.context.check()

    def in_use(self):
        self.used_on = True

    def settle_part(self):
        if self.settles_with is not None:
            raise self.settles_with
        self.parts += 1


class Desk:
    """Opens operations and knows which are open."""

    def __init__(self, clock):
        self.clock = clock
        self.open = []
        self.ended = []
        self.down = False
        self.at_end = lambda: None

    @contextmanager
    def writer(self, verb, subject, context, *, room_wait_s, of_many):
        if self.down:
            raise CoordinatorUnavailable("down")
        operation = Operation(self, context)
        self.open.append(operation)
        yield operation
        self.at_end()
        self.open.remove(operation)
        self.ended.append(operation)

    @property
    def oldest_s(self):
        return max(self.clock() - operation.born_s for operation in self.open)
