"""Callers of every kind, told apart by one `IDENTIFY_CALLER`."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission, User
from django.http import HttpRequest
from django.test import Client
from rest_framework.request import Request

from octo_stripe_gateway.api.authentication import GatewayAuthentication
from tests.support.api import GatewayApi

KEYS = {"": "gateway-key", "viator": "viator-key", "klook": ["klook-key", "klook-key-old"]}


def authenticate(request: HttpRequest) -> Any:
    """Let in a key's holder, a user by name, or any other name."""
    if "Authorization" in request.headers:
        return GatewayAuthentication().authenticate_by_key(Request(request))[0]
    if username := request.headers.get("X-User"):
        return User.objects.get(username=username)
    return request.headers.get("X-Name")


class CallerApi(GatewayApi):
    """Calls as one caller: `key:viator-key`, `user:ann`, `name:guest`, or nobody."""

    def __init__(self, caller: str) -> None:
        super().__init__(Client(), key="")
        kind, _colon, name = caller.partition(":")
        headers = {
            "key": {"Authorization": f"Bearer {name}"},
            "user": {"X-User": name},
            "name": {"X-Name": name},
        }
        self.own_headers = headers.get(kind, {})

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        return super().request(method, path, body, **self.own_headers | options)


def make_user(username: str, *permissions: str, **fields: Any) -> User:
    user = User.objects.create(username=username, **fields)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=permissions, content_type__app_label="octo_stripe_gateway")
    )
    return user
