"""TCP and TLS in the configuration: what is taken, what is refused, what is warned of."""

from pathlib import Path
from typing import Any

import pytest

from push_proxy.configured import client_tls, listener_tls
from push_proxy.core.model import Address
from push_proxy.errors import ConfigurationError
from push_proxy.settings_file import check, load
from push_proxy.signaling.contract import TlsFiles
from tests.unit.settings.pem import write_identity

LISTEN = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060", "tls:127.0.0.1:5061"]


def sip(directory: Path, **tls: Any) -> dict[str, Any]:
    """A ``sip`` section with a TLS listener whose certificate can be used."""
    certificate, key = write_identity(directory)
    files = {"certificate": str(certificate), "key": str(key)} | tls
    return {"listen": LISTEN, "public_address": "push.example.com", "tls": files}


def refused(raw: dict[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check(raw)
    return str(caught.value)


def test_tcp_and_tls_listeners_are_taken(tmp_path: Path) -> None:
    """UDP and TCP may share a port; the stack is given the files."""
    ca, _ = write_identity(tmp_path, "ca.example.com")
    settings = check({"sip": sip(tmp_path, ca=str(ca))})
    assert settings.sip.listen_addresses == (
        Address("127.0.0.1", 5060, "udp"),
        Address("127.0.0.1", 5060, "tcp"),
        Address("127.0.0.1", 5061, "tls"),
    )
    tls = listener_tls(settings)
    assert tls is not None
    assert (Path(tls.certificate).name, Path(tls.ca).name) == (
        "push.example.com.pem",
        "ca.example.com.pem",
    )
    assert not [warning for warning in settings.warnings if "sip.tls" in warning]


def test_each_pbx_with_tls_of_its_own_is_a_profile(tmp_path: Path) -> None:
    """Others take the default profile; a PBX that names no authority takes sip.tls.ca."""
    ca, _ = write_identity(tmp_path, "ca.example.com")
    certificate, key = write_identity(tmp_path, "client.example.com")
    identity = {"certificate": str(certificate), "key": str(key), "verify": False}
    settings = check(
        {
            "sip": {"tls": {"ca": str(ca)}},
            "pbxes": {
                "plain": {"registrar": "sip:a.example.com"},
                "own": {"registrar": "sips:b.example.com", "tls": identity},
            },
        }
    )
    assert settings.pbxes["own"].registrar == "sip:b.example.com;transport=tls"
    assert client_tls(settings) == {
        "": TlsFiles(ca=str(ca)),
        "own": TlsFiles(certificate=str(certificate), key=str(key), ca=str(ca), verify=False),
    }
    assert any("pbxes.own.tls.verify" in warning for warning in settings.warnings)
    assert listener_tls(settings) is None


def test_the_environment_gives_tls_too(tmp_path: Path) -> None:
    """Sections in sections, and lists."""
    certificate, key = write_identity(tmp_path)
    settings = load(
        {
            "PUSH_PROXY_SIP__LISTEN": "udp:127.0.0.1:5060,tls:127.0.0.1:5061",
            "PUSH_PROXY_SIP__TLS__CERTIFICATE": str(certificate),
            "PUSH_PROXY_SIP__TLS__KEY": str(key),
            "PUSH_PROXY_SIP__NAMESERVERS": "10.0.0.53, 127.0.0.1:5353, ::1",
            "PUSH_PROXY_PBXES__OFFICE__TLS_NAMES": "Trunk.example.com",
            "PUSH_PROXY_PBXES__OFFICE__TRANSPORT": "tls",
            "PUSH_PROXY_PBXES__OFFICE__TLS__SERVER_NAME": "pbx.example.com",
        }
    )
    addresses = (("10.0.0.53", 53), ("127.0.0.1", 5353), ("::1", 53))
    assert settings.sip.nameserver_addresses == addresses
    office = settings.pbxes["office"]
    assert office.tls_names == ("trunk.example.com",)
    assert office.tls is not None
    assert office.tls.server_name == "pbx.example.com"
    assert office.tls.verify


@pytest.mark.parametrize(
    ("listen", "key"),
    [
        (["tls:127.0.0.1:5061"], "sip.tls.certificate"),
        (["tcp:127.0.0.1:5060", "tcp:127.0.0.1:5060"], "sip.listen"),
        (["tcp:127.0.0.1:5060", "tls:127.0.0.1:5060"], "sip.listen"),
        (["tcp:0.0.0.0:5060", "tls:127.0.0.1:5060"], "sip.listen"),
        (["udp:127.0.0.1:5060", "tcp:127.0.0.1:8080"], "http.listen"),
        (["sctp:127.0.0.1:5060"], "sip.listen[0]"),
    ],
)
def test_listeners_that_cannot_be_are_refused(listen: list[str], key: str) -> None:
    """One TCP port is one listener's, and TLS needs a certificate."""
    assert f"{key}: " in refused({"sip": {"listen": listen}})


@pytest.mark.parametrize(
    ("pbx", "key"),
    [
        ({"registrar": "sips:a.example.com", "transport": "tcp"}, "transport"),
        ({"registrar": "sip:a.example.com;transport=tcp", "tls": {"verify": False}}, "tls"),
        ({"registrar": "sip:a.example.com", "transport": "sctp"}, "transport"),
        ({"registrar": "sips:a.example.com;transport=udp"}, "registrar"),
        ({"registrar": "sip:a.example.com;ob"}, "registrar"),
        ({"registrar": "sips:a.example.com", "tls": {"key": "/none"}}, "tls.certificate"),
        ({"registrar": "sips:a.example.com", "tls": {"ca": "/none"}}, "tls.ca"),
        ({"registrar": "sip:a.example.com", "tls_names": ["b.example.com"]}, "tls_names"),
        ({"registrar": "sip:a.example.com", "qualify_s": -1}, "qualify_s"),
    ],
)
def test_what_a_pbx_cannot_be_is_refused(pbx: dict[str, Any], key: str) -> None:
    """With the key that is to be changed."""
    assert f"pbxes.a.{key}: " in refused({"pbxes": {"a": pbx}})


@pytest.mark.parametrize("server", ["10.0.0", "dns.example.com", "10.0.0.53:99999", "::1:53x"])
def test_a_name_server_is_an_address(server: str) -> None:
    """A name would have to be resolved by a name server."""
    assert "sip.nameservers[0]: " in refused({"sip": {"nameservers": [server]}})


def test_certificates_that_cannot_be_shown_are_refused(tmp_path: Path) -> None:
    """Each by its key and its reason: no file, no PEM, ended, not begun, not its key, sealed."""
    (tmp_path / "other").mkdir()
    _, foreign = write_identity(tmp_path / "other")
    (tmp_path / "text").write_text("no certificate")
    ended, ended_key = write_identity(tmp_path, "ended", days=-0.5, begins_in_days=-2)
    future, future_key = write_identity(tmp_path, "future", begins_in_days=1)
    sealed, sealed_key = write_identity(tmp_path, "sealed", passphrase="secret")
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"certificate": str(tmp_path / "none")}, "certificate", "cannot be read"),
        ({"certificate": str(tmp_path / "text")}, "certificate", "no certificate in PEM"),
        ({"certificate": None}, "certificate", "missing"),
        ({"key": None}, "key", "missing"),
        ({"key": str(tmp_path / "none")}, "key", "cannot be read"),
        ({"key": str(tmp_path / "text")}, "key", "no private key"),
        ({"key": str(foreign)}, "key", "is not the key of"),
        ({"certificate": str(ended), "key": str(ended_key)}, "certificate", "has expired"),
        ({"certificate": str(future), "key": str(future_key)}, "certificate", "not valid before"),
        ({"certificate": str(sealed), "key": str(sealed_key)}, "key", "encrypted"),
        ({"ca": str(tmp_path / "text")}, "ca", "no certificate in PEM"),
        ({"ca": str(ended)}, "ca", "has expired"),
    ]
    for change, key, words in wrong:
        text = refused({"sip": sip(tmp_path, **change)})
        assert f"sip.tls.{key}: " in text
        assert words in text


