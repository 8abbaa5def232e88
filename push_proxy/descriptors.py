"""File descriptors: each phone's TCP or TLS connection needs one."""

import resource

import structlog

_log = structlog.get_logger(__name__)
PLENTY = 65_536


def raise_limit() -> int:
    """Raise this process's limit of open files as far as the system lets it; what it is then.

    Many systems start services with 1,024: phones beyond that would be turned away.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if 0 <= hard < PLENTY:
        _log.warning(
            "few file descriptors: raise the hard limit (LimitNOFILE, ulimit -Hn) when more "
            "phones connect over TCP and TLS",
            limit=hard,
        )
    return hard
