"""Reads the campaign that led to a hit (rule S3).

The campaign is in the hit's context or in the query of the page's URL. If both the context and the query have a
campaign, the context's campaign counts. The whole query is parsed as a form (WHATWG URL section 5.1) before the query
is cut for storage. A campaign has seven strings. All seven strings are taken from the same place, either the context or
the query, so two campaigns are never mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from collector.admission.columns import distinct_tuples
from collector.admission.texts import Texts, byte_lengths, cleaned, limited, shortened, without_controls
from collector.admission.verdicts import Verdicts
from collector.classify.click_ids import CLICK_IDS
from hitmesh.model.arrays import BoolArray, I32Array, U64Array
from hitmesh.model.rows.hash_columns import campaign_hashes

FIELDS: Final = ("source", "medium", "campaign", "term", "content", "click_id", "click_id_kind")
STORED_FIELDS: Final = FIELDS[:-1]  # click_id_kind is not stored: only the classifier reads it.
# URL parameters for the first five fields in FIELDS. The columns have the same names as the parameters.
PARAMETERS: Final = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")
COLUMNS: Final = (*PARAMETERS, "click_id")
MAX_CAMPAIGN_BYTES: Final = 128
MAX_PARAMETERS: Final = 1_000  # maximum number of parameters that are read per query; real queries have fewer
_NONE: Final = ("",) * len(FIELDS)
_READ: Final = frozenset((*PARAMETERS, *CLICK_IDS))
# Parameter names with "%" or "+" match too, because they may be encoded names of campaign parameters.
_NAMES_A_CAMPAIGN: Final = f"(?:^|&)(?:{'|'.join(sorted(_READ))}|[^=&]*[%+][^=&]*)="


@dataclass(frozen=True, slots=True)
class Campaigns:
    """The campaign of each row.

    `values` has an array for each field in FIELDS. `codes` has each row's index into the arrays of `values`.
    """

    values: tuple[pa.StringArray, ...]
    codes: I32Array

    def rows(self, positions: npt.NDArray[np.integer]) -> Campaigns:
        """Return the campaigns of the rows `positions`, in this order."""
        return Campaigns(self.values, self.codes[positions])

    def scattered(self, rows: npt.NDArray[np.integer], height: int) -> Campaigns:
        """Return `height` rows. Row rows[i] has campaign i; all other rows have no campaign."""
        codes = np.zeros(height, dtype=np.int32)
        codes[rows] = self.codes + 1
        none = pa.array([""], pa.string())
        return Campaigns(tuple(pa.concat_arrays([none, values]) for values in self.values), codes)

    def or_else(self, other: Campaigns) -> Campaigns:
        """Return these campaigns. A row without a campaign gets the campaign that `other` has for this row."""
        codes = np.where(self._is_set(), self.codes, other.codes + np.int32(len(self.values[0])))
        values = tuple(pa.concat_arrays(list(pair)) for pair in zip(self.values, other.values, strict=True))
        return Campaigns(values, codes.astype(np.int32, copy=False))

    def text(self, field: str) -> Texts:
        """Return one field of the campaigns as a column."""
        return Texts(self.values[FIELDS.index(field)], self.codes)

    def hashes(self) -> U64Array:
        """Return a hash that identifies each row's campaign, or 0 for a row without a campaign."""
        table = pl.DataFrame([pl.Series(name, each) for name, each in zip(FIELDS, self.values, strict=True)])
        keyed = (pl.col(name) for name in ("source", "medium", "campaign", "click_id"))
        hashed: U64Array = table.select(campaign_hashes(*keyed)).to_series().to_numpy()
        return hashed[self.codes]

    def _is_set(self) -> BoolArray:
        found: BoolArray = np.any([byte_lengths(values) > 0 for values in self.values], axis=0)[self.codes]
        return found


def read_campaigns(column: pa.StructArray, path: str, verdicts: Verdicts) -> Campaigns | None:
    """Return the campaigns from Campaign messages.

    Control characters become blanks. The function `limited` decides which rows are refused and which strings are cut.
    """
    found = {name: Texts.of(column.field(name)) for name in FIELDS}
    sent = {
        name: cleaned(limited(texts, f"{path}.{name}", MAX_CAMPAIGN_BYTES, verdicts))
        for name, texts in found.items()
        if texts is not None
    }
    if not sent:
        return None
    first, codes = distinct_tuples([texts.codes for texts in sent.values()])
    empty = pa.array([""] * len(first), pa.string())
    values = (sent[name].values.take(pa.array(sent[name].codes[first])) if name in sent else empty for name in FIELDS)
    return Campaigns(tuple(values), codes)


def campaigns_of_queries(query: Texts, verdicts: Verdicts) -> Campaigns | None:
    """Return the campaigns named in URL queries. The function `limited` cuts or refuses values."""
    naming = np.flatnonzero(np.asarray(pc.match_substring_regex(query.values, _NAMES_A_CAMPAIGN)))
    if not len(naming):
        return None
    tuples = [_NONE, *map(_campaign_of, query.values.take(pa.array(naming)).to_pylist())]
    place = np.zeros(len(query.values), dtype=np.int32)
    place[naming] = np.arange(1, len(tuples))
    codes = place[query.codes]
    texts = (Texts.constant(values, codes) for values in zip(*tuples, strict=True))
    return Campaigns(
        tuple(limited(each, "page_view.url", MAX_CAMPAIGN_BYTES, verdicts).values for each in texts), codes
    )


def _campaign_of(query: str) -> tuple[str, ...]:
    """Return the campaign fields in a query.

    If a parameter is repeated, the last value counts. A blank value becomes "". Click ids may be long, so they are
    shortened without a warning. Control characters become blanks, without a warning.
    """
    found: dict[str, str] = {}
    for pair in query.split("&", MAX_PARAMETERS)[:MAX_PARAMETERS]:
        name, _, value = pair.partition("=")
        if "%" in name or "+" in name:
            name = unquote_plus(name)
        if name in _READ:
            found[name] = without_controls(unquote_plus(value))
    kind = next((name for name in CLICK_IDS if found.get(name)), "")
    click_id = shortened(found[kind], MAX_CAMPAIGN_BYTES) if kind else ""
    return (*(found.get(name, "") for name in PARAMETERS), click_id, kind)
