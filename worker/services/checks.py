"""What `doctor` says: one check, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from caskeeper.contract import Message

OK, WARNING, TROUBLE = "ok", "warning", "trouble"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check(Message):
    """``verdict``: ok, warning (it works, and something may go wrong) or trouble (something does not work).

    ``found`` is what was seen, ``remedy`` what to do about it; "" when all is well.
    """

    area: str
    name: str
    verdict: str
    found: str
    remedy: str = ""


class Checks:
    """The checks of one area, in the order in which they were made."""

    def __init__(self, area: str) -> None:
        self.area = area
        self.made: list[Check] = []

    def ok(self, name: str, found: str) -> None:
        """All is well."""
        self.made.append(Check(area=self.area, name=name, verdict=OK, found=found))

    def warning(self, name: str, found: str, remedy: str) -> None:
        """It works, and something may go wrong."""
        self.made.append(Check(area=self.area, name=name, verdict=WARNING, found=found, remedy=remedy))

    def trouble(self, name: str, found: str, remedy: str) -> None:
        """Something does not work."""
        self.made.append(Check(area=self.area, name=name, verdict=TROUBLE, found=found, remedy=remedy))