def test_a_certificate_that_ends_soon_or_names_another_is_warned_of(tmp_path: Path) -> None:
    """Both can be used; phones or the calendar would tell too late."""
    certificate, key = write_identity(tmp_path, "other.example.com", days=13)
    files = {"certificate": str(certificate), "key": str(key)}
    settings = check({"sip": sip(tmp_path, **files)})
    said = [warning for warning in settings.warnings if warning.startswith("sip.tls.certificate")]
    assert ["expires in 12 days" in said[0], "does not name push.example.com" in said[1]] == [
        True,
        True,
    ]


def test_a_key_that_everybody_can_read_is_warned_of(tmp_path: Path) -> None:
    """It can be used; but then so can others use it."""
    section = sip(tmp_path)
    assert not [w for w in check({"sip": section}).warnings if "sip.tls.key" in w]
    Path(section["tls"]["key"]).chmod(0o644)
    assert [w for w in check({"sip": section}).warnings if "sip.tls.key: every user" in w]


def test_a_wildcard_names_the_hosts_below_it(tmp_path: Path) -> None:
    """One label, as phones and browsers have it."""
    certificate, key = write_identity(tmp_path, "*.example.com")
    settings = check({"sip": sip(tmp_path, certificate=str(certificate), key=str(key))})
    assert not [warning for warning in settings.warnings if "does not name" in warning]
