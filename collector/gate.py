"""Refuses senders whose refused hits have recently cost too much work.

The decision is made before hits are read, and depends only on the key and the client address. Server keys and edge keys
are secret, so senders with these keys are not limited. While the directory is unavailable, the gate lets every sender
pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from collector.admission.envelopes import Frame, read_envelope
from collector.grants import unknown_key_message
from collector.origins import origin_refusal
from collector.outcome import BatchOutcome
from collector.refusal_budget import CALL_UNITS, HIT_UNITS, KEYLESS, RefusalBudget, RefusedSender
from collector.slots import ShownKey
from hitmesh.access.key_endings import ending_of
from hitmesh.access.roles import cannot_send, has_role, is_valid_sender, rights_of
from hitmesh.model.errors import KeyNotLookedUp, PermissionDenied, RetryError, Unauthenticated
from hitmesh.model.reasons import ErrorReason, HitReason
from hitmesh.model.sites import IngestKey, Role
from hitmesh.ports import Clock, SiteDirectory

_NO_KEY: Final = frozenset((HitReason.UNKNOWN_KEY, HitReason.KEY_REVOKED, HitReason.KEY_EXPIRED, HitReason.QUOTA))
_JSON_KEY: Final = re.compile(rb'"ingest_?[kK]ey"\s*:\s*"([^"\\]{1,256})"')


class Gate:
    """Refuses senders whose refused hits have used up their budget of work. `clock` judges the expiry of keys."""

    def __init__(self, directory: SiteDirectory, budget: RefusalBudget, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._budget = budget

    @property
    def is_watchful(self) -> bool:
        """Whether any sender may have to wait. While `is_watchful` is False, `check` need not be called."""
        return self._budget.any_debt

    def check(self, key: str, address: str) -> None:
        """Raise an error if the sender must not send now.

        Raises:
            RetryError: the sender's budget of refused work is exhausted (QUOTA).
        """
        sender = self._charged_sender(key, address)
        wait_s = 0.0 if sender is None else self._budget.wait_s(sender)
        if wait_s:
            raise _kept_out("too many hits of this sender were refused", wait_s)

    @contextmanager
    def held(self, key: str, address: str, size: int) -> Iterator[None]:
        """Reserve budget for `size` bytes.

        Until the `with` block ends, the reserved bytes count as work on refused hits.

        Raises:
            RetryError: the sender's budget is exhausted by refused work, or reserved by calls in progress (QUOTA).
        """
        sender, units = self._charged_sender(key, address), size + CALL_UNITS
        wait_s = 0.0 if sender is None else self._budget.hold(sender, units)
        if wait_s:
            raise _kept_out("refused hits and calls in progress exhaust the sender's budget for refusals", wait_s)
        try:
            yield
        finally:
            if sender is not None:
                self._budget.let_go(sender, units)

    def check_again(self, frame: Frame, key: str | None, address: str) -> None:
        """Check immediately before admission whether a batch's sender may still send.

        The sender passed a first check when the batch arrived.

        Args:
            frame: the batch, from which the key is read if `key` is None.
            key: as in `check`.
            address: as in `check`.

        Raises:
            RetryError: the sender's budget of refused work has been exhausted since the batch arrived (QUOTA).
        """
        if self.is_watchful:
            self.check(read_envelope(frame).sender.key if key is None else key, address)

    def charge(self, key: str, address: str, size: int, sizes: Sequence[int], outcome: BatchOutcome) -> None:
        """Charge a batch's sender for the refused part of the batch.

        Args:
            key: the sender's key.
            address: the client's address.
            size: the number of bytes in the batch as sent.
            sizes: bytes sent for each hit, if known.
            outcome: outcome of the batch.
        """
        if outcome.is_charged:
            refusals = [issue.index for issue in outcome.issues if issue.outcome != "WARNED"]
            hits = outcome.accepted + outcome.rejected
            share = outcome.rejected / hits if hits else 1.0
            of_hits = sum(sizes[index] for index in set(refusals) if 0 <= index < len(sizes))
            work = max(size * share, (size - sum(sizes)) * share + of_hits)
            # A key that admission did not find is not looked up again. A second look-up would double the cost of an
            # unknown key.
            known = "" if outcome.issues[0].reason in _NO_KEY else key
            self.charge_units(known, address, work + len(refusals) * HIT_UNITS)

    def charge_units(self, key: str, address: str, units: float) -> None:
        """Charge a sender for one call (CALL_UNITS) plus `units`."""
        sender = self._charged_sender(key, address)
        if sender is not None:
            self._budget.charge(sender, units + CALL_UNITS)

    def is_known(self, key: str) -> bool:
        """Return whether a key may send hits. Return True while the directory is unavailable.

        Raises:
            KeyNotLookedUp: the budget of look-ups is exhausted; the sender is charged.
        """
        try:
            found = self._directory.key(key) if key else None
        except KeyNotLookedUp:
            self._budget.charge(KEYLESS, CALL_UNITS)
            raise
        except RetryError:
            return True
        return is_valid_sender(found, self._clock.now())

    def reads_hits(self, key: str, origin: str) -> bool:
        """Return whether the hits with a key from an origin are read. If not, admission refuses the batch unread.

        Raises:
            KeyNotLookedUp: the budget of look-ups is exhausted; the sender is charged.
        """
        try:
            found = self._directory.key(key) if key else None
            if found is None or not is_valid_sender(found, self._clock.now()):
                return False
            return self._origin_error(found, origin) is None
        except KeyNotLookedUp:
            self._budget.charge(KEYLESS, CALL_UNITS)
            raise
        except RetryError:
            return True

    def _origin_error(self, key: IngestKey, origin: str) -> PermissionDenied | None:
        site = None if key.site is None else self._directory.site(key.site)
        return None if site is None else origin_refusal(key.kind, site, origin)

    def shown(self, key: str, *, is_keyless: bool) -> ShownKey:
        """Return what a key means for the slots of streams. An unknown key is not secret and has no merchant."""
        try:
            found = self._directory.key(key)
        except RetryError:
            found = None
        if found is None:
            return ShownKey(key, "", False, is_keyless)
        return ShownKey(key, found.merchant, rights_of(found).is_secret, is_keyless)

    def require(self, key: str, origin: str, address: str) -> IngestKey:
        """Return a key that may send hits from an origin.

        If the key is invalid or cannot be looked up, or the origin is not allowed, the sender is charged for one call.

        Raises:
            Unauthenticated: the key is unknown, revoked or expired (UNKNOWN_KEY, KEY_REVOKED, KEY_EXPIRED).
            PermissionDenied: a key of this kind may not send hits, or the origin is not allowed (ORIGIN_NOT_ALLOWED).
            KeyNotLookedUp: the budget of look-ups is exhausted.
            RetryError: the directory is unavailable.
        """
        try:
            found = self._directory.key(key)
        except KeyNotLookedUp:
            self._budget.charge(KEYLESS, CALL_UNITS)
            raise
        now = self._clock.now()
        if not is_valid_sender(found, now):
            self._budget.charge(KEYLESS, CALL_UNITS)
        if found is None:
            raise Unauthenticated(unknown_key_message(key), field="open.ingest_key", reason=ErrorReason.UNKNOWN_KEY)
        ending = ending_of(found, now, "open.ingest_key")
        if ending is not None:
            raise ending
        if not has_role(found, Role.SEND):
            raise PermissionDenied(cannot_send(found), field="open.ingest_key", key_kind=found.kind.value)
        error = self._origin_error(found, origin)
        if error is not None:
            self.charge_units(key, address, 0)
            raise error
        return found

    def _charged_sender(self, key: str, address: str) -> RefusedSender | None:
        try:
            found = self._directory.key(key) if key else None
        except KeyNotLookedUp:  # if the budget does not allow a look-up, the key is treated as unknown
            return KEYLESS
        except RetryError:
            return None
        if found is None or not is_valid_sender(found, self._clock.now()):
            return KEYLESS
        return None if rights_of(found).is_secret else RefusedSender(key, address)


def _kept_out(why: str, wait_s: float) -> RetryError:
    message = f"{why}: wait {wait_s:.0f} s, and send a known key and valid hits"
    return RetryError(message, reason=ErrorReason.QUOTA, retry_after_s=max(1.0, wait_s), wait_s=f"{wait_s:.0f}")


def key_in_json(body: bytes) -> str:
    """Return the ingest key in a JSON batch without parsing the JSON, or "" if no key is found."""
    found = _JSON_KEY.search(body)
    return found[1].decode("utf-8", "replace") if found else ""
