"""Write numbers with nouns, such as `2 hits`, in messages and tables. Pure."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1.

    Example:
        >>> counted(1, "hit"), counted(2_400, "hit"), counted(0, "copy")
        ('1 hit', '2,400 hits', '0 copies')
    """
    return f"{number:,} {noun if number == 1 else plural_of(noun)}"


def plural_of(noun: str) -> str:
    """Return the plural of a noun.

    Example:
        >>> plural_of("site-day"), plural_of("copy")
        ('site-days', 'copies')
    """
    is_regular = not noun.endswith("y") or noun[-2:-1] in "aeiou"
    return f"{noun}s" if is_regular else f"{noun[:-1]}ies"
