"""Store salts for site-local dates on Cassandra (rule I2).

A conditional write stores each salt, so a site and a date never have two salts. All salts of a date are in one
Cassandra partition, so that one deletion destroys all salts of the date.
"""

from __future__ import annotations

import secrets
import threading
from datetime import date
from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.shared.directory_rules import SALT_BYTES, oldest_salted_anywhere, salted_date
from hitmesh.model.errors import Unavailable

_SALT_TTL_S: Final = 4 * 86_400


class Salts:
    """The salts, cached in memory. Thread-safe. The work for a site does not grow with the number of other sites."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._salts: dict[tuple[str, date], bytes] = {}
        self._salted_on: dict[str, date] = {}
        self._destroyed_before = date.min

    def of(self, site: str, local_date: date, today: date) -> bytes:
        """Return the salt for a site-local date; create a missing salt for `today` or a neighbouring date (rule I2)."""
        salted = salted_date(local_date, today)
        with self._lock:
            if self._salted_on.get(site) != today:
                self._destroy_old(site, today)
            if (site, salted) not in self._salts:
                self._salts[site, salted] = self._stored_salt(site, salted)
            return self._salts[site, salted]

    def _stored_salt(self, site: str, salted: date) -> bytes:
        self._session.run("INSERT INTO salt_dates (zero, local_date) VALUES (0, ?)", (salted,))
        self._session.apply(
            f"INSERT INTO salts (local_date, site, salt) VALUES (?, ?, ?) IF NOT EXISTS USING TTL {_SALT_TTL_S}",
            (salted, site, secrets.token_bytes(SALT_BYTES)),
        )
        rows = self._session.run(
            "SELECT salt FROM salts WHERE local_date = ? AND site = ?", (salted, site), serial=True
        )
        if not rows:
            raise Unavailable(f"the salt of {salted} was destroyed during its creation; try again", day=str(salted))
        return bytes(rows[0].salt)

    def _destroy_old(self, site: str, today: date) -> None:
        """Destroy old salts.

        The oldest salt that this site needs is the salt for yesterday. Sites in other time zones may need the salt for
        the day before yesterday too.
        """
        oldest_anywhere = oldest_salted_anywhere(today)
        if oldest_anywhere > self._destroyed_before:
            self._destroy_dates(oldest_anywhere)
            self._destroyed_before = oldest_anywhere
        # `oldest_anywhere` is the day before yesterday, for which only sites in other time zones may still need a salt.
        self._session.run("DELETE FROM salts WHERE local_date = ? AND site = ?", (oldest_anywhere, site))
        self._salts.pop((site, oldest_anywhere), None)
        self._salted_on[site] = today

    def _destroy_dates(self, oldest: date) -> None:
        """Destroy all sites' salts for dates before `oldest`, with one deletion per date."""
        rows = self._session.run("SELECT local_date FROM salt_dates WHERE zero = 0")
        for day in (row.local_date.date() for row in rows):
            if day < oldest:
                self._session.run("DELETE FROM salts WHERE local_date = ?", (day,))
                self._session.run("DELETE FROM salt_dates WHERE zero = 0 AND local_date = ?", (day,))
        self._salts = {key: salt for key, salt in self._salts.items() if key[1] >= oldest}
        self._salted_on = {other: on for other, on in self._salted_on.items() if on >= oldest}
