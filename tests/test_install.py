"""The wheel, installed into an empty project as the README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).parent.parent
README = ROOT.joinpath("README.md").read_text()
SITE = "http://127.0.0.1:8765"
EMULATOR = "http://127.0.0.1:8421"
WEBHOOKS = f"{SITE}/shop/pay/webhooks/"

TYPED_HOST = """
from typing import Any

from django.dispatch import receiver
from rest_framework.permissions import IsAdminUser

from octo_stripe_gateway import services

from octo_stripe_gateway.inbox import register
from octo_stripe_gateway.models import Payment, PaymentQuerySet, WebhookEvent
from octo_stripe_gateway.signals import payment_succeeded
from octo_stripe_gateway.urls import get_urls
from octo_stripe_gateway.views import PaymentViewSet
from octo_stripe_gateway.webhooks import WebhookView


class HostViewSet(PaymentViewSet):
    permission_classes = (IsAdminUser,)

    def get_queryset(self) -> PaymentQuerySet:
        return super().get_queryset().filter(metadata__user="1")

    def get_create_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return super().get_create_parameters({**parameters, "metadata": {"user": "1"}})


class HostWebhooks(WebhookView):
    def get_secrets(self) -> dict[str, list[str]]:
        return {"": ["whsec_1"]}


@register("invoice.paid")
def note(event: WebhookEvent, payment: Payment | None) -> None:
    print(event.type, payment and payment.status)


@receiver(payment_succeeded)
def confirm(payment: Payment, **kwargs: Any) -> None:
    print(payment.amount_refundable)


def choose(payment: Payment) -> str:
    return "tokyo"


def pay() -> str:
    created = services.create_payment(2000, currency="usd")
    services.refund_payment(created.payment, amount=500)
    return created.client_secret


urlpatterns = get_urls(viewset=HostViewSet, webhook_view=HostWebhooks)
"""
MYPY = """
[mypy]
strict = True
plugins = mypy_django_plugin.main, mypy_drf_plugin.main
[mypy-host.settings]
ignore_errors = True
[mypy.plugins.django-stubs]
django_settings_module = host.settings
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)])
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("host")
    run([sys.executable, "-m", "venv", str(folder / "venv")])
    run([str(folder / "venv/bin/pip"), "install", "-q", f"{wheel}[emulator]"])
    run([str(folder / "venv/bin/django-admin"), "startproject", "host", str(folder)])
    settings, urls = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[:2]
    with (folder / "host/settings.py").open("a") as file:
        file.write(settings)
    with (folder / "host/urls.py").open("a") as file:
        file.write(urls.replace("bookings/", "shop/pay/"))
    manage(folder, "migrate", "--verbosity=0")
    return folder


def run(command: list[str], **options: Any) -> None:
    subprocess.run(command, check=True, env=get_environment(), **options)


def get_environment() -> dict[str, str]:
    ours = ("DJANGO_", "DATABASE_URL", "STRIPE_", "OSG_", "PYTHONPATH", "COV_", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def get_manage(project: Path, *arguments: str) -> list[str]:
    return [str(project / "venv/bin/python"), str(project / "manage.py"), *arguments]


def manage(project: Path, *arguments: str) -> None:
    run(get_manage(project, *arguments), cwd=project)


@contextmanager
def serve(project: Path, *arguments: str, url: str) -> Iterator[None]:
    process = subprocess.Popen(get_manage(project, *arguments), cwd=project, env=get_environment())
    try:
        wait_for(url)
        yield
    finally:
        process.terminate()
        process.wait(10)


def wait_for(url: str) -> None:
    for _attempt in range(100):
        try:
            requests.get(url, timeout=5)
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"{url} does not answer")


def call(method: str, path: str, body: Any = None) -> Any:
    headers = {"Authorization": "Bearer a-long-random-key"}
    url = f"{SITE}/shop/pay{path}"
    return requests.request(method, url, json=body, headers=headers, timeout=10).json()


def wait_for_status(payment: Any, status: str) -> None:
    for _attempt in range(50):
        if call("GET", f"/payments/{payment['uuid']}")["status"] == status:
            return
        time.sleep(0.1)
    pytest.fail(f"the payment does not become {status}")


def pay(payment: Any) -> None:
    answer = requests.post(
        f"{EMULATOR}/v1/payment_intents/{payment['stripePaymentIntentId']}/confirm",
        {"payment_method": "pm_card_visa", "return_url": SITE},
        headers={"Authorization": "Bearer sk_test_anyone"},
        timeout=10,
    )
    assert answer.ok, answer.text


def test_the_wheel_has_what_a_host_needs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "octo_stripe_gateway",
        wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info",
    }
    wanted = ("py.typed", "migrations/0001_initial_ledger.py", "testing/emulator/stripe.js")
    assert {f"octo_stripe_gateway/{name}" for name in wanted} <= set(names)


def test_a_new_project_takes_a_payment(project: Path) -> None:
    manage(project, "check", "--fail-level", "WARNING")
    site = serve(project, "runserver", "--noreload", SITE.removeprefix("http://"), url=SITE)
    emulator = serve(project, "stripe_emulator", "--webhook-url", WEBHOOKS, url=EMULATOR)
    with site, emulator:
        payment = call("POST", "/payments", {"amount": 2000, "currency": "usd"})
        assert payment["status"] == "PENDING"
        pay(payment)
        wait_for_status(payment, "CONFIRMED")
        assert call("PATCH", f"/payments/{payment['id']}/complete")["status"] == "CONFIRMED"
        assert call("POST", f"/payments/{payment['id']}/refund")["status"] == "REFUNDED"


def test_a_typed_host_passes_mypy_in_strict_mode(project: Path) -> None:
    packages = ["mypy", "django-stubs", "djangorestframework-stubs"]
    run([str(project / "venv/bin/pip"), "install", "-q", *packages])
    project.joinpath("host/payments.py").write_text(TYPED_HOST)
    project.joinpath("mypy.ini").write_text(MYPY)
    run([str(project / "venv/bin/mypy"), "host/payments.py"], cwd=project)
