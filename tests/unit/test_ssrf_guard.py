"""The SSRF guard: no spelling and no name of an address leads into the private network."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskhub.errors import Invalid
from taskhub.webhooks import ssrf_guard
from taskhub.webhooks.ssrf_guard import AddressRefused, is_public, read_origin, read_target, resolve

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
def test_non_public_addresses_are_refused(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses(v=4))
def test_every_notation_of_an_ipv4_address_is_checked(address) -> None:
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
def test_unusable_urls_are_refused_with_a_reason(url: str) -> None:
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
def test_a_url_is_parsed_once(url: str, authority: str, port: int, path: str) -> None:
    target = read_target(url)
    assert (target.authority, target.port, target.path) == (authority, port, path)
    assert path.strip("/?") not in read_origin(url) or not path.strip("/?")


def test_private_addresses_can_be_allowed_by_a_setting(settings) -> None:
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    for url in ("http://127.0.0.1:8000/", "https://[::1]/", "http://localhost/"):
        assert read_target(url)
    with pytest.raises(Invalid):
        read_target("ftp://127.0.0.1/")


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "127.1", "0x7f.1", "2130706433", "::1"])
async def test_resolved_addresses_are_checked(name: str) -> None:
    with pytest.raises(AddressRefused):
        await resolve(name, 443)


@pytest.mark.parametrize("name", ["x" * 64 + ".example", "a..b"])
async def test_an_unknown_host_name_is_refused(name: str) -> None:
    with pytest.raises(AddressRefused, match="does not exist"):
        await resolve(name, 443)


@pytest.mark.parametrize("found", [["1.1.1.1", "127.0.0.1"], ["2606:4700::1111", "fe80::1"], []])
async def test_one_non_public_address_of_a_name_is_refused(monkeypatch, found: list[str]) -> None:
    monkeypatch.setattr(ssrf_guard, "_look_up", lambda _host, _port: list(map(ip_address, found)))
    with pytest.raises(AddressRefused):
        await resolve("mixed.example", 443)
