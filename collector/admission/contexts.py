"""The context of a hit: its own, and what it does not carry itself from its batch (contract, Context).

Decides which fields exist, how long they may be and how two contexts merge; refuses to know what they mean. A campaign
is one field: a hit's own is never mixed with the batch's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.admission.campaigns import Campaigns, read_campaigns
from collector.admission.texts import Texts, limited
from collector.admission.verdicts import Verdicts

MAX_USER_AGENT_BYTES: Final = 1_024
MAX_LANGUAGE_BYTES: Final = 35

T = TypeVar("T", Texts, Campaigns)
Consent = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Context:
    """Columns of a context; None where no row has a value. Consent is a number of hit.v1.ConsentState."""

    user_agent: Texts | None
    language: Texts | None
    campaigns: Campaigns | None
    consent: Consent | None

    def under(self, own: Context, frame_of: npt.NDArray[np.int32]) -> Context:
        """Returns hits' own contexts with this one, of their batches, where they have nothing; row i is of a hit."""
        return Context(
            _merged(own.user_agent, self.user_agent, frame_of),
            _merged(own.language, self.language, frame_of),
            _merged(own.campaigns, self.campaigns, frame_of),
            _merged_consent(own.consent, self.consent, frame_of),
        )


def context_of(column: pa.StructArray, path: str, verdicts: Verdicts) -> Context:
    """Returns the columns of Context messages; refuses rows and cuts strings as `limited` does."""
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


def _merged(own: T | None, default: T | None, frame_of: npt.NDArray[np.int32]) -> T | None:
    if default is None:
        return own
    spread = default.rows(frame_of)
    return spread if own is None else own.or_else(spread)


def _merged_consent(own: Consent | None, default: Consent | None, frame_of: npt.NDArray[np.int32]) -> Consent | None:
    if default is None:
        return own
    spread = default[frame_of]
    return spread if own is None else np.where(own != 0, own, spread)
