"""The wheel, installed into an empty project as the README says."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.demo import get_free_ports
from tests.support.docs import PAGES, ROOT, get_block, get_blocks

TYPED_MODELS = """
from django.db import models
from django.db.models import Exists

from octo_stripe_gateway.exceptions import PaymentRejectedError
from octo_stripe_gateway.models import Payment, PaymentRelation, payments_of_each


class BookingQuerySet(models.QuerySet["Booking"]):
    def unpaid(self) -> "BookingQuerySet":
        return self.exclude(Exists(payments_of_each(self.model).filter(status="paid")))


class Booking(models.Model):
    name = models.CharField(max_length=100)
    price = models.PositiveIntegerField()
    is_expired = models.BooleanField(default=False)
    payments = PaymentRelation()

    objects = BookingQuerySet.as_manager()

    def get_payment_amount(self) -> tuple[int, str]:
        return self.price, "usd"

    def on_payment_completed(self, payment: Payment) -> None:
        if self.is_expired:
            raise PaymentRejectedError("Your hold on these places has expired.")

    def get_paid(self) -> Payment | None:
        return self.payments.filter(status="paid").first()

    def get_due(self) -> int:
        return self.payments.get_amount_due()

    def get_next_part(self) -> str:
        part = self.payments.get_dues().next
        return part.name if part else ""
"""
TYPED_HOST = """
from typing import Any

from django.dispatch import receiver
from rest_framework.permissions import IsAdminUser

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import UnprocessableError
from octo_stripe_gateway.webhooks.handlers import register
from octo_stripe_gateway.models import Payment, PaymentQuerySet, WebhookEvent
from octo_stripe_gateway.signals import payable_paid, payment_succeeded
from octo_stripe_gateway.urls import get_urls
from octo_stripe_gateway.api.views import PaymentViewSet
from octo_stripe_gateway.webhooks.views import WebhookView
from shop.models import Booking


class HostViewSet(PaymentViewSet):
    permission_classes = (IsAdminUser,)

    def get_queryset(self) -> PaymentQuerySet:
        return super().get_queryset().filter(metadata__user="1")

    def get_create_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return super().get_create_parameters({**parameters, "metadata": {"user": "1"}})

    def check_payable(self, payable: Booking) -> None:
        if payable.is_expired:
            raise UnprocessableError("That booking has expired.")


class HostWebhooks(WebhookView):
    def get_secrets(self) -> dict[str, list[str]]:
        return {"": ["whsec_1"]}


@register("invoice.paid")
def note(event: WebhookEvent, payment: Payment | None) -> None:
    print(event.type, payment and payment.status)


@receiver(payment_succeeded)
def confirm(payment: Payment, **kwargs: Any) -> None:
    print(payment.amount_refundable)


@receiver(payable_paid)
async def thank(payment: Payment, change_id: str, **kwargs: Any) -> None:
    if isinstance(payment.payable, Booking):
        print(payment.payable.name, change_id)


def choose(payment: Payment) -> str:
    return "tokyo"


def pay() -> str:
    created = services.create_payment(2000, currency="usd")
    services.refund_payment(created.payment, amount=500)
    return created.client_secret


def sell(booking: Booking) -> services.CreatedPayment:
    return services.create_payment(payable=booking, purpose="full", metadata={"channel": "desk"})


def take_back(booking: Booking) -> int:
    for payment in booking.payments.filter(status="pending"):
        services.cancel_payment(payment)
    refunds = services.refund_payable(booking, due_again=True)
    return sum(refund.amount for refund in refunds) + services.get_dues(booking).due


urlpatterns = get_urls(viewset=HostViewSet, webhook_view=HostWebhooks)
"""
WRONG_HOST = """
from octo_stripe_gateway import services
from octo_stripe_gateway.models import Payment
from shop.models import Booking


def sum_up(booking: Booking, payment: Payment) -> int:
    services.create_payment("20.00", currency="usd")  # wrong
    services.cancel_payment(payment, amount=1)  # wrong
    booking.payments.get_price()  # wrong
    return booking.payments.get()  # wrong to mypy: pyright doesn't follow Django's `from_queryset`
"""
TYPED_FILES = "shop/models.py shop/payments.py"
MYPY = """
[mypy]
strict = True
plugins = mypy_django_plugin.main, mypy_drf_plugin.main
[mypy-mysite.settings]
ignore_errors = True
[mypy.plugins.django-stubs]
django_settings_module = mysite.settings
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)])
    return next(folder.glob("*.whl"))


