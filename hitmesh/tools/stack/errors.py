"""What goes wrong with local servers, for people: every text ends with a cure."""

from __future__ import annotations


class StackError(Exception):
    """A server, a jar or a program that is needed cannot be had; the text says which and what to do."""
