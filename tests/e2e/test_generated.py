"""Send a generated file to the real mesh, and compare with the reference model. The file has all edge cases of visits.

The comparison is repeated four times: after all hits are sent twice in another order, after `kill -9` of every process
during sending, after a restart, and after a second file. The second file has hits on settled days (vectors S-k and
S-l).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from random import Random

import pytest

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.control.v1 import admin_pb2
from hitmesh.model.sites import Site
from tests.e2e.conftest import running_mesh
from tests.generate.facts import SHOPS
from tests.generate.hits import DAYS, FIRST_DAY, generate_hits, second_file
from tests.reference.hits import RefHit
from tests.support.comparison import Model, Question, ask, assert_equal, by_zone, questions
from tests.support.mesh import Mesh
from tests.support.messages import message_of
from tests.support.streams import StreamClient, in_batches, send_all
from tests.support.tenants import authorized, new_merchant

SPAN = (FIRST_DAY - timedelta(days=3), FIRST_DAY + timedelta(days=DAYS + 2))
CURRENCIES = {shop.site: shop.currency for shop in SHOPS}
COPIES = frozenset({"duplicate_hits"})
PART = 8_000
"""Number of hits in the short file, which contains every scenario and few random visitors."""


@pytest.fixture(scope="module", params=[PART, pytest.param(50_000, marks=pytest.mark.long)])
def first(request: pytest.FixtureRequest) -> list[RefHit]:
    """Return the generated hits of three sites of two merchants."""
    count: int = request.param
    return generate_hits(seed=1, count=count)


@pytest.fixture(scope="module")
def own_mesh(first: list[RefHit], tmp_path_factory: pytest.TempPathFactory, backend: tuple[str, ...]) -> Iterator[Mesh]:
    """Return a separate mesh for each size of the file."""
    assert first
    yield from running_mesh(Mesh(tmp_path_factory.mktemp("generated") / "home", backend=backend))


@pytest.fixture(scope="module")
def model(first: list[RefHit]) -> Model:
    return Model(first)


@pytest.fixture(scope="module")
def keys(own_mesh: Mesh, first: list[RefHit]) -> dict[str, str]:
    """Send the file, wait until reports contain its hits, and return each site's key."""
    found = make_sites(own_mesh)
    send(own_mesh, found, first, "first")
    return found


def make_sites(mesh: Mesh) -> dict[str, str]:
    """Create the sites of the generated file, and return each site's key."""
    other = [
        Site(name=shop.site, time_zone="UTC", currency=shop.currency, secret=b"sixteen or more b")
        for shop in SHOPS
        if not shop.site.startswith("merchants/demo/")
    ]
    other_key = new_merchant(mesh, "merchants/other", *other)
    for shop in SHOPS:
        if shop.site.startswith("merchants/demo/"):
            create_site(mesh, shop.site, shop.currency)
    return {shop.site: mesh.key if shop.site.startswith("merchants/demo/") else other_key for shop in SHOPS}


def create_site(mesh: Mesh, site: str, currency: str) -> None:
    merchant, _, site_id = site.partition("/sites/")
    request = admin_pb2.CreateSiteRequest(parent=merchant, site_id=site_id, site=admin_pb2.Site(currency=currency))
    mesh.admin().CreateSite(request, metadata=authorized(mesh.key), timeout=10)


def send(mesh: Mesh, keys: dict[str, str], hits: Sequence[RefHit], prefix: str) -> None:
    """Send hits in the given order on one stream per site, and block until reports show the hits."""
    receipts: dict[str, list[collector_pb2.Receipt]] = {}
    channel = mesh.channel()
    for site, key in keys.items():
        of_site = [message_of(hit) for hit in hits if hit.site == site]
        reported = send_all(channel, key, site, in_batches(of_site, prefix))
        assert reported.accepted == len(of_site), reported.issues[:3]
        receipts[site] = reported.receipts
    for site, places in receipts.items():
        mesh.wait_visible(site, places)


def assert_everything(mesh: Mesh, model: Model, *, share: int) -> None:
    """Compare every metric by every grain, zone and dimension, with and without excluded hits.

    For each site, only every `share`-th question is asked. If three sites and a `share` of 3 are given, each question
    is asked for one of the sites.
    """
    for number, site in enumerate(model.sites):
        _assert_equal(mesh, model, list(questions(site, *SPAN, CURRENCIES[site]))[number % share :: share])


