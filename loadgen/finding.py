"""The two ways a command ends badly without being broken."""

from __future__ import annotations


class Finding(Exception):
    """Exit 1: it ran and what it found is not good. The text says where, what, and what to do next."""


class Misuse(Exception):
    """Exit 2: it was asked for something that cannot be. The text says what would do."""
