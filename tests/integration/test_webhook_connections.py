"""Connections to webhook receivers: the address that was checked is the one that is used; TLS is checked by name."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.utils import timezone

from taskhub.auth.actor import SYSTEM
from taskhub.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from taskhub.services.tasks import task_create
from taskhub.webhooks import queue, ssrf_guard
from taskhub.webhooks.endpoints import endpoint_create
from taskhub.webhooks.jobs import webhooks_deliver
from tests.receiver import Receiver, receiving

pytestmark = pytest.mark.sqlite_suffices

# --- Connections -------------------------------------------------------------------------------------


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


class Resolver:
    """Says something else each time; the last answer stays."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int):
        self.asked.append((host, port))
        return [ip_address(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])]


def told(receiver: Receiver, host: str) -> WebhookDelivery:
    """What became of an event for this name."""
    endpoint_create(actor=SYSTEM, url=receiver.url.replace("127.0.0.1", host))
    task_create(actor=SYSTEM, title="t")
    webhooks_deliver()
    return WebhookDelivery.objects.get()


@pytest.mark.django_db
def test_a_name_of_loopback_is_refused_before_sending(receiver: Receiver, settings) -> None:
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    url = receiver.url.replace("127.0.0.1", "localhost")
    endpoint_create(actor=SYSTEM, url=url)
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = False
    WebhookEndpoint.objects.update(url=url.replace("http:", "https:"))
    task_create(actor=SYSTEM, title="t")
    webhooks_deliver()
    delivery = WebhookDelivery.objects.get()
    assert (delivery.status, delivery.error) == (DeliveryStatus.PENDING, "The host has a non-public address.")
    assert receiver.requests == []


@pytest.mark.django_db
def test_the_connection_goes_to_the_address_that_was_checked(receiver: Receiver, settings, monkeypatch) -> None:
    """A second question, as a connection by name would ask it, would lead elsewhere."""
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    resolver = Resolver("127.0.0.1", "127.0.0.99")
    monkeypatch.setattr(ssrf_guard, "_look_up", resolver)
    assert told(receiver, "rebinding.example").status == DeliveryStatus.DELIVERED
    assert resolver.asked == [("rebinding.example", receiver.port)]
    assert receiver.requests[0].headers["host"] == f"rebinding.example:{receiver.port}"


@pytest.mark.django_db
def test_every_attempt_resolves_the_name(receiver: Receiver, settings, monkeypatch) -> None:
    """Nor is a connection kept that was opened when the name meant something else."""
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    resolver = Resolver("127.0.0.1", "169.254.169.254")
    monkeypatch.setattr(ssrf_guard, "_look_up", resolver)
    monkeypatch.setattr(ssrf_guard, "is_allowed", lambda address: address.is_loopback)
    receiver.answers(500)
    assert told(receiver, "rebinding.example").response_status == 500
    WebhookDelivery.objects.update(next_attempt_at=timezone.now())
    webhooks_deliver()
    delivery = WebhookDelivery.objects.get()
    assert (delivery.response_status, delivery.error) == (None, "The host has a non-public address.")
    assert (len(resolver.asked), len(receiver.requests)) == (2, 1)


@pytest.mark.django_db
def test_connections_are_not_reused(receiver: Receiver, settings, monkeypatch) -> None:
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    monkeypatch.setattr(queue, "AT_ONCE_PER_ENDPOINT", 1)
    resolver = Resolver("127.0.0.1")
    monkeypatch.setattr(ssrf_guard, "_look_up", resolver)
    endpoint_create(actor=SYSTEM, url=receiver.url.replace("127.0.0.1", "kept.example"))
    for _ in range(3):
        task_create(actor=SYSTEM, title="t")
    webhooks_deliver()
    assert (len(receiver.requests), len(resolver.asked)) == (3, 3)


@pytest.mark.django_db
def test_the_next_address_is_tried_after_a_failed_connection(receiver: Receiver, settings, monkeypatch) -> None:
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    found = [ip_address("::1"), ip_address("127.0.0.1")]
    monkeypatch.setattr(ssrf_guard, "_look_up", lambda _host, _port: found)
    assert told(receiver, "two.example").status == DeliveryStatus.DELIVERED


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of `hook.example`, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hook.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hook.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "hook.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.mark.django_db
@pytest.mark.parametrize(("host", "is_right"), [("hook.example", True), ("other.example", False)])
def test_tls_verifies_the_host_name(certificate: Path, settings, monkeypatch, host: str, is_right: bool) -> None:
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    monkeypatch.setattr(ssrf_guard, "_look_up", lambda _host, _port: [ip_address("127.0.0.1")])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    asked: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    with receiving(tls) as receiver:
        delivery = told(receiver, host)
        assert len(receiver.requests) == int(is_right)
    assert asked == [host]
    assert (delivery.status == DeliveryStatus.DELIVERED) == is_right
    assert is_right or "certificate" in delivery.error


@pytest.mark.django_db
def test_an_untrusted_certificate_is_refused(certificate: Path, settings, monkeypatch) -> None:
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    monkeypatch.setattr(ssrf_guard, "_look_up", lambda _host, _port: [ip_address("127.0.0.1")])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with receiving(tls) as receiver:
        assert "certificate" in told(receiver, "hook.example").error
        assert receiver.requests == []
