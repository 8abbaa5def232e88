"""The PBX of the tests: the same Kamailio that the demo calls through."""

from push_proxy.demo.kamailio import Kamailio, PbxContact
from push_proxy.demo.kamailio_options import KamailioOptions, PbxTls, Trunk
from push_proxy.demo.pbx_log import PbxEvent

from .certificates import TlsIdentity

__all__ = ["Kamailio", "KamailioOptions", "PbxContact", "PbxEvent", "PbxTls", "Trunk", "pbx_tls"]


def pbx_tls(identity: TlsIdentity, *, wants_certificate: bool = False) -> PbxTls:
    """`identity` as Kamailio is told it."""
    return PbxTls(**identity.files, wants_certificate=wants_certificate)
