"""Reads a hit's context.

Fields that the hit does not set are taken from the batch's default context (hit.proto, Context). Decides which fields
are read, how long each field may be, and how two contexts are merged. A campaign counts as one field: a hit has either
its own campaign or the batch's campaign, never a mixture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa

from collector.admission.campaigns import Campaigns, read_campaigns
from collector.admission.texts import Texts, limited
from collector.admission.verdicts import Verdicts
from hitmesh.model.arrays import I32Array

MAX_USER_AGENT_BYTES: Final = 1_024
MAX_LANGUAGE_BYTES: Final = 35

T = TypeVar("T", Texts, Campaigns)


@dataclass(frozen=True, slots=True)
class Context:
    """The columns of contexts; a field that no row sets is None. `consent` holds numbers of hit.v1.ConsentState."""

    user_agent: Texts | None
    language: Texts | None
    campaigns: Campaigns | None
    consent: I32Array | None

    def under(self, hit_context: Context, frame_of: I32Array) -> Context:
        """Return the hits' contexts.

        If a hit does not set a field, the field's value comes from the batch's default context (`self`). The hit in row
        i came with the frame frame_of[i].
        """
        return Context(
            _merged(hit_context.user_agent, self.user_agent, frame_of),
            _merged(hit_context.language, self.language, frame_of),
            _merged(hit_context.campaigns, self.campaigns, frame_of),
            _merged_consent(hit_context.consent, self.consent, frame_of),
        )


def context_of(column: pa.StructArray, path: str, verdicts: Verdicts) -> Context:
    """Return the columns from Context messages.

    The function `limited` decides which rows are refused, and which strings are cut.
    """
    if column.null_count == len(column):
        return Context(None, None, None, None)
    user_agent = Texts.of(column.field("device").field("user_agent"))
    if user_agent is not None:
        user_agent = limited(user_agent, f"{path}.device.user_agent", MAX_USER_AGENT_BYTES, verdicts)
    language = Texts.of(column.field("locale").field("language"))
    if language is not None:
        language = limited(language, f"{path}.locale.language", MAX_LANGUAGE_BYTES, verdicts)
    consent = column.field("consent").field("analytics").to_numpy()
    return Context(
        user_agent,
        language,
        read_campaigns(column.field("campaign"), f"{path}.campaign", verdicts),
        consent if consent.any() else None,
    )


def _merged(sent: T | None, default: T | None, frame_of: I32Array) -> T | None:
    if default is None:
        return sent
    spread = default.rows(frame_of)
    return spread if sent is None else sent.or_else(spread)


def _merged_consent(sent: I32Array | None, default: I32Array | None, frame_of: I32Array) -> I32Array | None:
    if default is None:
        return sent
    spread = default[frame_of]
    return spread if sent is None else np.where(sent != 0, sent, spread)
