"""Classifies a hit's user agent, referrer and campaign at admission (decision 0010, rules §9).

The result is a set of short words: device type, browser, operating system and bot flag; referrer host, channel, source
and medium. The resulting words are stored next to the raw strings, with the versions of the lists, so that settlement
can classify the strings again.
"""

from __future__ import annotations

from collector.classify.classifier import Classifier

__all__ = ["Classifier"]
