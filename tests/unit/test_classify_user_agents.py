"""Test that bots are recognised exactly as in the published list, and that device types are recognised."""

# ruff: noqa: E501  # user agents are as long as they are

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest
from crawleruseragents import is_crawler

from collector.classify.bots import CrawlerSet, empty_automaton, is_added, listed_patterns
from collector.classify.devices import DeviceType
from collector.classify.monitors import MONITORS
from collector.classify.user_agents import NO_USER_AGENT, UserAgentReader

DEVICE_TYPES = get_args(DeviceType)

ACCESS_LOG = Path(__file__).parents[3] / "shared" / "data" / "access.log"


@pytest.fixture(scope="module")
def crawlers() -> CrawlerSet:
    return CrawlerSet(listed_patterns())


def outside_automaton(patterns: Iterable[str]) -> list[str]:
    """Return the patterns that Python must match, because RE2 cannot."""
    automaton = empty_automaton()
    return [pattern for pattern in patterns if not is_added(automaton, pattern)]


@pytest.fixture(scope="module")
def reader() -> UserAgentReader:
    return UserAgentReader()


def test_bots_of_the_real_log_are_those_of_the_published_function(crawlers: CrawlerSet) -> None:
    if not ACCESS_LOG.exists():
        pytest.skip(f"{ACCESS_LOG.name} is not there")
    lines = ACCESS_LOG.read_text(errors="replace").splitlines()
    agents = {part[5] for line in lines if len(part := line.split('"')) > 5}
    assert len(agents) > 500
    assert {agent for agent in agents if crawlers.matches(agent)} == {agent for agent in agents if is_crawler(agent)}


def test_every_listed_pattern_is_in_the_automaton_and_finds_its_own_words(crawlers: CrawlerSet) -> None:
    assert outside_automaton(listed_patterns()) == []
    plain = [
        pattern.replace("\\", "")
        for pattern in listed_patterns()
        if not re.search(r"[\[\](){}|^$*+?]|\\[a-z]", pattern)
    ]
    assert len(plain) > 1_000
    assert all(crawlers.matches(f"Mozilla/5.0 (compatible; {word})") for word in plain)


def test_bots_of_mutilated_user_agents_are_those_of_the_published_function(crawlers: CrawlerSet) -> None:
    chance = random.Random(20260715)
    words = [re.sub(r"\\(.)", r"\1", pattern) for pattern in listed_patterns()]
    alphabet = [*"aAbt1/.;- \n\t\0", "é", "٣", "日", "🤖", "\u202e"]
    for _ in range(2_000):
        word = list(chance.choice(words))
        for _ in range(chance.randrange(4)):
            word.insert(chance.randrange(len(word) + 1), chance.choice(alphabet))
        agent = chance.choice(["", "x ", "Mozilla/5.0 "]) + "".join(word) + chance.choice(["", "\n", " z"])
        assert crawlers.matches(agent) == is_crawler(agent), repr(agent)


@pytest.mark.parametrize(
    ("pattern", "agent", "found"),
    [
        (r"Bot$", "a Bot", True),
        (r"Bot$", "a Bot\n", True),
        (r"Bot$", "a Bot\n\n", False),
        (r"v\d", "v٣", True),
        (r"\bBot", "éBot", False),
        (r"Bot(?!anic)", "Botanic", False),
        (r"Bot(?!anic)", "Bots", True),
        (r"a[\s\S]*z", "a\n\u2028z", True),
    ],
)
def test_patterns_mean_what_python_means_by_them(pattern: str, agent: str, found: bool) -> None:
    assert CrawlerSet([pattern]).matches(agent) is found
    assert bool(re.search(pattern, agent)) is found


