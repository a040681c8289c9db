"""The thresholds of the doctor's checks, with their production values as defaults. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds.

    Attributes:
        free_fraction: a disk with a smaller free fraction is nearly full.
        free_bytes: a disk with fewer free bytes has no room for the next segments and snapshots. The fraction alone
            would complain about a huge disk, and the bytes alone about no disk until the last minute.
        skew_ms: two clocks may differ by this much. Hits with event times further in the future are corrected (rule
            T2), and log time that is ahead delays visits.
        certificate_days: a certificate that expires sooner is a finding, unless it is valid for less than three times
            this time: its margin is then a third of its validity. Two weekends remain to renew a certificate.
        lag_s: reports may be this old.
        canary_s: how long the canary may take from the acknowledgement into a report.
        unread_s: the processor may leave acknowledged hits unread for this long.
        transit_s: a ledger that does not balance is read again for this long, because hits may be in transit.
        druid_lag_rows: Druid may be this many Kafka messages behind. A message has up to 500 rows.
        hits_retention_days: Kafka must keep hits at least this long, so that a stopped stream can catch up.
        settle_days: days after which a closed day is settled; rows must outlive the hits in Kafka by this time.
        sites: number of sites whose ledgers are read, because a mesh may have a million sites.
        history_days: the check of settled days begins this many days before today.
        history_pages: pages of site-days that this check reads in a run, because a page may read 2,000,000 raw hits.
    """

    free_fraction: float = 0.10
    free_bytes: int = 2 << 30
    skew_ms: int = 2_000
    certificate_days: int = 14
    lag_s: float = 60.0
    canary_s: float = 60.0
    unread_s: float = 300.0
    transit_s: float = 10.0
    druid_lag_rows: int = 100_000
    hits_retention_days: int = 7
    settle_days: int = 3
    sites: int = 1_000
    history_days: int = 14
    history_pages: int = 3
