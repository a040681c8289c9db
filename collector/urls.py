"""Computes the normal form of a URL's path and of a host. Equal addresses have the same normal form.

Reports show the normal form, which follows RFC 3986 section 6.2.2. A character stays readable if it cannot be mistaken
for another character. Two addresses have the same normal form if and only if the RFC treats the two addresses as equal.
The normal form therefore identifies an address. Normalising is idempotent. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from hitmesh.model.hosts import host_in_ascii

# If this expression matches nothing in a path, the path is already in normal form. The expression has the same meaning
# in RE2 and in Python.
PATH_TO_NORMALISE: Final = r"[^!$&'()*+,\-./0-9:;=@A-Z\[\]_a-z~]|(?:^|/)\.\.?(?:/|$)"

# Maximum number of characters that are read from a path. A byte in the normal form takes at most three characters in
# the path.
_MAX_READ_CHARS: Final = 3 * 2_000 + 12
_ODD: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+|%|[^!$&'()*+,\-./0-9:;=@A-Z\[\]_a-z~%]+")
_UNRESERVED: Final = frozenset("-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_DOT_SEGMENT: Final = re.compile(r"(?:^|/)\.\.?(?:/|$)")
# Matches spaces that are not between two visible characters, and must therefore be encoded.
_UNSEEN_BLANK: Final = re.compile(r"(?<![^/ ]) | (?![^/ ])")
_MAX_HOST_CHARS: Final = 100  # a longer non-ASCII host is not encoded, because encoding is slow
_REMEMBERED: Final = 4_096
_MARKED: Final = "xn--"
_LATIN: Final = "LATIN"
# Scripts that may occur together in one label of a host.
_WRITTEN_TOGETHER: Final = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "BOPOMOFO", "HANGUL"})
# Non-Latin letters that look like Latin letters. If a label of a host consists only of look-alike letters, the label
# stays in ASCII.
_LOOK_LATIN: Final = frozenset("аеосрхуіјѕԁһԛԝӏεορυνχικατ")  # look-alikes on purpose


def normal_path(path: str) -> str:
    """Return the normal form of a path that begins with "/".

    Percent-encodings get upper-case digits. Encoded unreserved characters and encoded visible non-ASCII characters are
    decoded. All other encodings stay, so `/a%2Fb` does not become `/a/b`. Characters that a URL must not contain are
    encoded. A "%" that does not begin an encoding is encoded too. Dot segments are removed.
    """
    text = _ODD.sub(_readable, path[:_MAX_READ_CHARS])
    if _DOT_SEGMENT.search(text):
        text = _without_dot_segments(text)
    return _UNSEEN_BLANK.sub("%20", text) if " " in text else text


@lru_cache(_REMEMBERED)
def normal_host(host: str) -> str:
    """Return the normal form of a host. A label stays in ASCII if the decoded label could mislead a person.

    A label of a host misleads if it mixes scripts, or if all its letters only look like Latin letters. Text that is not
    a host is returned in lower case.
    """
    ascii_form = ascii_host(host)
    if _MARKED not in ascii_form:
        return ascii_form
    return ".".join(_readable_label(label) for label in ascii_form.split("."))


def ascii_host(host: str) -> str:
    """Return a host in lower case without a final dot.

    The host is converted to ASCII by IDNA (UTS 46, non-transitional).
    """
    if "%" in host and not host.startswith("["):
        host = unquote(host)
    lower = host.lower()
    if lower.endswith(".") and not lower.endswith(".."):
        lower = lower[:-1]
    if len(lower) > _MAX_HOST_CHARS:
        return lower
    return host_in_ascii(lower)


def _readable_label(label: str) -> str:
    if not label.startswith(_MARKED):
        return label
    try:
        readable = label.removeprefix(_MARKED).encode().decode("punycode")
    except UnicodeError:
        return label
    return readable if _is_unmistakable(readable) and ascii_host(readable) == label else label


def _is_unmistakable(label: str) -> bool:
    if not label.isprintable():
        return False
    letters = [char for char in label if char.isalpha()]
    scripts = {unicodedata.name(char, "?").partition(" ")[0] for char in letters}
    if len(scripts) > 1 and not scripts - {_LATIN} <= _WRITTEN_TOGETHER:
        return False
    return _LATIN in scripts or not letters or not set(letters) <= _LOOK_LATIN


def _readable(found: re.Match[str]) -> str:
    """Return the normal form of a run of percent-encodings, or of characters that a URL must not contain."""
    run = found[0]
    if run[0] == "%" and len(run) > 1:
        run = bytes.fromhex(run.replace("%", "")).decode("utf-8", "surrogateescape")
        return "".join(_decoded(char) for char in run)
    return "".join(char if _is_readable(char) else _encoded(char) for char in run)


def _decoded(char: str) -> str:
    return char if char in _UNRESERVED or _is_readable(char) else _encoded(char)


def _is_readable(char: str) -> bool:
    return char == " " or (char > "\x7f" and char.isprintable())


def _encoded(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))


def _without_dot_segments(path: str) -> str:
    """Return a path without `.` and `..` segments (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    ends_in_directory = segments[-1] in {".", ".."}
    return "/" + "/".join((*kept, "") if ends_in_directory else kept)
