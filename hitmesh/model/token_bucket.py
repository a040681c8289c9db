"""A token bucket in whole numbers, with the time as an argument.

Guarantees, for any order, sizes and times of charges:

- In any period, the charges are at most rate × time + burst. A single charge may exceed the burst; the excess is then
  paid back before the next charge.
- `wait_ms` is exact: a charge that must wait passes after this time, if no other charge came first.
- A clock that goes back adds no token.

All arithmetic is in integers: a rate in tokens per second, multiplied by ms, gives thousandths of a token.
"""

from __future__ import annotations

from collections.abc import Sequence

_MILLI = 1_000


class TokenBucket:
    """A bucket that gains `rate_s` tokens per second, up to `burst` tokens. Full at first. Not thread-safe.

    Args:
        rate_s: the refill, at least 1 token per second.
        burst: the capacity, at least 1 token.
        now_ms: the current time of a monotonic clock, as in all other methods.

    Example:
        >>> bucket = TokenBucket(rate_s=10, burst=20, now_ms=0)
        >>> bucket.charge(20, now_ms=0)
        >>> bucket.wait_ms(5, now_ms=0), bucket.wait_ms(5, now_ms=499), bucket.wait_ms(5, now_ms=500)
        (500, 1, 0)
    """

    __slots__ = ("_at_ms", "_full", "_level", "burst", "rate_s")

    def __init__(self, rate_s: int, burst: int, now_ms: int) -> None:
        self.rate_s = rate_s
        self.burst = burst
        self._full = self._level = burst * _MILLI
        self._at_ms = now_ms

    def wait_ms(self, cost: int, now_ms: int) -> int:
        """Return the ms after which a charge of `cost` tokens may pass; 0 = now.

        A charge that exceeds the capacity may pass when the bucket is full.

        Example:
            >>> TokenBucket(rate_s=10, burst=20, now_ms=0).wait_ms(1_000, now_ms=0)
            0
        """
        self._refill(now_ms)
        missing = min(cost * _MILLI, self._full) - self._level
        # If the caller's clock is behind the bucket's clock, the bucket gains nothing before the clock has caught up.
        return max(0, self._at_ms - now_ms) - (-missing // self.rate_s) if missing > 0 else 0

    def allows(self, cost: int, now_ms: int) -> bool:
        """Return whether a charge may pass now, that is, whether `wait_ms` returns 0.

        Example:
            >>> TokenBucket(rate_s=10, burst=20, now_ms=0).allows(20, now_ms=0)
            True
        """
        if now_ms > self._at_ms:
            self._refill(now_ms)
        return self._level >= min(cost * _MILLI, self._full)

    def charge(self, cost: int, now_ms: int) -> None:
        """Remove `cost` tokens. The level may become negative.

        Example:
            >>> bucket = TokenBucket(rate_s=10, burst=20, now_ms=0)
            >>> bucket.charge(30, now_ms=0)
            >>> bucket.wait_ms(1, now_ms=0)
            1100
        """
        self._refill(now_ms)
        self._level -= cost * _MILLI

    def give_back(self, cost: int) -> None:
        """Return the tokens of a charge whose work was not done.

        Example:
            >>> bucket = TokenBucket(rate_s=10, burst=20, now_ms=0)
            >>> bucket.charge(20, now_ms=0)
            >>> bucket.give_back(20)
            >>> bucket.wait_ms(20, now_ms=0)
            0
        """
        self._level = min(self._full, self._level + cost * _MILLI)

    def tokens(self, now_ms: int) -> int:
        """Return the number of whole tokens in the bucket; 0 if the bucket is in debt.

        Example:
            >>> TokenBucket(rate_s=10, burst=20, now_ms=0).tokens(now_ms=0)
            20
        """
        self._refill(now_ms)
        return max(0, self._level // _MILLI)

    def level(self, now_ms: int) -> int:
        """Return the number of whole tokens in the bucket; negative if the bucket is in debt.

        Example:
            >>> bucket = TokenBucket(rate_s=10, burst=20, now_ms=0)
            >>> bucket.charge(25, now_ms=0)
            >>> bucket.level(now_ms=0), bucket.tokens(now_ms=0)
            (-5, 0)
        """
        self._refill(now_ms)
        return self._level // _MILLI

    def resize(self, rate_s: int, burst: int, now_ms: int) -> None:
        """Change rate and capacity from now on. A smaller capacity lowers the level; a larger one never raises it.

        Example:
            >>> bucket = TokenBucket(rate_s=10, burst=20, now_ms=0)
            >>> bucket.resize(rate_s=1, burst=2, now_ms=0)
            >>> bucket.wait_ms(2, now_ms=0), bucket.tokens(now_ms=0)
            (0, 2)
        """
        self._refill(now_ms)
        self.rate_s, self.burst, self._full = rate_s, burst, burst * _MILLI
        self._level = min(self._full, self._level)

    def _refill(self, now_ms: int) -> None:
        if now_ms > self._at_ms:
            self._level = min(self._full, self._level + (now_ms - self._at_ms) * self.rate_s)
            self._at_ms = now_ms


Charge = tuple[TokenBucket, int]


def charge_all(charges: Sequence[Charge], now_ms: int) -> int:
    """Charge several buckets, or none of them. Return 0 if charged, otherwise the ms after which all may pass.

    Each bucket may occur only once in `charges`.

    Example:
        >>> full, empty = TokenBucket(10, 20, now_ms=0), TokenBucket(10, 20, now_ms=0)
        >>> empty.charge(20, now_ms=0)
        >>> charge_all([(full, 5), (empty, 5)], now_ms=0), full.tokens(now_ms=0)
        (500, 20)
    """
    for bucket, cost in charges:
        if not bucket.allows(cost, now_ms):
            return max(each.wait_ms(wanted, now_ms) for each, wanted in charges)
    for bucket, cost in charges:
        bucket._level -= cost * _MILLI
    return 0
