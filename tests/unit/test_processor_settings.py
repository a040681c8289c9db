"""Test that an error about a setting of the processor names the option of `hitmesh dev`."""

from __future__ import annotations

import pytest

from hitmesh.model.errors import RefusedError
from hitmesh.runtime.config import load
from hitmesh.tools.dev.processor_settings import setting_named_in
from processor.settings import ProcessorSettings


@pytest.mark.parametrize(("name", "value"), [("FOO", "1"), ("KEEP_SUPERSEDED_MS", "abc")])
def test_an_error_of_the_processor_leads_to_the_option(name: str, value: str) -> None:
    with pytest.raises(RefusedError) as refused:
        load(ProcessorSettings, {"HITMESH_PROCESSOR_STORE": "memory:", f"HITMESH_PROCESSOR_{name}": value})
    assert setting_named_in(refused.value.message, ["LOGIC", name]) == name
    assert setting_named_in(refused.value.message, ["LOGIC"]) is None
