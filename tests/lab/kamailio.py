"""The PBX of the tests: the same Kamailio that the demo calls through."""

from push_proxy.demo.kamailio import Kamailio, KamailioOptions, PbxContact, Trunk
from push_proxy.demo.pbx_log import PbxEvent

__all__ = ["Kamailio", "KamailioOptions", "PbxContact", "PbxEvent", "Trunk"]