@pytest.mark.parametrize(
    "agent",
    [
        "ELB-HealthChecker/2.0",
        "GoogleHC/1.0",
        "kube-probe/1.31",
        "Envoy/HC",
        "Amazon-Route53-Health-Check-Service (ref 1; report http://amzn.to/1vsZADi)",
        "Edge Health Probe",
        "Consul Health Check",
        "Prometheus/2.53.0",
        "Blackbox Exporter/0.25.0",
        "check_http/v2.3.3 (nagios-plugins 2.3.3)",
        "Uptime-Kuma/1.23.13",
        "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
        "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
        "Mozilla/5.0 (Windows NT 6.1; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/98.0.4758.102 Safari/537.36 StatusCake",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 DatadogSynthetics",
        "DigitalOcean Uptime Probe 0.22.0 (https://digitalocean.com)",
    ],
)
def test_health_checks_and_monitors_are_robots(reader: UserAgentReader, agent: str) -> None:
    assert (reader.read(agent).is_bot, reader.read(agent).device_type) == (True, "bot")


def test_every_pattern_of_a_monitor_is_in_the_automaton() -> None:
    assert outside_automaton(MONITORS) == []


def test_the_own_list_takes_no_browser_of_the_real_log_for_a_monitor() -> None:
    if not ACCESS_LOG.exists():
        pytest.skip(f"{ACCESS_LOG.name} is not there")
    monitors = CrawlerSet(MONITORS)
    agents = {
        part[5] for line in ACCESS_LOG.read_text(errors="replace").splitlines() if len(part := line.split('"')) > 5
    }
    assert {agent for agent in agents if monitors.matches(agent) and not is_crawler(agent)} == set()


def test_an_empty_user_agent_is_no_bot(crawlers: CrawlerSet, reader: UserAgentReader) -> None:
    assert not crawlers.matches("")
    assert reader.read("") == reader.read("   ") == NO_USER_AGENT


@pytest.mark.parametrize(
    ("device", "browser", "os", "agent"),
    [
        ("desktop", "Chrome", "Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"),
        ("desktop", "Firefox", "Ubuntu", "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:26.0) Gecko/20100101 Firefox/26.0"),
        ("desktop", "Safari", "Mac OS X", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Safari/605.1.15"),
        ("desktop", "IE", "Windows", "Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Trident/5.0; Tablet PC 2.0)"),
        ("desktop", "Chrome", "Chrome OS", "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"),
        ("mobile", "Mobile Safari", "iOS", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1"),
        ("mobile", "Chrome Mobile", "Android", "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36"),
        ("mobile", "Opera Mini", "Other", "Opera/9.80 (J2ME/MIDP; Opera Mini/7.1.32052/34.1244; U; en) Presto/2.8.119 Version/11.10"),
        ("mobile", "Android", "Android", "Dalvik/1.6.0 (Linux; U; Android 4.1.2; GT-I8190 Build/JZO54K)"),
        ("mobile", "Other", "Other", "SAMSUNG-SGH-E250/1.0"),
        ("tablet", "Mobile Safari", "iOS", "Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.0 Mobile/15E148 Safari/604.1"),
        ("tablet", "Android", "Android", "Mozilla/5.0 (Linux; U; Android 4.1.2; it-it; GT-P3100 Build/JZO54K) AppleWebKit/534.30 (KHTML, like Gecko) Version/4.0 Safari/534.30"),
        ("tv", "Chrome", "Web0S", "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/79.0.3945.79 Safari/537.36 WebAppManager"),
        ("console", "Edge", "Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox Series X) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 Edge/44.18363.8131"),
        ("bot", "curl", "Other", "curl/8.0.1"),
        ("other", "Other", "Other", "IrssiUrlLog/0.2"),
        ("other", "fetch libfetch", "Other", "fetch libfetch/2.0"),
    ],
)  # fmt: skip
def test_device_browser_and_system_of_usual_user_agents(
    reader: UserAgentReader, device: str, browser: str, os: str, agent: str
) -> None:
    assert reader.read(agent)[:3] == (device, browser, os)
    assert device in DEVICE_TYPES


def test_no_user_agent_raises(reader: UserAgentReader) -> None:
    chance = random.Random(7)
    for _ in range(500):
        agent = "".join(
            chr(chance.choice((0, 10, 32, 47, 59, 65, 233, 0x202E, 0x1F916, chance.randrange(0xD800))))
            for _ in range(chance.randrange(60))
        )
        assert reader.read(agent).device_type in {*DEVICE_TYPES, None}