def assert_time_series(mesh: Mesh, model: Model, *, include_excluded: bool) -> None:
    """Compare every metric, except the number of copies, by day and by hour in four zones."""
    for site in model.sites:
        plain = Question(site, *SPAN, currency=CURRENCIES[site], include_excluded=include_excluded)
        _assert_equal(mesh, model, [*by_zone(plain, "DAY"), *by_zone(plain, "HOUR")], COPIES)


def _assert_equal(mesh: Mesh, model: Model, questions: list[Question], without: frozenset[str] = frozenset()) -> None:
    reporter = mesh.reporter()
    for question in questions:
        expected = model.answer(question)
        assert expected, f"nothing is compared by {question}"
        assert_equal(ask(reporter, question), expected, question, without)


def total(mesh: Mesh, site: str, metric: str) -> int:
    """Return the total of a metric over all days, including excluded hits."""
    question = Question(site, *SPAN, metrics=(metric,), include_excluded=True)
    value = ask(mesh.reporter(), question).get(("",), {}).get(metric, 0)
    assert isinstance(value, int)
    return value


@pytest.mark.timeout(180)
def test_every_metric_equals_the_model_in_four_zones(
    own_mesh: Mesh, keys: dict[str, str], first: list[RefHit], model: Model
) -> None:
    assert len(model.sites) == len(SHOPS) == 3
    assert_everything(own_mesh, model, share=1 if len(first) > 2 * PART else 3)


@pytest.mark.long  # `make test` imports two real files twice (test_real_files)
@pytest.mark.timeout(120)
def test_sending_everything_again_in_another_order_changes_only_the_count_of_copies(
    own_mesh: Mesh, keys: dict[str, str], first: list[RefHit], model: Model
) -> None:
    again = list(first)
    Random(3).shuffle(again)
    copies = {site: total(own_mesh, site, "duplicate_hits") for site in keys}
    send(own_mesh, keys, again, "again")
    for site in keys:
        assert total(own_mesh, site, "duplicate_hits") == copies[site] + sum(hit.site == site for hit in first)
    assert_time_series(own_mesh, model, include_excluded=True)


@pytest.mark.long
@pytest.mark.timeout(90)
def test_a_restart_changes_no_report(own_mesh: Mesh, keys: dict[str, str], model: Model) -> None:
    assert own_mesh.stop() == 0
    own_mesh.start()
    assert_time_series(own_mesh, model, include_excluded=False)


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_second_file_that_reaches_into_settled_days_makes_the_reports_of_the_model(
    own_mesh: Mesh, keys: dict[str, str], first: list[RefHit]
) -> None:
    second = second_file(first)
    send(own_mesh, keys, second, "second")
    assert_time_series(own_mesh, Model([*first, *second]), include_excluded=False)


@pytest.mark.long  # `make test` runs test_crash, which kills every process too
@pytest.mark.timeout(240)
def test_killing_every_process_in_the_middle_of_a_stream_loses_nothing_and_counts_nothing_twice(
    idle_mesh: Mesh, first: list[RefHit], model: Model
) -> None:
    mesh = idle_mesh
    mesh.start()
    keys = make_sites(mesh)
    acknowledged = _kill_in_the_middle(mesh, keys, first)
    mesh.start()
    _assert_acknowledged_hits_survived(mesh, acknowledged, SHOPS[0].site)
    # Send everything again while settlement is in progress.
    channel = mesh.channel()
    for site, key in keys.items():
        send_all(channel, key, site, in_batches([message_of(hit) for hit in first if hit.site == site], "second try"))
    mesh.kill_everything()
    mesh.start()
    send(mesh, keys, first, "third try")
    assert_time_series(mesh, model, include_excluded=False)
    assert mesh.stop() == 0


def _kill_in_the_middle(mesh: Mesh, keys: dict[str, str], hits: Sequence[RefHit]) -> collector_pb2.Ack:
    """Kill every process of the mesh when a third of a stream is acknowledged.

    Return the acknowledgements that arrived before the kill.
    """
    site = SHOPS[0].site
    batches = in_batches([message_of(hit) for hit in hits if hit.site == site], "first try")
    with StreamClient(mesh.channel(), keys[site], site) as stream:
        for batch in batches[: len(batches) * 2 // 3]:
            stream.send(batch)
        stream.wait_acked(len(batches) // 3)
        promised = collector_pb2.Ack(accepted_count=stream.reported.accepted, receipts=stream.reported.receipts)
        mesh.kill_everything()
    return promised


def _assert_acknowledged_hits_survived(mesh: Mesh, promised: collector_pb2.Ack, site: str) -> None:
    mesh.wait_visible(site, promised.receipts)
    stored = total(mesh, site, "hits") + total(mesh, site, "duplicate_hits")
    assert stored >= promised.accepted_count > 0