class Project:
    """An empty project that runs the README's lines unchanged except for the ports."""

    def __init__(self, folder: Path, *, wheel: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.ports = dict(zip(("8000", "8421"), map(str, get_free_ports()), strict=True))
        self.site, self.emulator = (f"http://127.0.0.1:{port}" for port in self.ports.values())
        run([sys.executable, "-m", "venv", str(folder / "venv")])
        path = f"{folder / 'venv/bin'}{os.pathsep}{os.environ['PATH']}"
        self.environment = get_environment() | {"PATH": path, "PIP_FIND_LINKS": str(wheel.parent)}

    def run_script(self, script: str) -> None:
        """Run lines in the project's folder; what they start in the background keeps running."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-ec", script],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert self.process.wait(timeout=300) == 0, self.log.read_text()

    def move(self, script: str) -> str:
        """Return the script with free ports in place of the usual ones."""
        for usual, free in self.ports.items():
            script = script.replace(f":{usual}", f":{free}")
        server = f"runserver {self.ports['8000']}"
        webhooks = f"{self.site}/bookings/webhooks"
        emulator = f"stripe_emulator --port {self.ports['8421']} --webhook-url {webhooks}"
        return script.replace("runserver", server).replace("stripe_emulator", emulator)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": "Bearer key-for-my-laptop"}
        url = f"{self.site}/bookings{path}"
        return requests.request(method, url, json=body, headers=headers, timeout=60).json()

    def wait_for_status(self, payment: Any, status: str) -> None:
        for _attempt in range(600):
            if self.call("GET", f"/payments/{payment['uuid']}")["status"] == status:
                return
            time.sleep(0.1)
        pytest.fail(f"the payment does not become {status}: {self.log.read_text()}")

    def stop(self) -> None:
        """End what the script has left running."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("shop")
    project = Project(folder, wheel=wheel)
    project.run_script(get_block("sh", "pip install 'octo-stripe-gateway["))
    for command in ("django-admin startproject mysite .", "python manage.py startapp shop"):
        assert f"`{command}`" in PAGES["README.md"]
        project.run_script(command)
    settings, urls = get_blocks("python", page="README.md")[:2]
    with (folder / "mysite/settings.py").open("a") as file:
        file.write('INSTALLED_APPS += ["shop"]\n')
        file.write(f"{settings}OCTO_STRIPE_GATEWAY['STRIPE_API_BASE'] = '{project.emulator}'\n")
    with (folder / "mysite/urls.py").open("a") as file:
        file.write(urls)
    return project


def run(command: list[str], **options: Any) -> None:
    subprocess.run(command, check=True, env=get_environment(), **options)


def get_environment() -> dict[str, str]:
    ours = ("DJANGO_", "DATABASE_URL", "STRIPE_", "OSG_", "PYTHONPATH", "COV_", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def test_the_wheel_has_what_a_host_needs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "octo_stripe_gateway",
        wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info",
    }
    wanted = ["py.typed", "migrations/0001_initial_ledger.py", "testing/emulator/stripe.js"]
    wanted += [f"docs/{page}" for page in PAGES if page != "README.md"]
    assert {f"octo_stripe_gateway/{name}" for name in wanted} <= set(names)


def test_the_index_shows_no_link_that_leads_nowhere(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    text = archive.read(metadata).decode()
    assert "## Your first payment in five commands" in text
    assert "`octo_stripe_gateway/docs/api.md`" in text
    assert [target for target in re.findall(r"\]\(([^)]*)\)", text) if "://" not in target] == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_first_payment_takes_five_commands(project: Project) -> None:
    script = get_block("sh", "/payment_intents/latest/confirm\ncurl -X PATCH")
    assert len(script.replace("\\\n", "").splitlines()) == 5
    try:
        project.run_script(project.move(script))
        first = project.call("GET", "/payments/1")
        assert (first["status"], first["amountReceived"]) == ("CONFIRMED", 2000)
        assert '"status":"CONFIRMED"' in project.log.read_text()
        told_by_event = project.call("POST", "/payments", {"amount": 1000, "currency": "usd"})
        intent = told_by_event["stripePaymentIntentId"]
        requests.post(f"{project.emulator}/_emulator/payment_intents/{intent}/confirm", timeout=60)
        project.wait_for_status(told_by_event, "CONFIRMED")
        assert project.call("POST", "/payments/1/refund")["status"] == "REFUNDED"
    finally:
        project.stop()


@pytest.fixture(scope="module")
def typed_project(project: Project) -> Project:
    packages = ["mypy", "pyright", "django-stubs", "djangorestframework-stubs"]
    project.run_script(f"pip install -q {' '.join(packages)}")
    project.folder.joinpath("shop/models.py").write_text(TYPED_MODELS)
    project.folder.joinpath("shop/payments.py").write_text(TYPED_HOST)
    project.folder.joinpath("mypy.ini").write_text(MYPY)
    return project


def test_a_typed_host_passes_mypy_in_strict_mode(typed_project: Project) -> None:
    typed_project.run_script(f"mypy {TYPED_FILES}")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: pyright needs it")
def test_a_typed_host_passes_pyright(typed_project: Project) -> None:
    typed_project.run_script(f"pyright {TYPED_FILES}")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: pyright needs it")
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_what_a_typed_host_gets_wrong_is_found(checker: str, typed_project: Project) -> None:
    """A payable's payments aren't Any, of which a checker believes everything."""
    wrong = typed_project.folder / "shop/wrong.py"
    wrong.write_text(WRONG_HOST)
    found = subprocess.run(
        [typed_project.folder / "venv/bin" / checker, wrong],
        cwd=typed_project.folder,
        env=typed_project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = {int(line) for line in re.findall(r"wrong\.py:(\d+):.*error", found.stdout)}
    marked = re.compile(rf"# wrong($| to {checker})")
    wanted = {number for number, line in enumerate(WRONG_HOST.splitlines(), start=1) if marked.search(line)}
    assert lines == wanted, found.stdout + found.stderr


@pytest.fixture(scope="module")
def shop(project: Project) -> Path:
    """The project's app with the README's booking, and a page's settings and routes."""
    folder = project.folder / "shop"
    folder.joinpath("models.py").write_text(get_blocks("python", page="README.md")[4])
    folder.joinpath("payments.py").write_text(get_block("python", "check_csrf"))
    own = get_block("python", '"REQUIRE_PAYABLE"').rstrip().removesuffix("}")
    with (project.folder / "mysite/settings.py").open("a") as file:
        file.write(f"{own}    'STRIPE_API_BASE': '{project.emulator}',\n}}\n")
    urls = project.folder / "mysite/urls.py"
    urls.write_text(urls.read_text().replace("octo_stripe_gateway.urls", "shop.payments"))
    project.run_script("python manage.py makemigrations shop")
    return folder


def test_the_tests_shown_pass_in_a_new_project(project: Project, shop: Path) -> None:
    project.run_script("pip install -q 'octo-stripe-gateway[testing]'")
    project.folder.joinpath("pytest.ini").write_text(get_block("ini", "DJANGO_SETTINGS_MODULE"))
    project.folder.joinpath("conftest.py").write_text(get_block("python", "pytest_plugins"))
    shown = ("def test_a_booking_is_confirmed(db", "def test_a_lost_event_is_made_up_for")
    for name, block in zip(("payments", "what_goes_wrong"), shown, strict=True):
        shop.joinpath(f"test_{name}.py").write_text(get_block("python", block))
    project.run_script("pytest")
    assert re.search(r"=+ 7 passed in ", project.log.read_text())


def test_the_page_shown_is_each_customer_s_own(project: Project, shop: Path) -> None:
    template = shop / "templates/shop/pay.html"
    shop.joinpath("views.py").write_text(get_block("python", "def pay(request"))
    template.parent.mkdir(parents=True)
    template.write_text(get_block("html", "<!doctype"))
    with (project.folder / "mysite/urls.py").open("a") as file:
        file.write('from shop.views import pay\nurlpatterns += [path("pay/<int:number>/", pay)]\n')
    shop.parent.joinpath("customers.py").write_text(get_block("python", '("ann", "bob")'))
    try:
        project.run_script(
            "python manage.py migrate\n"
            "python manage.py shell < customers.py\n"
            + project.move("python manage.py stripe_emulator & python manage.py runserver &\n")
            + f"curl --silent --retry 99 --retry-delay 1 --retry-connrefused {project.site}/pay/1/"
        )
        ann, bob = (log_in(project, name) for name in ("ann", "bob"))
        page, pages_of_others = f"{project.site}/pay/1/", f"{project.site}/pay/2/"
        assert 'payable="booking:1"' in ann.get(page, timeout=60).text
        assert (
            ann.get(pages_of_others, timeout=60).status_code == bob.get(page, timeout=60).status_code == 404
        )
        payments, body = f"{project.site}/bookings/payments", {"payable": {"type": "booking", "id": 1}}
        assert bob.post(payments, json=body, timeout=60).status_code == 400
        created = ann.post(payments, json=body, timeout=60).json()
        assert (created["amount"], created["currency"]) == (2000, "usd")
        assert bob.get(f"{payments}/{created['uuid']}", timeout=60).status_code == 404
    finally:
        project.stop()


def log_in(project: Project, name: str) -> requests.Session:
    """Return a customer's browser, as it is after logging in."""
    session, url = requests.Session(), f"{project.site}/admin/login/"
    session.get(url, timeout=60)
    form = {"csrfmiddlewaretoken": session.cookies["csrftoken"], "username": name, "password": name}
    assert session.post(url, data=form | {"next": "/admin/"}, timeout=60).ok
    session.headers["X-CSRFToken"] = session.cookies["csrftoken"]
    return session
