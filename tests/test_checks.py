"""Each system check, triggered once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections
from rest_framework.authentication import SessionAuthentication

from octo_stripe_gateway import checks, conf

NOTHING = dict.fromkeys(
    ("STRIPE_API_KEY", "STRIPE_PUBLISHABLE_KEY", "STRIPE_WEBHOOK_SECRET", "API_GATEWAY_KEY")
)


def get_ids(messages: list[Any]) -> list[str]:
    return [message.id.removeprefix("octo_stripe_gateway.") for message in messages]


def test_a_good_configuration_is_quiet() -> None:
    assert checks.check_settings() == []


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"STRIPE_KEY": "sk_test_1"}, "E001"),
        ({"STRIPE_API_KEY": "pk_test_1"}, "E002"),
        ({"STRIPE_PUBLISHABLE_KEY": "sk_test_1"}, "E002"),
        ({"STRIPE_WEBHOOK_SECRET": ["whsec_1", "secret"]}, "E002"),
        ({"STRIPE_WEBHOOK_SECRET": conf.BUILT_IN_WEBHOOK_SECRET}, "E003"),
        ({"STRIPE_API_KEY": "sk_live_1"}, "E004"),
        ({"PAYABLES": {"boat": "shop.Boat"}}, "E005"),
        ({"PAYABLES": {"boat": "Boat"}}, "E005"),
        ({"AUTHENTICATE": "shop.nowhere", "API_GATEWAY_KEY": None}, "E006"),
        ({"AUTHENTICATE": 7, "API_GATEWAY_KEY": None}, "E006"),
        ({"WEBHOOK_TOLERANCE": 0}, "E007"),
        ({"WEBHOOK_PROCESSING": "later"}, "E008"),
        ({"AUTHENTICATE": bool}, "W001"),
        ({"API_GATEWAY_KEY": None}, "W004"),
    ],
)
def test_what_is_wrong_is_said(configure: Callable[..., None], keys: dict[str, Any], expected: str) -> None:
    configure(**keys)
    assert get_ids(checks.check_settings()) == [expected]


def test_the_nearest_name_is_suggested(configure: Callable[..., None]) -> None:
    configure(STRIPE_SECRET_KEY="sk_test_1")
    (message,) = checks.check_settings()
    assert "STRIPE_API_KEY" in str(message.hint) or "STRIPE_WEBHOOK_SECRET" in str(message.hint)


def test_built_in_keys_are_pointed_out(configure: Callable[..., None], settings: Any) -> None:
    configure(STRIPE_API_KEY=None, STRIPE_PUBLISHABLE_KEY=None, STRIPE_WEBHOOK_SECRET=None)
    settings.DEBUG = True
    assert get_ids(checks.check_settings()) == ["I001"]


def test_what_is_missing_is_said_before_a_deployment(configure: Callable[..., None]) -> None:
    configure(**NOTHING)
    found = get_ids(checks.check_deployment())
    assert [number for number in found if number.startswith("E")] == ["E009", "E010", "E011", "E012"]


def test_classes_of_the_host_are_a_way_to_authenticate(configure: Callable[..., None]) -> None:
    configure(API_GATEWAY_KEY=None, AUTHENTICATION_CLASSES=[SessionAuthentication])
    assert get_ids(checks.check_settings()) == []
    assert "E012" not in get_ids(checks.check_deployment())


def test_a_test_key_in_production_is_pointed_out() -> None:
    assert "W002" in get_ids(checks.check_deployment())


def test_sqlite_in_production_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "sqlite")
    assert "W003" in get_ids(checks.check_deployment())
    monkeypatch.setattr(connections["default"], "vendor", "postgresql")
    assert "W003" not in get_ids(checks.check_deployment())
