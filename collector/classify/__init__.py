"""Classifies a hit's user agent, referrer and campaign at admission (decision 0010, rules §9).

The result is a set of short words. Device type, browser, operating system and bot flag come from the user agent.
Referrer host, channel, source and medium come from referrer and campaign. The words are stored next to the raw strings,
with the versions of the lists. Settlement can therefore classify the strings again.
"""

from __future__ import annotations

from collector.classify.classifier import Classifier

__all__ = ["Classifier"]
