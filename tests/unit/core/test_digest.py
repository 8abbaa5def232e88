"""core.digest: reading and answering challenges."""

import re

import pytest

from push_proxy.core.digest import (
    Challenge,
    authorization,
    choose_challenge,
    digest_params,
    digest_response,
    ha1,
    held_algorithms,
    unescape,
)
from push_proxy.core.model import Algorithm, Credentials

PASSWORD = Credentials(password="Circle of Life")
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (Algorithm.MD5, "8ca523f5e9506fed4657c9700eebdbec"),
        (
            Algorithm.SHA256,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
    ],
)
def test_rfc_7616_vectors(algorithm: Algorithm, expected: str) -> None:
    """RFC 7616 §3.9.1: Mufasa's responses with MD5 and SHA-256."""
    secret = ha1(algorithm, user="Mufasa", realm="http-auth@example.org", password="Circle of Life")
    response = digest_response(
        algorithm,
        secret,
        method="GET",
        uri="/dir/index.html",
        nonce=NONCE,
        cnonce=CNONCE,
        nc="00000001",
        qop="auth",
    )
    assert response == expected


def test_rfc_2069_vector() -> None:
    """Without qop the old formula holds (RFC 2069 §2.4 with its erratum's result)."""
    secret = ha1(Algorithm.MD5, user="Mufasa", realm="testrealm@host.com", password="CircleOfLife")
    assert (
        digest_response(
            Algorithm.MD5,
            secret,
            method="GET",
            uri="/dir/index.html",
            nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
        )
        == "1949323746fe6a43ef61f9606e7febea"
    )


def test_parameters_are_read_with_escapes_and_odd_spacing() -> None:
    """Quoted commas and escaped quotes do not end a value; names match in any case."""
    params = digest_params(
        'digest  Realm = "a \\"b\\", c" ,nonce="n==",ALGORITHM=SHA-256 , qop="auth,auth-int",'
        'stale=TRUE,nc=00000001,opaque=""'
    )
    assert unescape(params["realm"]) == 'a "b", c'
    assert params["nonce"] == "n=="
    assert params["algorithm"] == "SHA-256"
    assert params["qop"] == "auth,auth-int"
    assert params["opaque"] == ""
    assert digest_params("Basic cmVhbG0=") == {}
    assert digest_params("") == {}


def challenge(realm: str = "r", algorithm: str | None = "MD5", extra: str = ', qop="auth"') -> str:
    named = f", algorithm={algorithm}" if algorithm else ""
    return f'Digest realm="{realm}", nonce="n"{named}{extra}'


MD5_ONLY = Credentials(ha1={Algorithm.MD5: "a" * 32}, realm="r")
BOTH = Credentials(ha1={Algorithm.MD5: "a" * 32, Algorithm.SHA256: "b" * 64}, realm="r")


@pytest.mark.parametrize(
    ("values", "credentials", "chosen"),
    [
        ([challenge(), challenge(algorithm="SHA-256")], PASSWORD, Algorithm.SHA256),
        ([challenge(algorithm="sha-256"), challenge()], PASSWORD, Algorithm.SHA256),
        ([challenge(algorithm="SHA-256"), challenge()], MD5_ONLY, Algorithm.MD5),
        ([challenge(), challenge(algorithm="SHA-256")], BOTH, Algorithm.SHA256),
        ([challenge(algorithm="SHA-512-256"), challenge()], PASSWORD, Algorithm.MD5),
        ([challenge(algorithm="MD5-sess")], PASSWORD, None),
        ([challenge(algorithm=None)], PASSWORD, Algorithm.MD5),
        ([challenge(algorithm=None, extra="")], PASSWORD, Algorithm.MD5),
        ([challenge(extra=', qop="auth-int"')], PASSWORD, None),
        ([challenge(extra=', qop="auth-int, auth"')], PASSWORD, Algorithm.MD5),
        ([challenge(realm="other")], MD5_ONLY, None),
        ([challenge(realm="other"), challenge()], MD5_ONLY, Algorithm.MD5),
        ([challenge(algorithm="SHA-256")], MD5_ONLY, None),
        (["Basic realm=x", "Digest realm=r"], PASSWORD, None),
        ([], PASSWORD, None),
    ],
)
def test_the_strongest_challenge_with_a_secret_is_chosen(
    values: list[str], credentials: Credentials, chosen: Algorithm | None
) -> None:
    """SHA-256 before MD5 wherever it stands; an HA1 serves its realm and algorithm only."""
    found = choose_challenge(values, credentials, user="bob")
    assert (found and found.algorithm) == chosen


def test_an_answer_carries_what_the_challenge_gave() -> None:
    """Realm re-quoted, nonce and opaque verbatim, nc in eight hex digits."""
    read = Challenge.parse(
        'Digest realm="a \\"b\\"", nonce="x\\y", opaque="op", qop="auth", algorithm=SHA-256'
    )
    assert read is not None
    value = authorization(
        read, PASSWORD, user='bo"b', method="REGISTER", uri="sip:h", cnonce="c1", nc=10
    )
    assert 'username="bo\\"b"' in value
    assert 'realm="a \\"b\\""' in value
    assert 'nonce="x\\y"' in value
    assert 'opaque="op"' in value
    assert "nc=0000000a" in value
    assert "qop=auth" in value
    assert "algorithm=SHA-256" in value
    match = re.search(r'response="([0-9a-f]{64})"', value)
    assert match is not None
    assert match[1] == digest_response(
        Algorithm.SHA256,
        ha1(Algorithm.SHA256, user='bo"b', realm='a "b"', password="Circle of Life"),
        method="REGISTER",
        uri="sip:h",
        nonce="x\\y",
        cnonce="c1",
        nc="0000000a",
        qop="auth",
    )


def test_an_answer_to_an_old_challenge_names_nothing_new() -> None:
    """RFC 2069: neither algorithm nor qop, cnonce, nc when the challenge had none."""
    read = Challenge.parse('Digest realm="r", nonce="n"')
    assert read is not None
    value = authorization(read, PASSWORD, user="b", method="REGISTER", uri="sip:h", cnonce="c")
    assert not any(word in value for word in ("algorithm", "qop", "cnonce", "nc=", "opaque"))


def test_no_secret_no_answer() -> None:
    """`authorization` says so instead of sending nonsense."""
    read = Challenge.parse(challenge(realm="other"))
    assert read is not None
    with pytest.raises(ValueError, match="no MD5 secret"):
        authorization(read, MD5_ONLY, user="b", method="REGISTER", uri="sip:h", cnonce="c")


def test_md5_is_offered_first() -> None:
    """Peers that read only the first challenge get the one that they know."""
    assert held_algorithms(PASSWORD) == (Algorithm.MD5, Algorithm.SHA256)
    assert held_algorithms(MD5_ONLY) == (Algorithm.MD5,)
    assert held_algorithms(Credentials(ha1={Algorithm.SHA256: "b"}, realm="r")) == (
        Algorithm.SHA256,
    )
