"""Edge cases of the rules D1, D2, S0 to S5 and L4. Each edge case is a visitor with literal times.

A scenario has hits in a first file, and hits in a second file that is imported later. Times are milliseconds relative
to a UTC midnight; negative times lie on the preceding day.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.generate.facts import ADVERT, NEWSLETTER
from tests.reference.hits import NO_CAMPAIGN, Campaign

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
GAP = 30 * MINUTE


@dataclass(frozen=True)
class Moment:
    """A hit in a scenario. `hit_id` is set only if two moments have the same hit id."""

    at_ms: int
    type: str = "PAGE_VIEW"
    campaign: Campaign = NO_CAMPAIGN
    interactive: bool = True
    offline: bool = False
    bot: bool = False
    hit_id: str | None = None
    order_id: str | None = None


@dataclass(frozen=True)
class Scenario:
    """A visitor, with hits in the first file and hits that the second file adds."""

    name: str
    first: tuple[Moment, ...]
    second: tuple[Moment, ...] = field(default=())


def every(step_ms: int, count: int, start_ms: int = 0, type: str = "PAGE_VIEW") -> tuple[Moment, ...]:
    """Return `count` hits of the same type, one every `step_ms`."""
    return tuple(Moment(start_ms + index * step_ms, type) for index in range(count))


def at_minutes(*minutes: float) -> tuple[Moment, ...]:
    """Return page views at the given minutes after midnight."""
    return tuple(Moment(round(minute * MINUTE)) for minute in minutes)


_NEWS = NEWSLETTER.campaign
_AD = ADVERT.campaign

_GAPS = (
    Scenario("gap-just-under", every(GAP - 1, 5, 9 * HOUR)),
    Scenario("gap-exact", every(GAP, 5, 9 * HOUR)),
    Scenario("gap-just-over", every(GAP + 1, 5, 9 * HOUR)),
    Scenario("gap-exact-over-midnight", every(GAP, 6, -HOUR)),
    Scenario("gap-over-across-midnight", every(GAP + 1, 6, -HOUR)),
    Scenario("last-instant-of-day-and-first", (Moment(-1), Moment(0))),
)
_CAPS = (
    Scenario("s-h-every-20-minutes", every(20 * MINUTE, 75)),
    Scenario("26-hours-from-22h", every(20 * MINUTE, 79, 22 * HOUR)),
    Scenario("26-hours-at-exact-gaps", every(GAP, 53, 3 * HOUR)),
    Scenario("26-hours-just-under-gap", every(GAP - 1, 53, 13 * HOUR)),
    Scenario("50-hours-two-caps", every(25 * MINUTE, 121, 5 * HOUR)),
    Scenario("cap-exact", (*every(25 * MINUTE, 58), Moment(24 * HOUR - 1), Moment(24 * HOUR))),
    Scenario(
        "cap-hit-by-engagement",
        (*every(24 * MINUTE, 60), Moment(24 * HOUR, "ENGAGEMENT"), Moment(24 * HOUR + MINUTE)),
    ),
)
_CAMPAIGNS = (
    Scenario(
        "s-f-campaigns",
        (
            Moment(0, campaign=_NEWS),
            Moment(5 * MINUTE),
            Moment(10 * MINUTE, campaign=_AD),
            Moment(15 * MINUTE, campaign=_NEWS),
        ),
    ),
    Scenario("campaign-repeated-stays", (Moment(0, campaign=_AD), Moment(MINUTE, campaign=_AD))),
    Scenario(
        "campaign-on-orphan-is-ignored",
        (Moment(0, campaign=_NEWS), Moment(MINUTE, "ENGAGEMENT", campaign=_AD), Moment(2 * MINUTE)),
    ),
    Scenario("s-g-campaign-arrives", at_minutes(0, 20), (Moment(10 * MINUTE, campaign=_AD),)),
    Scenario(
        "tie-with-campaign",
        (
            Moment(HOUR, hit_id="tie-none"),
            Moment(HOUR, campaign=_AD, hit_id="tie-campaign"),
            Moment(HOUR, "EVENT", interactive=False, hit_id="tie-event"),
        ),
    ),
)
_NOT_INTERACTIVE = (
    Scenario(
        "engagement-leads-and-trails",
        (
            Moment(-MINUTE, "ENGAGEMENT"),
            Moment(0),
            Moment(29 * MINUTE, "ENGAGEMENT"),
            Moment(58 * MINUTE),
            Moment(88 * MINUTE, "PERFORMANCE"),
            Moment(118 * MINUTE + 1, "EXCEPTION"),
        ),
    ),
    Scenario(
        "quiet-event-before-and-after",
        (
            Moment(0, "EVENT", interactive=False),
            Moment(MINUTE),
            Moment(2 * MINUTE, "EVENT", interactive=False),
        ),
    ),
    Scenario("only-engagement", every(MINUTE, 3, type="ENGAGEMENT")),
    Scenario(
        "webhook-order",
        (Moment(0), Moment(MINUTE, "ORDER", offline=True, order_id="webhook"), Moment(31 * MINUTE)),
    ),
    Scenario("refund-inside-and-outside", (Moment(0), Moment(MINUTE, "REFUND"), Moment(9 * HOUR, "REFUND"))),
)
_COPIES = (
    Scenario("s-e-sent-twice", tuple(Moment(m * MINUTE, hit_id=f"twice-{m}") for m in (0, 5, 0, 5))),
    Scenario(
        "copy-windows",
        (
            Moment(0, hit_id="near"),
            Moment(2 * HOUR, hit_id="near"),
            Moment(5 * HOUR, hit_id="far"),
            Moment(7 * HOUR + 1, hit_id="far"),
        ),
    ),
    Scenario(
        "copies-over-midnight",
        (Moment(-HOUR, hit_id="over"), Moment(30 * MINUTE, hit_id="over"), Moment(2 * HOUR, hit_id="over")),
    ),
    Scenario("copy-of-other-content", (Moment(0, hit_id="both"), Moment(MINUTE, "EVENT", hit_id="both"))),
    Scenario("person-and-bot", (Moment(0), Moment(MINUTE, bot=True), Moment(20 * MINUTE), Moment(GAP, bot=True))),
    Scenario(
        "order-repeated",
        (
            Moment(0),
            Moment(MINUTE, "ORDER", order_id="again"),
            Moment(2 * MINUTE, "ORDER", order_id="again"),
            Moment(30 * HOUR, "ORDER", order_id="again"),
        ),
        (Moment(MINUTE + 1, "ORDER", order_id="again"),),
    ),
)
_LATER = (
    Scenario("s-c-bridge", at_minutes(0, 50), at_minutes(25)),
    Scenario("s-d-prepend", at_minutes(10), at_minutes(0)),
    Scenario("s-k-over-midnight", at_minutes(*range(-60, 181, 20))),
    Scenario("s-l-carry", at_minutes(-10), at_minutes(5, 30)),
    Scenario("s-l-carry-into-known-day", at_minutes(-10, 30, 50), at_minutes(10)),
    Scenario("visit-of-the-day-before-grows", at_minutes(20, 40), at_minutes(-5)),
    Scenario(
        "visit-of-the-day-before-reaches-two-days",
        every(25 * MINUTE, 60),
        every(25 * MINUTE, 4, -100 * MINUTE),
    ),
    Scenario("carry-ends-at-campaign", (Moment(0, campaign=_AD), Moment(MINUTE)), at_minutes(-5, -20)),
    Scenario("engagement-finds-its-visit", (Moment(10 * MINUTE, "ENGAGEMENT"),), at_minutes(-15)),
    Scenario("copy-of-the-day-before", (Moment(MINUTE, hit_id="late"),), (Moment(-HOUR, hit_id="late"),)),
)
HEAVY = Scenario(
    "more-than-5000-hits",
    (
        *every(10 * SECOND, 5_000),
        *every(10 * SECOND, 2, 50_000 * SECOND, "ENGAGEMENT"),
        *every(10 * SECOND, 350, 50_020 * SECOND),
    ),
)
"""A visit of 5,000 hits, then two non-interactive hits, and then the next visit (S5).

The two non-interactive hits start no visit.
"""

SCENARIOS = (*_GAPS, *_CAPS, *_CAMPAIGNS, *_NOT_INTERACTIVE, *_COPIES, *_LATER)
