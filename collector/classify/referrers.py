"""Finds the search engine, social network, AI assistant, web mail or payment provider behind a host.

The table `data/referrers.json` lists known sites and apps. The table `data/spammers.json` lists hosts that send
referrer spam. `dev/make_referrers.py` makes the two tables. The module `own_lists` adds sites and apps that
`data/referrers.json` lacks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any, Final, NamedTuple, cast

from collector.classify.hosts import Place, place_of
from collector.classify.own_lists import MORE_PLACES, SOURCE_WORDS, WEBMAIL_HOSTS, Kind
from collector.urls import ascii_host
from hitmesh.model.payment_hosts import PAYMENT_HOSTS

# Two-letter top-level domains of countries (ISO 3166-1, with eu and uk). In a host pattern, `{}` stands for any
# country's domain.
COUNTRIES: Final = frozenset(
    """
    ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo bq br bs bt
    bv bw by bz ca cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg eh
    er es et eu fi fj fk fm fo fr ga gb gd ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr
    ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn kp kr kw ky kz la lb lc li lk lr
    ls lt lu lv ly ma mc md me mf mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng
    ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se
    sg sh si sj sk sl sm sn so sr ss st su sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz
    ua ug uk um us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw
    """.split()  # noqa: SIM905  # 250 quoted words would take a page
)
_KIND_OF_WORD: Final = {word: kind for kind, words in SOURCE_WORDS.items() for word in words.split()}
_LISTED: Final[tuple[Kind, ...]] = ("ai", "social", "search")  # if two kinds list the same pattern, the first counts
_SECOND_LEVEL = frozenset({"com", "co", "org", "net", "edu", "gov", "or", "ne", "ac"})
# If a label that matches _NEUTRAL precedes a search engine's host, the host still belongs to the search engine. If any
# other label (mail., docs.) precedes the host, the host belongs to another service.
_NEUTRAL = re.compile(r"(?:www\d*|m|mobile|wap|amp|search|r|l|ssl|encrypted)")
_SEARCH_PART = re.compile(r"(?:search|suche)\.")


class Origin(NamedTuple):
    """The kind of a site or app, such as "search", and its name, such as "Google".

    `name` is null if the kind is "site" or "none".
    """

    kind: Kind
    name: str | None


NO_ORIGIN: Final = Origin("none", None)
AN_ORDINARY_SITE: Final = Origin("site", None)


class ReferrerTable:
    """Finds the kind and the name of a site or app by its host, app package or path. Immutable once built."""

    def __init__(
        self,
        state: str,
        kinds: Mapping[Kind, Mapping[str, list[str]]],
        spam_state: str = "",
        spammers: Iterable[str] = (),
    ) -> None:
        """Build the table; if two kinds list the same pattern, the first kind counts.

        Args:
            state: date of the lists as `YYYY-MM-DD`.
            kinds: for each kind, the names of sites and apps with their patterns, `host[/path]`; `{}` stands for any
                single country.
            spam_state: date of the spammer list.
            spammers: spam hosts; each entry covers all subdomains of the host.
        """
        self.state = state
        self.spam_state = spam_state
        self._spammers = frozenset(spammers)
        # Maps a host to pairs (path or "", origin), the longest path first. If the host's pattern contains `{}`, the
        # key contains `{}` too.
        self._places: dict[str, tuple[tuple[str, Origin], ...]] = {}
        for kind, names in kinds.items():
            for name, patterns in names.items():
                for pattern in patterns:
                    host, slash, path = pattern.partition("/")
                    self._add(host, slash + path, Origin(kind, name))

    def _add(self, host: str, path: str, origin: Origin) -> None:
        known = self._places.get(host, ())
        if all(path != other for other, _ in known):
            self._places[host] = tuple(sorted((*known, (path, origin)), key=lambda entry: -len(entry[0])))

    def origin_of(self, place: Place) -> Origin:
        """Return the kind and the name of the site or app in a referrer.

        If several entries match, the entry with the most specific host counts. Among entries with the same host, the
        entry with the longest path counts.
        """
        if place.is_app:
            return self._listed(place.host, "") or AN_ORDINARY_SITE
        labels = place.host.split(".")
        for start in range(len(labels) - 1):
            for pattern in _patterns_of(labels[start:]):
                origin = self._listed(pattern, place.path)
                if origin is not None and _holds_below(origin.kind, labels[:start], pattern):
                    return origin
        return AN_ORDINARY_SITE

    def _listed(self, host: str, path: str) -> Origin | None:
        for listed, origin in self._places.get(host, ()):
            if not listed or path == listed or path.startswith(listed + "/"):
                return origin
        return None

    def origin_of_referrer(self, referrer: str) -> tuple[str | None, Origin]:
        """Return a referrer's host and origin.

        If the referrer is a payment provider, the result is the same as without a referrer.
        """
        place = place_of(referrer)
        if place is None:
            return None, NO_ORIGIN
        origin = self.origin_of(place)
        if origin.kind == "payment":
            return None, NO_ORIGIN
        return place.host, origin

    def is_spammer(self, host: str) -> bool:
        """Return whether a host or one of its parent domains is listed for referrer spam."""
        host = ascii_host(host)
        while host not in self._spammers:
            _, dot, host = host.partition(".")
            if not dot:
                return False
        return True

    def kind_of_source(self, source: str) -> Kind:
        """Return the kind of site or app that a lower-case `utm_source` names, or "none".

        The source may be a word from SOURCE_WORDS, a URL, a host with or without a path, or an app package. URLs, hosts
        and packages are looked up like a referrer, in the same table.
        """
        known = _KIND_OF_WORD.get(source)
        if known is not None or "." not in source:
            return known or "none"
        place = place_of(source if "://" in source else "http://" + source)
        kind = self.origin_of(place).kind if place else "none"
        return "none" if kind in {"site", "payment"} else kind


def _patterns_of(labels: list[str]) -> Iterator[str]:
    """Yield a host unchanged, then with `{}` in place of the top-level domain.

    Last, yield the host with `{}` in place of a country label.
    """
    yield ".".join(labels)
    if labels[-1] in COUNTRIES:
        second = len(labels) > 2 and labels[-2] in _SECOND_LEVEL
        yield ".".join((*labels[: -2 if second else -1], "{}"))
    for at, label in enumerate(labels[:2]):
        if label in COUNTRIES and at < len(labels) - 2:
            yield ".".join((*labels[:at], "{}", *labels[at + 1 :]))


def _holds_below(kind: Kind, front: list[str], pattern: str) -> bool:
    """Return whether the entry for a host also applies to a subdomain, whose labels before the host are `front`."""
    if kind != "search" or not front:
        return True
    if _SEARCH_PART.match(pattern):
        return True
    return all(_NEUTRAL.fullmatch(label) or label in COUNTRIES for label in front)


def load_table() -> ReferrerTable:
    """Return the project's table merged with `own_lists`.

    If several kinds list a pattern, the order of precedence is payment, email, AI, social, search.
    """
    table, spam = _table("referrers.json"), _table("spammers.json")
    webmail: dict[str, list[str]] = {}
    for host, name in WEBMAIL_HOSTS.items():
        webmail.setdefault(name, []).append(host)
    return ReferrerTable(
        table["state"],
        {
            "payment": {"payment": PAYMENT_HOSTS},
            "email": webmail,
            **{kind: _joined(table[kind], MORE_PLACES[kind]) for kind in _LISTED},
        },
        spam["state"],
        spam["hosts"],
    )


def _table(file: str) -> dict[str, Any]:
    text = (files("collector.classify") / "data" / file).read_text(encoding="utf-8")
    return cast(dict[str, Any], json.loads(text))


def _joined(names: Mapping[str, list[str]], more: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name: [*names.get(name, ()), *more.get(name, ())] for name in dict.fromkeys((*names, *more))}
