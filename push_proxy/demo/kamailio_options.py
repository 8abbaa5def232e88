"""What kind of PBX Kamailio is: options, and the names that they have in kamailio.cfg."""

from __future__ import annotations

from dataclasses import dataclass

SAVE_ALL_CONTACTS = "0x00"
SAVE_ONE_CONTACT = "0x04"


@dataclass(frozen=True, slots=True)
class Trunk:
    """Calls for some users go to a SIP peer instead of to their registered contacts."""

    host: str
    port: int
    users: str
    """Regular expression over the called user, such as `^(101|102)$`."""
    transport: str = "udp"
    names_peer: bool = True
    """Whether the Request-URI names the peer (as Asterisk does) or keeps the PBX's own host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PbxTls:
    """PEM files of a PBX that speaks TLS; it shows the same certificate to both sides."""

    certificate: str
    key: str
    ca: str
    """Whom it believes when it connects to a contact or a trunk: the name is not compared."""
    wants_certificate: bool = False
    """Clients without a certificate of that authority are refused."""

    def configuration(self) -> str:
        """The file that Kamailio's module tls reads."""
        files = (
            f"method = TLSv1.2+\ncertificate = {self.certificate}\n"
            f"private_key = {self.key}\nca_list = {self.ca}\n"
        )
        asks = "yes" if self.wants_certificate else "no"
        return (
            f"[server:default]\n{files}verify_certificate = {asks}\n"
            f"require_certificate = {asks}\n"
            f"[client:default]\n{files}verify_certificate = yes\nrequire_certificate = yes\n"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KamailioOptions:
    """What kind of PBX it is. Any user may register with the password `pw-<user>`."""

    host: str = "127.0.0.1"
    realm: str = "pbx.test"
    """Of its digest challenges, and a domain that it answers for beside its address."""
    algorithm: str = "MD5"
    """Of its challenges: MD5 or SHA-256."""
    password_prefix: str = "pw-"  # noqa: S105 - invented, for a PBX on loopback
    wrong_password_is_forbidden: bool = False
    """403 to a wrong password; otherwise another 401, as most PBXs do."""
    nonce_s: int = 300
    max_contacts: int = 10
    """More than that are refused with 503."""
    single_contact: bool = False
    """A new contact silently replaces the old one."""
    min_expires_s: int = 1
    """A shorter registration gets 423 with Min-Expires."""
    max_expires_s: int = 3600
    ring_s: float = 60.0
    """A call that nobody answers is cancelled after that; the caller gets 408."""
    answer_s: float = 5.0
    """How long a contact may stay wholly silent before the branch counts as 408."""
    qualify_s: int | None = None
    """OPTIONS to every contact that often."""
    qualify_limit_s: int = 4
    """With `qualify_s`: a contact that leaves OPTIONS unanswered so long expires 10 s later."""
    trunk: Trunk | None = None
    tls: PbxTls | None = None
    """With it the PBX listens for TLS too, on a port of its own."""
    shared_memory_mib: int = 32
    """For bindings and transactions; 20,000 bindings need about 64."""
    hash_bits: int = 9
    """The registrar has 2 to the power of that many hash slots."""

    def defines(self) -> list[str]:
        """The `NAME=value` definitions that kamailio.cfg reads, text in quotes."""
        texts = {
            "REALM": self.realm,
            "PASSWORD_PREFIX": self.password_prefix,
            "ALGORITHM": self.algorithm,
            "SAVE_FLAGS": SAVE_ONE_CONTACT if self.single_contact else SAVE_ALL_CONTACTS,
        }
        words: dict[str, int] = {
            "NONCE_S": self.nonce_s,
            "MAX_CONTACTS": self.max_contacts,
            "MIN_EXPIRES": self.min_expires_s,
            "MAX_EXPIRES": self.max_expires_s,
            "RING_MS": round(self.ring_s * 1000),
            "ANSWER_MS": round(self.answer_s * 1000),
            "HASH_BITS": self.hash_bits,
        }
        if self.wrong_password_is_forbidden:
            words["WRONG_PASSWORD_IS_FORBIDDEN"] = 1
        if self.qualify_s is not None:
            words["QUALIFY_S"] = self.qualify_s
            words["QUALIFY_LIMIT_S"] = self.qualify_limit_s
        if self.tls is not None:
            words["WITH_TLS"] = 1
        if (trunk := self.trunk) is not None:
            texts["TRUNK_HOST"] = trunk.host
            texts["TRUNK_USERS"] = trunk.users
            by = "" if trunk.transport == "udp" else f";transport={trunk.transport}"
            texts["TRUNK_URI"] = f"sip:{trunk.host}:{trunk.port}{by}"
            texts["TRUNK_PROTO"] = trunk.transport
            texts["TRUNK_PARAMETERS"] = by
            words["TRUNK_PORT"] = trunk.port
            if trunk.transport == "udp":
                words["TRUNK_SENDS_FROM_ITS_PORT"] = 1
            if trunk.names_peer:
                words["TRUNK_NAMES_PEER"] = 1
        quoted = [f'{name}="{value}"' for name, value in texts.items()]
        return quoted + [f"{name}={value}" for name, value in words.items()]
