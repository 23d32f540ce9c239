"""The API's description follows the default rules of Redocly and Spectral."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.node import DOCUMENT

pytest_plugins = ["tests.support.node_plugin"]
pytestmark = pytest.mark.slow

Lint = Callable[[dict[str, Any]], set[str]]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
    monkeypatch.setenv("REDOCLY_TELEMETRY", "off")


@pytest.fixture
def lint(workshop: Path, run_node: Callable[..., str]) -> dict[str, Lint]:
    """Return what names the rules that a document breaks, by linter; warnings and hints count."""
    (workshop / ".spectral.json").write_text(json.dumps({"extends": ["spectral:oas"]}))

    def run(document: dict[str, Any], *command: str) -> Any:
        (workshop / "openapi.json").write_text(json.dumps(document))
        # What follows the JSON is for people.
        return json.JSONDecoder().raw_decode(run_node(*command, "--format=json", "openapi.json"))[0]

    return {
        "redocly": lambda document: {each["ruleId"] for each in run(document, "redocly", "lint")["problems"]},
        "spectral": lambda document: {each["code"] for each in run(document, "spectral", "lint", "--quiet")},
    }


@pytest.mark.parametrize("linter", ["redocly", "spectral"])
def test_description_breaks_no_rule(linter: str, lint: dict[str, Lint]) -> None:
    assert lint[linter](json.loads(DOCUMENT.read_text())) == set()


@pytest.mark.parametrize(
    ("linter", "broken"),
    [
        ("redocly", {"info-license", "operation-summary", "no-empty-servers"}),
        ("spectral", {"info-contact", "operation-tag-defined", "oas3-api-servers"}),
    ],
)
def test_a_broken_rule_would_be_found(linter: str, broken: set[str], lint: dict[str, Lint]) -> None:
    document = json.loads(DOCUMENT.read_text())
    del document["servers"], document["tags"], document["info"]["license"], document["info"]["contact"]
    del document["paths"]["/payments"]["get"]["summary"]
    assert broken <= lint[linter](document)
