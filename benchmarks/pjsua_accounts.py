"""What adding a pjsua account costs as their number grows (ADR 0004). Nothing is registered.

Needs a pjproject built with PJSUA_MAX_ACC of at least 16384 (sip/pjproject/config_site.h).
"""

import os
import resource
import sys
import time

import pjsua2 as pj  # noqa: TID251 - measured, not used by the service

ACCOUNTS = 16_000
STEP = 4_000


def main() -> None:
    """Add accounts and print microseconds and KiB for each step."""
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = 0
    config.logConfig.consoleLevel = 0
    config.uaConfig.threadCnt = 0
    endpoint.libInit(config)
    endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, pj.TransportConfig())
    endpoint.libStart()
    kept = []
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    for number in range(1, ACCOUNTS + 1):
        account = pj.Account()
        settings = pj.AccountConfig()
        settings.idUri = f"sip:{number}@127.0.0.1"
        settings.regConfig.registrarUri = "sip:127.0.0.1:9"
        settings.regConfig.registerOnAdd = False
        try:
            account.create(settings)
        except pj.Error:
            sys.stdout.write(
                f"this build of pjsua holds {number - 1} accounts: raise PJSUA_MAX_ACC\n"
            )
            sys.stdout.flush()
            break
        kept.append(account)
        if number % STEP == 0:
            now = time.perf_counter()
            used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / number
            each = (now - began) * 1e6 / STEP
            print(f"{number} accounts: the last {STEP} cost {each:.0f} us and {used:.1f} KiB each")
            began = now
    os._exit(0)  # tearing 16,000 directors down takes longer than the measurement


if __name__ == "__main__":
    main()
