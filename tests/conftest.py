from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.utils import translation

from octo_stripe_gateway.conf import ENVIRONMENT
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.support.api import GatewayApi

pytest_plugins = ["octo_stripe_gateway.testing.pytest_plugin", "tests.support.pgbouncer"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Keep a developer's own keys out of the tests."""
    for name in ENVIRONMENT.values():
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture(autouse=True)
def restore_language() -> Iterator[None]:
    """Leave a test's language to no other: Django's LocaleMiddleware activates one for good."""
    yield
    translation.deactivate()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Restore content types and permissions after a flush in bulk; Django does it slowly, app by app."""
    with django_db_blocker.unblock():
        content_types, permissions = list(ContentType.objects.all()), list(Permission.objects.all())

    def put_back(*_args: Any, **_options: Any) -> None:
        ContentType.objects.bulk_create(content_types)
        Permission.objects.bulk_create(permissions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.core.management.commands.flush.emit_post_migrate_signal", put_back)
        yield


@pytest.fixture
def configure(settings: Any) -> Callable[..., None]:
    """Change keys of OCTO_STRIPE_GATEWAY for one test; None removes a key."""

    def change(**keys: Any) -> None:
        changed = settings.OCTO_STRIPE_GATEWAY | keys
        settings.OCTO_STRIPE_GATEWAY = {name: value for name, value in changed.items() if value is not None}

    return change


@pytest.fixture
def payment(db: None) -> Payment:
    """The pending payment that the objects in `tests.support.objects` belong to."""
    return PaymentFactory.create(stripe_payment_intent_id="pi_1", intent_as_of=0)


@pytest.fixture
def api(client: Client) -> GatewayApi:
    return GatewayApi(client)
