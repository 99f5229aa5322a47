"""Paths in requests, as services check them."""

from caskeeper.roots import below_roots, contains

__all__ = ["below_roots", "contains"]
