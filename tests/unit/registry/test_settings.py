"""registries.conf, certs.d and environment: what makes a registry insecure, mirrored or blocked."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest

from casemate.errors import Denied, Invalid
from casemate.oci.reference import parse_reference
from casemate.registry.client import RegistryClient
from casemate.registry.fetch import fetch_image
from casemate.registry.limits import Limits, parse_retry_after
from casemate.registry.origin import origin_of
from casemate.registry.settings import Endpoint, RegistryRule, Settings, load_settings
from casemate.registry.transport.docker import DockerSource

if TYPE_CHECKING:
    from pathlib import Path


def load(tmp_path: Path, text: str, **environ: str) -> Settings:
    path = tmp_path / "registries.conf"
    path.write_text(text)
    return load_settings({"HOME": str(tmp_path), "CONTAINERS_REGISTRIES_CONF": str(path)} | environ)


def urls(settings: Settings, text: str) -> list[str]:
    endpoints = settings.endpoints(parse_reference(text))
    return [f"{url}/{endpoint.repository}" for endpoint in endpoints for url in endpoint.base_urls()]


def test_plain_http_is_for_loopback_and_for_what_is_configured(tmp_path: Path) -> None:
    settings = load(tmp_path, "", CASEMATE_INSECURE_REGISTRIES="lab.example:5000, other.example")
    assert urls(settings, "debian") == ["https://registry-1.docker.io/library/debian"]
    assert urls(settings, "r.example/x") == ["https://r.example/x"]
    assert urls(settings, "lab.example/x") == ["https://lab.example/x"]
    assert urls(settings, "lab.example:5000/x") == ["https://lab.example:5000/x", "http://lab.example:5000/x"]
    assert urls(settings, "localhost:5000/x")[0] == "http://localhost:5000/x"
    assert urls(settings, "127.0.0.9/x")[0] == "http://127.0.0.9/x"
    assert urls(settings, "[::1]:5000/x")[0] == "http://[::1]:5000/x"
    assert urls(settings, "127.0.0.1.example.com/x") == ["https://127.0.0.1.example.com/x"]


def test_insecure_means_the_registry_itself_and_not_where_it_sends_us() -> None:
    client = RegistryClient(Endpoint("lab.example:5000", "x", insecure=True), Settings())
    assert client._tls_for("lab.example:5000").verify_mode is ssl.CERT_NONE
    assert client._tls_for("cdn.example").verify_mode is ssl.CERT_REQUIRED
    assert client._plain_http_allowed(origin_of("http://lab.example:5000/x"))
    assert not client._plain_http_allowed(origin_of("http://cdn.example/x"))
    client.close()


CONF = """
unqualified-search-registries = ["evil.example"]
[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "mirror.example/hub"
[[registry.mirror]]
location = "127.0.0.1:5001"
insecure = true
[[registry]]
prefix = "docker.io/team"
location = "team.example/of"
[[registry]]
location = "bad.example"
blocked = true
[[registry]]
prefix = "*.lab.example"
insecure = true
"""


def test_mirrors_come_first_and_prefixes_are_replaced(tmp_path: Path) -> None:
    settings = load(tmp_path, CONF)
    assert urls(settings, "debian") == [
        "https://mirror.example/hub/library/debian",
        "http://127.0.0.1:5001/library/debian",
        "https://127.0.0.1:5001/library/debian",
        "https://registry-1.docker.io/library/debian",
    ]
    assert urls(settings, "team/app") == ["https://team.example/of/app"]
    assert urls(settings, "teams/app")[0] == "https://mirror.example/hub/teams/app"
    assert urls(settings, "a.lab.example/x") == ["https://a.lab.example/x", "http://a.lab.example/x"]


def test_short_name_means_docker_hub_whatever_the_search_list_says(tmp_path: Path) -> None:
    assert "evil" not in "".join(urls(load(tmp_path, CONF), "debian"))


def test_blocked_registry_is_denied(tmp_path: Path) -> None:
    with pytest.raises(Denied, match=r"bad\.example"):
        urls(load(tmp_path, CONF), "bad.example/x")


@pytest.mark.parametrize(
    "text",
    [
        "[[registry]",
        "[[registry]]\n",
        "[[registry]]\nlocation = 5",
        '[[registry]]\nlocation="x"\nmirror="y"',
        "\x00",
    ],
)
def test_malformed_file_is_invalid(tmp_path: Path, text: str) -> None:
    with pytest.raises(Invalid, match=r"registries\.conf"):
        load(tmp_path, text)


def test_broken_mirror_is_passed_over(toy: Any, image: Any, settings: Settings, content: Any) -> None:
    image.put_into(toy)
    settings.rules = (
        RegistryRule("r.example", location="r.example", mirrors=[("127.0.0.1:1", False), (toy.host, False)]),
    )
    source = DockerSource(parse_reference("r.example/app:v1"), settings)
    assert fetch_image(source, content=content).layers
    source.close()


@pytest.mark.parametrize(
    ("text", "expected"), [("", None), ("5", 5.0), ("-5", None), ("soon", None), ("9" * 400, 999999999.0)]
)
def test_retry_after_is_seconds_or_a_date(text: str, expected: float | None) -> None:
    assert parse_retry_after(text) == expected


def test_retry_after_is_bounded_by_our_own_patience() -> None:
    limits = Limits(longest_pause_s=3)
    assert limits.pause_s(1, "86400") == 3
    assert limits.pause_s(1, "Wed, 01 Jan 2200 00:00:00 GMT") == 3
    assert limits.pause_s(1, "Wed, 01 Jan 2020 00:00:00 GMT") == 0
    assert limits.pause_s(40) <= 3
