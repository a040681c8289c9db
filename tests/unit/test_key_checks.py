"""Test the messages for values of a key that are refused."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from control.rpc.admin.key_checks import checked_display_name, checked_overlap
from hitmesh.model.errors import RefusedError


def test_long_name_is_refused_with_its_length_and_the_limit() -> None:
    assert checked_display_name("ü" * 200) == "ü" * 200
    with pytest.raises(RefusedError, match="display_name has 201 characters: use at most 200") as caught:
        checked_display_name("ü" * 201)
    assert caught.value.field == "key.display_name"


def test_overlap_is_refused_in_the_form_of_the_contract_and_of_the_command_line() -> None:
    with pytest.raises(RefusedError, match=r"0 to 30 days: send a duration such as 604800s \(`--overlap 7d`\)"):
        checked_overlap(Duration(seconds=31 * 86_400))
