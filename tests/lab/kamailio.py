"""The PBX of the tests: the same Kamailio that the demo calls through."""

from push_proxy.demo.kamailio import Kamailio, PbxContact
from push_proxy.demo.kamailio_options import KamailioOptions, Trunk
from push_proxy.demo.pbx_log import PbxEvent

__all__ = ["Kamailio", "KamailioOptions", "PbxContact", "PbxEvent", "Trunk"]
