"""What a load run offers and when (its first step): a pure function of its options.

Decides how many hits there are, how they are cut into frames, when each happens and which site a frame is of. Refuses
to know what a hit looks like, what the time is and how fast the mesh answers: an open loop never waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from random import Random
from typing import Final

MERCHANT: Final = "merchants/demo"
PROBE_SITE: Final = f"{MERCHANT}/sites/load-probe"
# An edge that waits longer than this for a full frame adds more delay than it saves.
MAX_FRAME_S: Final = 0.1
SITE_DIGITS: Final = 4
WILD: Final = "wild"
SHAPES: Final = ("shop", WILD)
ALL_PERCENT: Final = 100.0
WILD_DEFAULTS: Final = {"late_percent": 20.0, "duplicates_percent": 5.0, "bots_percent": 5.0}
# Wild hits are large, and a batch has at most 1 MiB.
MAX_WILD_HITS: Final = 100


@dataclass(frozen=True)
class LoadPlan:
    """The traffic of a run; equal plans offer equal traffic.

    Attributes:
        rate: hits a second, copies included.
        duration_s: for how long.
        sites: how many sites there are; those that get no frame are never made.
        zipf: the site of rank r gets a share proportional to 1 / r^zipf; 0 = all alike.
        late_percent: of the hits, with an event time 61 minutes to 20 hours before they are sent.
        out_of_order_percent: of the hits, with an event time up to 50 minutes before they are sent; all that are
            not late in the shape `wild`.
        duplicates_percent: of the hits, sent again 3 to 60 s later.
        bots_percent: of the visitors, with the user agent of a crawler.
        seed: of everything that is drawn.
        max_frame_hits: most hits of a frame.
        shape: what the hits are like: those of a shop, or as wild as they may be.
    """

    rate: float
    duration_s: float
    sites: int = 100
    zipf: float = 1.0
    late_percent: float = 0.0
    out_of_order_percent: float = 2.0
    duplicates_percent: float = 0.0
    bots_percent: float = 0.0
    seed: int = 1
    max_frame_hits: int = 100
    shape: str = SHAPES[0]

    @property
    def is_wild(self) -> bool:
        """Whether hits are as wild as they may be."""
        return self.shape == WILD

    @property
    def offered_out_of_order_percent(self) -> float:
        """Percent of the hits that happened up to 50 minutes before they are sent."""
        return ALL_PERCENT - self.late_percent if self.is_wild else self.out_of_order_percent

    @property
    def total_hits(self) -> int:
        """Hits to offer, at least 1."""
        return max(1, round(self.rate * self.duration_s))

    @property
    def frame_hits(self) -> int:
        """Hits of every frame but the last: as many as are allowed, and no more than happen in MAX_FRAME_S."""
        most = min(self.max_frame_hits, MAX_WILD_HITS) if self.is_wild else self.max_frame_hits
        return max(1, min(most, int(self.rate * MAX_FRAME_S)))

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return -(-self.total_hits // self.frame_hits)

    @cached_property
    def shares(self) -> Sequence[float]:
        """The share of the traffic of each site, by rank; they add up to 1."""
        weights = [rank**-self.zipf for rank in range(1, self.sites + 1)]
        total = sum(weights)
        return [weight / total for weight in weights]

    @cached_property
    def site_of_frames(self) -> Sequence[int]:
        """The site of each frame, as its rank from 0."""
        ends = list(accumulate(self.shares))
        return Random(f"sites-{self.seed}").choices(range(self.sites), cum_weights=ends, k=self.frames)

    @property
    def used_sites(self) -> Sequence[int]:
        """The sites that get hits, ascending."""
        return sorted(set(self.site_of_frames))

    def hits_of(self, frame: int) -> range:
        """Returns the numbers of a frame's hits, from 0."""
        first = frame * self.frame_hits
        return range(first, min(first + self.frame_hits, self.total_hits))

    def happens_ms(self, hit: int) -> int:
        """Returns when a hit happens, in ms after the start."""
        return int(hit * 1_000 / self.rate)

    def due_s(self, frame: int) -> float:
        """Returns when a frame is to be sent, in seconds after the start: when its last hit has happened."""
        return (self.hits_of(frame)[-1]) / self.rate


def site_name(site: int) -> str:
    """Returns the full name of a site by its rank from 0."""
    return f"{MERCHANT}/sites/load-{site + 1:0{SITE_DIGITS}d}"
