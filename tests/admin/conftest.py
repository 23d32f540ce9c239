from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client


@pytest.fixture
def make_staff() -> Callable[..., Client]:
    """Log a member of staff in who has these permissions, or all of them."""

    def make(*codenames: str) -> Client:
        user = User.objects.create_user(f"staff-{uuid.uuid4()}", is_staff=True, is_superuser=not codenames)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return make
