"""The documents speak of what is there: paths, links, make targets and commands exist; nothing names a machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hitmesh.cli.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "envoy/README.md", "k8s/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
# The two pages of the whole design name parts that later releases build.
BUILT = [page for page in PAGES if page.name not in ("architecture.md", "rules.md")]
_TOP = "hitmesh|collector|processor|reporter|tests|dev|envoy|proto|docs|k8s"


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.mark.parametrize("page", names(BUILT))
def test_every_path_that_is_named_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(rf"`((?:{_TOP})/[\w./-]+)`", text))
    missing = sorted(path for path in named if not (ROOT / path).exists())
    assert not missing


@pytest.mark.parametrize("page", names(PAGES))
def test_every_link_leads_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    assert not [link for link in links if not (path.parent / link).exists()]


@pytest.mark.parametrize("page", names(BUILT))
def test_every_make_target_and_command_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", text)) <= targets
    assert set(re.findall(r"`hitmesh ([a-z]+)", text)) <= set(COMMANDS)


def test_no_page_names_a_machine_or_a_registry() -> None:
    forbidden = re.compile(r"/(?:work|root|home/[a-z]+|tmp/w)/|pypi\.org|proxy\.golang|repo1?\.maven|registry\.npmjs")
    assert not [page for page in names(PAGES) if forbidden.search((ROOT / page).read_text(encoding="utf-8"))]


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs/decisions").glob("0*.md")}
    assert pages == set(re.findall(r"\((0[\w-]+\.md)\)", index))
