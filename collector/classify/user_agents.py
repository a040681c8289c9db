"""Reads device type, browser and operating system from a user agent.

Decides whether the client identifies itself as a robot. Uses ua-parser's rules (compiled by ua-parser-rs) and the lists
of crawlers and monitors. Hits of a bot get the flag BOT_UA. Hits with the flag BOT_UA are stored, but reports exclude
the flagged hits by default.
"""

from __future__ import annotations

from typing import NamedTuple

from ua_parser.regex import Resolver
from ua_parser_builtins.lazy import MATCHERS

from collector.classify.bots import CrawlerSet, listed_patterns
from collector.classify.devices import device_type
from collector.classify.monitors import MONITORS

OTHER_FAMILY = "Other"  # ua-parser's word for an unknown family


class UserAgentClass(NamedTuple):
    """Browser and operating system are ua-parser's names without versions.

    Without a user agent, all three words are null.
    """

    device_type: str | None
    browser: str | None
    os: str | None
    is_bot: bool


NO_USER_AGENT = UserAgentClass(None, None, None, False)


class UserAgentReader:
    """Holds the compiled rules, which take about 0.2 s and 30 MiB to build. Immutable once built."""

    def __init__(self) -> None:
        # ua-parser's lazy matchers hold the expressions as text. The eager matchers of ua-parser would also compile
        # each expression with Python's `re`.
        browsers, systems, devices = MATCHERS
        self._rules = Resolver(([*browsers], [*systems], [*devices]))
        self._crawlers = CrawlerSet((*listed_patterns(), *MONITORS))

    def read(self, user_agent: str) -> UserAgentClass:
        """Return the class of a user agent, or NO_USER_AGENT for an empty or blank string."""
        if not user_agent or user_agent.isspace():
            return NO_USER_AGENT
        browser = self._rules.ua.extract(user_agent)
        system = self._rules.os.extract(user_agent)
        os_family = system.family if system else None
        is_bot = self._crawlers.matches(user_agent)
        return UserAgentClass(
            "bot" if is_bot else self._device_type(user_agent, os_family),
            browser.family if browser else OTHER_FAMILY,
            os_family or OTHER_FAMILY,
            is_bot,
        )

    def _device_type(self, user_agent: str, os_family: str | None) -> str:
        device = self._rules.de.extract(user_agent)
        return device_type(user_agent, os_family, device.brand if device else None)
