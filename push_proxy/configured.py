"""The configuration as the parts of the service take it: PBXs and certificates."""

from pathlib import Path

from .core.pbx import Pbx
from .settings import Settings
from .signaling.contract import TlsFiles


def configured_pbxes(settings: Settings) -> dict[str, Pbx]:
    """``pbxes`` as the core takes them."""
    return {
        name: Pbx(
            key=name,
            registrar=section.registrar,
            transport=section.transport,
            peers=section.peers,
            tls_names=section.tls_names,
            tls_profile=name if section.tls is not None else "",
            server_name=(section.tls.server_name or "") if section.tls is not None else "",
            registrations_per_second=section.registrations_per_second,
            expires_s=section.expires_s,
            qualify_s=section.qualify_s,
        )
        for name, section in settings.pbxes.items()
    }


def listener_tls(settings: Settings) -> TlsFiles | None:
    """What ``tls`` listeners show; None when nothing is configured."""
    tls = settings.sip.tls
    if tls.certificate is None or tls.key is None:
        return None
    return TlsFiles(certificate=str(tls.certificate), key=str(tls.key), ca=_path(tls.ca))


def client_tls(settings: Settings) -> dict[str, TlsFiles]:
    """How PBXs are connected to, by profile: a PBX's name, and ``""`` for all others.

    Our listeners' certificate is not shown there: as a client certificate it may be refused,
    and a PBX that only asks for one would then refuse us.
    """
    profiles = {"": TlsFiles(ca=_path(settings.sip.tls.ca))}
    for name, pbx in settings.pbxes.items():
        if pbx.tls is not None:
            profiles[name] = TlsFiles(
                certificate=_path(pbx.tls.certificate),
                key=_path(pbx.tls.key),
                ca=_path(pbx.tls.ca or settings.sip.tls.ca),
                verify=pbx.tls.verify,
            )
    return profiles


def _path(path: Path | None) -> str:
    return "" if path is None else str(path)
