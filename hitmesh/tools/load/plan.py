"""The plan of a load run: which hits are sent, and when. The plan is a pure function of the options.

The plan states the number of hits, their division into frames, the time of each hit and the site of each frame. An open
loop never waits for the mesh, so the plan does not depend on the mesh's speed or on the current time.
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
# Maximum time span of the hits in a frame, in seconds. If a frame covered a longer time, hits would wait longer before
# they are sent. Larger frames would save less time than the longer wait costs.
MAX_FRAME_S: Final = 0.1
SITE_DIGITS: Final = 4
WILD: Final = "wild"
SHAPES: Final = ("shop", WILD)
ALL_PERCENT: Final = 100.0
WILD_DEFAULTS: Final = {"late_percent": 20.0, "duplicates_percent": 5.0, "bots_percent": 5.0}
# Maximum hits per frame in the shape `wild`. Hits of the shape `wild` are large, and a batch is limited to 1 MiB.
MAX_WILD_HITS: Final = 100


@dataclass(frozen=True)
class LoadPlan:
    """The traffic of a run; equal plans have equal traffic.

    Attributes:
        rate: hits per second, including copies.
        duration_s: length of the run in seconds.
        sites: number of sites; a site without frames is never created.
        zipf: skew of the traffic; the site at rank r gets a share proportional to 1 / r^zipf, and 0 means equal shares.
        late_percent: percentage of hits that are sent 61 minutes to 20 hours after their event time.
        out_of_order_percent: percentage of hits that are sent up to 50 minutes after their event time; in the shape
            `wild`, all hits that are not late.
        duplicates_percent: percentage of hits that are sent a second time, 3 to 60 s later.
        bots_percent: percentage of visitors with a crawler's user agent.
        seed: seed for all random choices.
        max_frame_hits: maximum hits per frame.
        shape: `shop` for ordinary shop hits, `wild` for extreme hits.
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
        """Whether the shape is `wild`."""
        return self.shape == WILD

    @property
    def offered_out_of_order_percent(self) -> float:
        """Percentage of hits that are sent up to 50 minutes after their event time.

        In the shape `wild`, every hit that is not late is sent up to 50 minutes after its event time.
        """
        return ALL_PERCENT - self.late_percent if self.is_wild else self.out_of_order_percent

    @property
    def total_hits(self) -> int:
        """Number of hits to send, at least 1."""
        return max(1, round(self.rate * self.duration_s))

    @property
    def frame_hits(self) -> int:
        """Number of hits per frame: the smaller of `max_frame_hits` and the number of hits in MAX_FRAME_S seconds.

        The last frame may have fewer hits.
        """
        most = min(self.max_frame_hits, MAX_WILD_HITS) if self.is_wild else self.max_frame_hits
        return max(1, min(most, int(self.rate * MAX_FRAME_S)))

    @property
    def frames(self) -> int:
        """Number of frames."""
        return -(-self.total_hits // self.frame_hits)

    @cached_property
    def shares(self) -> Sequence[float]:
        """Traffic share per site, by rank; the sum is 1."""
        weights = [rank**-self.zipf for rank in range(1, self.sites + 1)]
        total = sum(weights)
        return [weight / total for weight in weights]

    @cached_property
    def site_of_frames(self) -> Sequence[int]:
        """The rank of the site for each frame; ranks begin at 0."""
        ends = list(accumulate(self.shares))
        return Random(f"sites-{self.seed}").choices(range(self.sites), cum_weights=ends, k=self.frames)

    @property
    def used_sites(self) -> Sequence[int]:
        """The ranks of the sites that get hits, in ascending order."""
        return sorted(set(self.site_of_frames))

    def hits_of(self, frame: int) -> range:
        """Return the numbers of a frame's hits; the first hit of the run has number 0."""
        first = frame * self.frame_hits
        return range(first, min(first + self.frame_hits, self.total_hits))

    def happens_ms(self, hit: int) -> int:
        """Return the time of a hit, in ms after the start."""
        return int(hit * 1_000 / self.rate)

    def due_s(self, frame: int) -> float:
        """Return the time at which to send a frame, in seconds after the start: the time of the frame's last hit."""
        return (self.hits_of(frame)[-1]) / self.rate


def site_name(site: int) -> str:
    """Return a site's full name; `site` is the site's rank, beginning at 0."""
    return f"{MERCHANT}/sites/load-{site + 1:0{SITE_DIGITS}d}"
