"""Where webhooks may go: no spelling, no name and no redirection of names leads into the hub's own network."""

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
from hypothesis import given
from hypothesis import strategies as st

from taskhub.auth.actor import SYSTEM
from taskhub.errors import Invalid
from taskhub.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from taskhub.services.tasks import task_create
from taskhub.webhooks import queue, ssrf_guard
from taskhub.webhooks.endpoints import endpoint_create
from taskhub.webhooks.jobs import webhooks_deliver
from taskhub.webhooks.ssrf_guard import AddressRefused, is_public, read_origin, read_target, resolve
from tests.receiver import Receiver, receiving

NOT_PUBLIC = [
    *("127.0.0.1", "127.255.0.3", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
    *("100.64.0.1", "192.0.2.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1", "ff0e::1", "2001:db8::1"),
    # IPv4 in IPv6: mapped, compatible, 6to4, Teredo, NAT64 (also its local prefix).
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "2002:7f00:1::", "2002:a00:1::1"),
    *("2001:0:7f00:1::", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "fec0::1", "3fff::1", "100::1"),
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses(v=4))
def test_no_way_to_write_an_ipv4_address_changes_what_it_is(address) -> None:
    for form in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_public(ip_address(form)) == is_public(address)
    assert not is_public(ip_address(f"::{address}"))


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "ftp://example.com/", "//example.com/", "example.com", "", "https://", "https:///x"),
        *("https://user@example.com/", "https://user:pw@example.com/", "https://@example.com/", "https://:@x.example/"),
        *("https://example.com/#part", "https://example.com/#", "https://example.com:0/", "https://example.com:x/"),
        *("https://example.com:99999/", "https://exa mple.com/", "https://example.com/\n", "https://bücher.example/"),
        *("https://example.com\\@127.0.0.1/", "https://127.0.0.1\\.example.com/", "https://[::1", "https://[::1]x/"),
        *(
            "https://127.0.0.1/",
            "https://127.1/",
            "https://127.0.0.1./",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
        ),
        *("https://0x7f.1/", "https://017700000001/", "https://0/", "https://10.1/", "https://[::1]/", "https://[::]/"),
        *("https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[64:ff9b::7f00:1]/"),
        *(
            "https://[fe80::1%25eth0]/",
            "https://[fe80::1%eth0]/",
            "https://[v1.x]/",
            "https://[1.1.1.1]/",
            "https://169.254.169.254/latest",
        ),
        *("https://.example.com/", "https://-example.com/", "https://exa%6dple.com/", "https://example.com%00/"),
        "https://example.com/" + "x" * 2000,
    ],
)
def test_an_address_that_cannot_be_used_is_told_so(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_target(url)
    assert set(refused.value.details or {}) == {"url"}


@pytest.mark.parametrize(
    ("url", "authority", "port", "path"),
    [
        ("https://Example.com", "example.com", 443, "/"),
        ("https://example.com:443/a?b=c", "example.com", 443, "/a?b=c"),
        ("https://example.com.:8443/?q", "example.com.:8443", 8443, "/?q"),
        ("https://xn--bcher-kva.example/%20", "xn--bcher-kva.example", 443, "/%20"),
        ("https://1.1.1.1/", "1.1.1.1", 443, "/"),
        ("https://[2606:4700::1111]:9/", "[2606:4700::1111]:9", 9, "/"),
        ("https://under_score.example/;x=1", "under_score.example", 443, "/;x=1"),
    ],
)
def test_an_address_is_read_once(url: str, authority: str, port: int, path: str) -> None:
    target = read_target(url)
    assert (target.authority, target.port, target.path) == (authority, port, path)
    assert path.strip("/?") not in read_origin(url) or not path.strip("/?")


def test_a_private_network_may_be_allowed(settings) -> None:
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    for url in ("http://127.0.0.1:8000/", "https://[::1]/", "http://localhost/"):
        assert read_target(url)
    with pytest.raises(Invalid):
        read_target("ftp://127.0.0.1/")


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "127.1", "0x7f.1", "2130706433", "::1"])
async def test_the_systems_resolver_is_believed_and_then_checked(name: str) -> None:
    with pytest.raises(AddressRefused):
        await resolve(name, 443)


@pytest.mark.parametrize("name", ["x" * 64 + ".example", "a..b"])
async def test_a_name_that_means_nothing_is_a_refusal(name: str) -> None:
    with pytest.raises(AddressRefused, match="does not exist"):
        await resolve(name, 443)


@pytest.mark.parametrize("found", [["1.1.1.1", "127.0.0.1"], ["2606:4700::1111", "fe80::1"], []])
async def test_one_bad_address_of_a_name_is_enough(monkeypatch, found: list[str]) -> None:
    monkeypatch.setattr(ssrf_guard, "_look_up", lambda _host, _port: list(map(ip_address, found)))
    with pytest.raises(AddressRefused):
        await resolve("mixed.example", 443)


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
def test_a_name_that_leads_home_is_refused_before_anything_is_sent(receiver: Receiver, settings) -> None:
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
def test_every_attempt_looks_anew(receiver: Receiver, settings, monkeypatch) -> None:
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
def test_no_connection_is_used_twice(receiver: Receiver, settings, monkeypatch) -> None:
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
def test_the_next_address_is_tried_where_one_takes_no_connection(receiver: Receiver, settings, monkeypatch) -> None:
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
def test_tls_is_about_the_name(certificate: Path, settings, monkeypatch, host: str, is_right: bool) -> None:
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
def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path, settings, monkeypatch) -> None:
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    monkeypatch.setattr(ssrf_guard, "_look_up", lambda _host, _port: [ip_address("127.0.0.1")])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with receiving(tls) as receiver:
        assert "certificate" in told(receiver, "hook.example").error
        assert receiver.requests == []
