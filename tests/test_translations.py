"""Every message of the API is in every language that the README names; codes are never translated."""

from __future__ import annotations

import ast
import gettext
import itertools
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.utils import translation
from django.utils.functional import Promise

import octo_stripe_gateway
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.support.api import GatewayApi

PACKAGE = Path(octo_stripe_gateway.__file__).parent
LANGUAGES = ["de", "es", "fr", "it", "ja", "nl", "pt"]
MARKS = {"_", "gettext_noop"}
NOT_OF_THE_API = {"admin", "testing", "management"}
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w+(?::\w+)?\}")


def find_messages() -> Iterator[str]:
    """Yield what is marked for translation in the modules that answer requests."""
    for module in sorted(PACKAGE.rglob("*.py")):
        if module.relative_to(PACKAGE).parts[0] in NOT_OF_THE_API | {"models", "apps.py"}:
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MARKS:
                yield ast.literal_eval(node.args[0])


MESSAGES = sorted({*find_messages(), "No such payment."})


def load(language: str) -> gettext.GNUTranslations:
    with (PACKAGE / "locale" / language / "LC_MESSAGES" / "django.mo").open("rb") as file:
        return gettext.GNUTranslations(file)


def write_catalogue(path: Path, messages: dict[str, str]) -> None:
    """Compile a catalogue, as `msgfmt` would."""
    entries = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **messages}.items())
    texts = [text.encode() + b"\0" for text in itertools.chain(*zip(*entries, strict=True))]
    start = 28 + 8 * len(texts)
    places = [(len(text) - 1, start + sum(map(len, texts[:number]))) for number, text in enumerate(texts)]
    table = struct.pack(f"<{len(texts) * 2}I", *itertools.chain.from_iterable(places))
    path.parent.mkdir(parents=True)
    half = len(entries)
    path.write_bytes(
        struct.pack("<7I", 0x950412DE, 0, half, 28, 28 + 8 * half, 0, 0) + table + b"".join(texts)
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_of_the_api_is_translated(language: str) -> None:
    assert len(MESSAGES) > 60
    with translation.override(language):
        untranslated = [message for message in MESSAGES if translation.gettext(message) == message]
    assert untranslated == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_compiled_catalogue_is_that_of_the_source(language: str) -> None:
    source = (PACKAGE / "locale" / language / "LC_MESSAGES" / "django.po").read_text()
    assert "#, fuzzy" not in source
    entries = re.findall(r'^msgid (".+")\nmsgstr (".+")$', source, re.MULTILINE)
    catalogue = load(language)
    assert len(entries) > 100
    for message, translated in ((ast.literal_eval(a), ast.literal_eval(b)) for a, b in entries):
        assert catalogue.gettext(message) == translated or message == "en"
    assert catalogue.pgettext("language of these messages", "en") == language


@pytest.mark.parametrize("language", LANGUAGES)
def test_placeholders_are_kept(language: str) -> None:
    for message, translated in load(language)._catalog.items():  # type: ignore[attr-defined]
        original = message[0] if isinstance(message, tuple) else message
        if original:
            assert sorted(PLACEHOLDER.findall(translated)) == sorted(PLACEHOLDER.findall(original))


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_of_django_s_own_are_left_to_django(language: str) -> None:
    django = (
        Path(translation.__file__).parents[2] / "conf" / "locale" / language / "LC_MESSAGES" / "django.mo"
    )
    with django.open("rb") as file:
        its = gettext.GNUTranslations(file)._catalog.keys()  # type: ignore[attr-defined]
    ours = load(language)._catalog.keys()  # type: ignore[attr-defined]
    assert (ours & its) - {""} == set()


def test_admin_s_fields_have_names_to_translate() -> None:
    kept_as_they_are = {"id", "uuid"}
    for model, pages in admin.site._registry.items():
        if model._meta.app_label != "octo_stripe_gateway":
            continue
        shown = {*flatten_fieldsets(pages.fieldsets or ()), *map(str, pages.list_display)}
        for field in model._meta.concrete_fields:
            if field.name in shown - kept_as_they_are:
                assert isinstance(field.verbose_name, Promise), f"{model.__name__}.{field.name}"


NO_SUCH_PAYMENT = {
    "de": "Diese Zahlung gibt es nicht.",
    "de-at": "Diese Zahlung gibt es nicht.",
    "es-mx": "No existe ese pago.",
    "fr, en;q=0.5": "Ce paiement n’existe pas.",  # noqa: RUF001
    "it": "Questo pagamento non esiste.",
    "ja": "該当する支払いはありません。",
    "nl;q=0.8, xx": "Deze betaling bestaat niet.",
    "pt-br": "Esse pagamento não existe.",
    "en": "No such payment.",
    "sv": "No such payment.",
    "xx": "No such payment.",
    "": "No such payment.",
    "*": "No such payment.",
    ";;;=": "No such payment.",
}


@pytest.mark.django_db
class TestAnswers:
    @pytest.mark.parametrize(("accepted", "message"), NO_SUCH_PAYMENT.items())
    def test_error_is_in_the_request_s_language(self, accepted: str, message: str, api: GatewayApi) -> None:
        answer = api.request("GET", "/payments/0", **{"Accept-Language": accepted})
        assert answer.json() == {
            "error": "INVALID_PAYMENT_ID",
            "errorMessage": message,
            "paymentId": "0",
        }

    @pytest.mark.parametrize(
        ("accepted", "language"),
        [
            ("de", "de"),
            ("de-DE,de;q=0.9", "de"),
            ("de-AT", "de"),
            ("pt-BR", "pt"),
            ("es-mx", "es"),
            ("ja", "ja"),
            ("en-GB", "en"),
            ("sv", "en"),
            ("zh-hans", "en"),
            ("nl;q=0.8, xx", "nl"),
            ("xx", "en"),
            ("", "en"),
        ],
    )
    def test_language_of_an_answer_is_named(self, accepted: str, language: str, api: GatewayApi) -> None:
        answer = api.request("GET", "/payments/0", **{"Accept-Language": accepted})
        assert answer["Content-Language"] == language
        assert "Accept-Language" in answer["Vary"]

    @pytest.mark.parametrize(
        ("own", "accepted", "language"),
        [
            ("fr", "sv", "fr"),
            ("fr-ca", "sv", "fr"),
            ("fr", "en", "en"),
            ("fr", "pt-br", "pt"),
            ("de-at", "de", "de"),
            ("sv", "", "en"),
            ("sv", "sv", "en"),
        ],
    )
    def test_host_s_own_language_is_named_where_its_words_are_sent(
        self, own: str, accepted: str, language: str, api: GatewayApi, settings: Any
    ) -> None:
        # A change of LOCALE_PATHS makes Django drop languages that it loaded with another fallback.
        settings.LANGUAGE_CODE, settings.LOCALE_PATHS = own, []
        answer = api.request("GET", "/payments/0", **{"Accept-Language": accepted})
        assert answer["Content-Language"] == language
        with translation.override(language):
            assert answer.json()["errorMessage"] == translation.gettext("No such payment.")

    @pytest.mark.parametrize(("accepted", "language"), [("de", "en"), ("fr-ca", "fr"), ("en", "en")])
    def test_language_that_the_host_leaves_out_is_not_named(
        self, accepted: str, language: str, api: GatewayApi, settings: Any
    ) -> None:
        settings.LANGUAGES = [("en", "English"), ("fr", "French")]
        answer = api.request("GET", "/payments/0", **{"Accept-Language": accepted})
        assert answer["Content-Language"] == language

    @pytest.mark.parametrize(("catalogue", "accepted"), [("sv", "sv"), ("pt_BR", "pt-br")])
    def test_host_s_own_catalogue_is_named(
        self, catalogue: str, accepted: str, api: GatewayApi, settings: Any, tmp_path: Path
    ) -> None:
        messages = {"No such payment.": "Nada!", "language of these messages\4en": accepted}
        write_catalogue(tmp_path / catalogue / "LC_MESSAGES" / "django.mo", messages)
        settings.LOCALE_PATHS = [tmp_path]
        answer = api.request("GET", "/payments/0", **{"Accept-Language": accepted})
        assert (answer.json()["errorMessage"], answer["Content-Language"]) == ("Nada!", accepted)

    def test_english_is_named_where_the_host_does_without_translations(
        self, api: GatewayApi, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Reset, since Django reads the setting only once.
        monkeypatch.setattr(translation, "_trans", type(translation._trans)())  # type: ignore[attr-defined]
        settings.USE_I18N, settings.LANGUAGE_CODE = False, "de"
        answer = api.request("GET", "/payments/0", **{"Accept-Language": "fr"})
        assert (answer.json()["errorMessage"], answer["Content-Language"]) == ("No such payment.", "en")

    def test_language_of_one_request_is_not_that_of_the_next(self, api: GatewayApi) -> None:
        api.request("GET", "/payments/0", **{"Accept-Language": "de"})
        assert api.retrieve(0).json()["errorMessage"] == "No such payment."
        assert translation.get_language() == "en-us"

    @pytest.mark.parametrize("language", LANGUAGES)
    @pytest.mark.parametrize(
        ("method", "path", "body", "code"),
        [
            ("POST", "/payments", "", "BAD_REQUEST"),
            ("POST", "/payments", "{", "BAD_REQUEST"),
            ("POST", "/payments", {"amount": "1"}, "BAD_REQUEST"),
            ("POST", "/payments", {"amount": 0}, "BAD_REQUEST"),
            ("POST", "/payments", {"amount": 10**30}, "BAD_REQUEST"),
            ("POST", "/payments", {"amount": 101, "currency": "isk"}, "BAD_REQUEST"),
            ("POST", "/payments", {"amount": 1, "uuid": 1}, "BAD_REQUEST"),
            ("POST", "/payments", {"amount": 1, "metadata": []}, "BAD_REQUEST"),
            ("POST", "/payments", {"amount": 1, "description": None}, "BAD_REQUEST"),
            ("POST", "/payments", {"amount": 1, "description": ""}, "BAD_REQUEST"),
            ("POST", "/payments", {"amount": 1, "description": "x" * 1001}, "BAD_REQUEST"),
            ("POST", "/payments", {"amount": 1, "captureMethod": "x"}, "BAD_REQUEST"),
            ("POST", "/payments", {"amount": 1, "receiptEmail": "x"}, "BAD_REQUEST"),
            ("POST", "/payments", {"amount": 1, "payable": {"type": "x", "id": 1}}, "BAD_REQUEST"),
            ("GET", "/payments/0", None, "INVALID_PAYMENT_ID"),
            ("GET", "/payments/0/nope", None, "NOT_FOUND"),
            ("DELETE", "/payments", None, "BAD_REQUEST"),
            ("POST", "/payments/PAID/cancel", None, "UNPROCESSABLE_ENTITY"),
            ("POST", "/payments/PAID/capture", {"amount": 1}, "UNPROCESSABLE_ENTITY"),
            ("POST", "/payments/PAID/refund", {"amount": 9999999}, "UNPROCESSABLE_ENTITY"),
            ("POST", "/payments/PAID/complete", {"cardPayment": {"gateway": "x"}}, "GATEWAY_MISMATCH"),
        ],
    )
    def test_refusal_is_translated_and_its_code_is_not(
        self, method: str, path: str, body: Any, code: str, language: str, api: GatewayApi
    ) -> None:
        path = path.replace("PAID", str(PaymentFactory.create(paid=True).pk))
        english, other = (
            api.request(method, path, body, **{"Accept-Language": each}).json() for each in ("en", language)
        )
        assert other["error"] == english["error"] == code
        assert other["errorMessage"] != english["errorMessage"]
        assert other.keys() == english.keys()

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_refused_caller_is_told_in_their_language(self, language: str, api: GatewayApi) -> None:
        for key, code in (("", "UNAUTHORIZED"), ("wrong", "FORBIDDEN")):
            api.key = key
            english, other = (
                api.request("GET", "/payments/1", **{"Accept-Language": each}).json()
                for each in ("en", language)
            )
            assert other["error"] == english["error"] == code
            assert other["errorMessage"] != english["errorMessage"]

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_fault_is_told_in_the_request_s_language(
        self, language: str, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        for status in (401, 409, 429, 500):
            stripe.add_fault(Fault(status=status, times=2))
            english, other = (
                api.create(**{"Accept-Language": each}).json()["errorMessage"] for each in ("en", language)
            )
            assert english != other

    def test_stripe_s_own_words_are_passed_on_as_they_are(
        self, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        answer = api.create({"amount": 1, "currency": "usd"}, **{"Accept-Language": "de"})
        assert answer.json()["errorMessage"].startswith("Amount must be at least")

    def test_host_s_own_language_is_the_one_to_fall_back_on(
        self, api: GatewayApi, settings: Any, configure: Callable[..., None]
    ) -> None:
        settings.LANGUAGE_CODE = "fr"
        assert api.retrieve(0).json()["errorMessage"] == "Ce paiement n’existe pas."  # noqa: RUF001
