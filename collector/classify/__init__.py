"""Classification at admission: what a hit's user agent, referrer and campaign say (decision 0010, rules §9).

Strings in, small words out: device type, browser, operating system, bot or not; referring host, channel,
source, medium. They are stored beside the raw strings with the lists' version, so a settlement can classify
anew. Nothing here knows of keys, sites or streams.
"""

from __future__ import annotations

from collector.classify.classifier import Classifier

__all__ = ["Classifier"]
