"""Lets a batch pass if the quotas of its site and key allow the batch, and counts refused hits.

A batch whose sender was refused recently is checked before the batch is queued, so that a sender far beyond its quota
takes neither memory nor the thread that admits batches. This early check reads the sender's key and site from the
directory's cache, so a changed quota, a changed share and a revoked key take effect as fast as for other senders.
"""

from __future__ import annotations

from typing import NamedTuple

from collector.admission import Frame, Grant, Refusal, Sender
from collector.admission.batches import Answer
from collector.admission.envelopes import Envelope, read_envelope
from collector.grants import resolve
from collector.hit_quotas import Charged, HitQuotas
from collector.metering import CollectorMeter
from collector.micro_batch import Waiting
from collector.origins import origin_refusal
from collector.outcome import BatchOutcome, over_quota
from collector.settings import CollectorSettings
from hitmesh.model.errors import QuotaExceeded, RetryError
from hitmesh.model.quotas import HitLimits
from hitmesh.ports import Clock, SiteDirectory
from hitmesh.runtime.telemetry import Metrics
from hitmesh.runtime.telemetry.registry import COLLECTOR_LIVE


def quotas_of(settings: CollectorSettings, clock: Clock) -> HitQuotas:
    """Return the quotas with the defaults in the settings. Pending changes take effect by `clock`."""
    return HitQuotas(
        HitLimits(settings.site_hits_s, settings.site_bytes_s),
        HitLimits(settings.key_hits_s, settings.key_bytes_s),
        clock=clock,
        burst_s=settings.quota_burst_s,
    )


class Passing(NamedTuple):
    """A batch that may be admitted, and its charge to quotas. A batch that will be refused has no charge."""

    waiting: Waiting
    envelope: Envelope
    quotas: HitQuotas
    charged: Charged | None

    def give_back(self) -> None:
        """Return the charge, because the batch must be sent again."""
        if self.charged is not None:
            self.quotas.give_back(self.charged)


class QuotaGate:
    """Checks batches against quotas, in the thread that admits batches and in the threads of streams and calls."""

    def __init__(self, quotas: HitQuotas, metrics: Metrics, directory: SiteDirectory, clock: Clock) -> None:
        self.quotas = quotas
        self._directory = directory
        self._clock = clock
        self._meter = CollectorMeter(metrics)
        metrics.observe(COLLECTOR_LIVE, lambda: [COLLECTOR_LIVE.of(quotas.live)])

    def charge(self, frame: Frame, envelope: Envelope, answer: Answer | None) -> Charged | BatchOutcome | None:
        """Charge a batch immediately before its hits are decoded.

        Return the outcome for a batch that must wait. Return None for a batch that is refused for another reason, and
        therefore costs nothing.
        """
        if not isinstance(answer, Grant) or envelope.fault is not None:
            return None
        found = self.quotas.charge(envelope.sender, answer, envelope.hits, len(frame.batch))
        return found if isinstance(found, Charged) else self._refused(found, envelope.hits)

    def refused_early(self, frame: Frame) -> BatchOutcome | None:
        """Return the outcome for a batch that need not be queued, because `charge` would refuse the batch now."""
        stream = Sender(frame.default_key, frame.site_header)
        if not self.quotas.any_short or (frame.default_key and not self.quotas.is_short(stream)):
            return None
        envelope = read_envelope(frame)  # the batch may name another key than its stream
        if envelope.fault is not None:
            return None
        error = self._present_refusal(envelope.sender, frame.origin, envelope.hits, len(frame.batch))
        if error is None:
            return None
        outcome = self._refused(error, envelope.hits)
        self._meter.reported([], [outcome], envelope.hits)
        return outcome

    def check_unread(self, key: str, site_header: str, origin: str) -> None:
        """Check a sender with an origin before its batch is parsed.

        Raises:
            QuotaExceeded: `charge` would now refuse every batch of this sender.
        """
        error = self._present_refusal(Sender(key, site_header), origin, 1, 1) if self.quotas.any_short else None
        if error is not None:
            self._meter.over_quota(error, 1)
            self._meter.reported([], [], 1)  # every hit over a quota is also a hit to be sent again
            raise error

    def _present_refusal(self, sender: Sender, origin: str, hits: int, size: int) -> QuotaExceeded | None:
        """Return the error for a batch that `charge` would refuse now, or None.

        A sender who may no longer send hits, or not from this origin, is not refused here, because admission names the
        cause.
        """
        if not self.quotas.is_short(sender):
            return None
        try:
            answer: Answer | None = resolve([sender], self._directory, self._clock.now())[sender]
        except RetryError:
            answer = None
        if isinstance(answer, Refusal) and not answer.retry:
            self.quotas.forget(sender)
            return None
        if isinstance(answer, Grant) and origin_refusal(answer.key.kind, answer.site, origin) is not None:
            return None
        return self.quotas.refusal(sender, answer if isinstance(answer, Grant) else None, hits, size)

    def _refused(self, error: QuotaExceeded, hits: int) -> BatchOutcome:
        self._meter.over_quota(error, hits)
        return over_quota(error)
