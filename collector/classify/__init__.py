"""Classification at admission: what a hit's user agent, referrer and campaign mean (decision 0010, rules §9).

Strings in, short words out: device type, browser, operating system, bot flag; referrer host, channel, source, medium.
The words are stored beside the raw strings with the lists' version, so that a settlement can classify again. Knows
nothing about keys, sites or streams.
"""

from __future__ import annotations

from collector.classify.classifier import Classifier

__all__ = ["Classifier"]
