"""One address, one text: the normal form of a URL's path, and of a host.

The normal form is what reports show: RFC 3986 section 6.2.2, with the characters readable that a reader cannot take
for others. Two addresses have one normal form exactly if the RFC calls them equal, so it serves as their identity;
the normal form of a normal form is itself. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

import idna

# A path or host for which this expression is not found is in its normal form already. RE2 and Python read it alike.
PATH_TO_NORMALISE: Final = r"[^!$&'()*+,\-./0-9:;=@A-Z\[\]_a-z~]|(?:^|/)\.\.?(?:/|$)"
HOST_TO_NORMALISE: Final = r"[^\-.0-9:\[\]_a-z]|xn--|\.$"

# Nothing beyond these is read of a path: three are at most one byte of its normal form.
_MAX_READ_CHARS: Final = 3 * 2_000 + 12
_ODD: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+|%|[^!$&'()*+,\-./0-9:;=@A-Z\[\]_a-z~%]+")
_UNRESERVED: Final = frozenset("-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_DOT_SEGMENT: Final = re.compile(r"(?:^|/)\.\.?(?:/|$)")
# A blank is readable between two visible characters only.
_UNSEEN_BLANK: Final = re.compile(r"(?<![^/ ]) | (?![^/ ])")
_MAX_HOST_CHARS: Final = 100  # a longer host beyond ASCII, which costs more to read, keeps its text
_REMEMBERED: Final = 4_096
_MARKED: Final = "xn--"
_LATIN: Final = "LATIN"
# Scripts that stand beside each other in one word.
_WRITTEN_TOGETHER: Final = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "BOPOMOFO", "HANGUL"})
# Letters of other scripts that look like Latin ones: a label of nothing else stays in ASCII.
_LOOK_LATIN: Final = frozenset("аеосрхуіјѕԁһԛԝӏεορυνχικατ")  # they are the point


def normal_path(path: str) -> str:
    """Returns the normal form of a path that begins with "/".

    Percent-encodings have upper-case digits; those of unreserved characters and of visible characters beyond ASCII are
    decoded, others stay, so that `/a%2Fb` is not `/a/b`. Characters that no URL may hold are encoded, a "%" that begins
    no encoding too; dot segments are removed.
    """
    text = _ODD.sub(_readable, path[:_MAX_READ_CHARS])
    if _DOT_SEGMENT.search(text):
        text = _without_dot_segments(text)
    return _UNSEEN_BLANK.sub("%20", text) if " " in text else text


@lru_cache(_REMEMBERED)
def normal_host(host: str) -> str:
    """Returns the normal form of a host: that of `ascii_host`, with the labels readable that cannot mislead.

    A label misleads that mixes scripts, or consists of letters that look like Latin ones. Text that is no host is
    returned in lower case.
    """
    ascii_form = ascii_host(host)
    if _MARKED not in ascii_form:
        return ascii_form
    return ".".join(_readable_label(label) for label in ascii_form.split("."))


def ascii_host(host: str) -> str:
    """Returns a host in ASCII by IDNA (UTS 46, non-transitional), in lower case without a final dot."""
    if "%" in host and not host.startswith("["):
        host = unquote(host)
    lower = host.lower()
    if lower.endswith(".") and not lower.endswith(".."):
        lower = lower[:-1]
    if lower.isascii() or len(lower) > _MAX_HOST_CHARS:
        return lower
    try:
        return idna.encode(lower, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        return _lenient(lower)


def _lenient(host: str) -> str:
    """Returns the host as browsers write one that IDNA 2008 forbids, such as `i❤.example`."""
    try:
        labels = idna.uts46_remap(host, std3_rules=False).split(".")
        return ".".join(label if label.isascii() else _MARKED + label.encode("punycode").decode() for label in labels)
    except (idna.IDNAError, UnicodeError):
        return host


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
    """Returns a run of percent-encodings, or of characters that no URL may hold, in the normal form."""
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
    """Returns a path without `.` and `..` (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    ends_in_directory = segments[-1] in {".", ".."}
    return "/" + "/".join((*kept, "") if ends_in_directory else kept)
