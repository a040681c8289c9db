"""Property tests: a token that differs from the issued token in any place never passes the check."""

from __future__ import annotations

import base64
import string
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.access.token_keys import TokenKeys, keys_in
from hitmesh.access.tokens import TokenRules, verified
from hitmesh.model.errors import Unauthenticated
from tests.support.tokens import AUDIENCE, ISSUER, NOW_S, a_token, base64url, ec_key, key_set, rsa_key

RULES = TokenRules(ISSUER, frozenset({AUDIENCE}))
LETTERS = string.ascii_letters + string.digits + "-_.=+/ \n\x00é"


@cache
def tokens() -> list[str]:
    return [a_token(rsa_key()), a_token(ec_key())]


@cache
def keys() -> TokenKeys:
    return keys_in(key_set())


def is_accepted(text: str, known: TokenKeys) -> bool:
    try:
        verified(text, known.find, RULES, NOW_S)
    except Unauthenticated:
        return False
    return True


@given(st.data())
def test_a_token_with_another_letter_is_refused(data: st.DataObject) -> None:
    token = data.draw(st.sampled_from(tokens()))
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from(LETTERS).filter(lambda letter: letter != token[place]))
    assert is_accepted(token, keys())
    assert not is_accepted(token[:place] + letter + token[place + 1 :], keys())


@given(st.data())
def test_a_token_with_changed_bytes_is_refused(data: st.DataObject) -> None:
    """Change bits in the decoded bytes of a part, so that the text of the part stays valid base64url."""
    token = data.draw(st.sampled_from(tokens()))
    pieces = token.split(".")
    part = data.draw(st.integers(0, 2))
    changed = bytearray(base64.urlsafe_b64decode(pieces[part] + "=="))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    pieces[part] = base64url(bytes(changed))
    assert not is_accepted(".".join(pieces), keys())


@given(st.data())
def test_a_token_that_is_cut_extended_or_reordered_is_refused(data: st.DataObject) -> None:
    token = data.draw(st.sampled_from(tokens()))
    cut = data.draw(st.integers(0, len(token) - 1))
    added = data.draw(st.text(LETTERS, min_size=1, max_size=20))
    assert not is_accepted(token[:cut], keys())
    assert not is_accepted(token + added, keys())
    assert not is_accepted(added + token, keys())
    order = data.draw(st.permutations(token.split(".")).filter(lambda pieces: ".".join(pieces) != token))
    assert not is_accepted(".".join(order), keys())


@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_every_letter_at_the_end_of_a_part_matters(key: str) -> None:
    """The last letter of a part has bits that no byte uses. A lenient decoder would accept several last letters."""
    token, known = a_token(rsa_key() if key == "rsa" else ec_key()), keys()
    ends = [place - 1 for place, letter in enumerate(token) if letter == "."] + [len(token) - 1]
    for place in ends:
        for letter in string.ascii_letters + string.digits + "-_":
            assert is_accepted(token[:place] + letter + token[place + 1 :], known) == (letter == token[place])


@given(st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,90}"))
def test_any_other_text_is_refused_as_unauthenticated(text: str) -> None:
    assert not is_accepted(text, keys())
