"""SIGHUP: policy and key ring are read again, and hold from the next request on."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Generator
from contextlib import contextmanager

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.settings import Settings
from grantledger.domain.errors import ConfigurationError

_log = logging.getLogger("grantledger.policy")


def reload_policy(opened: OpenBroker, settings: Settings) -> bool:
    """Take the policy as its file now says it; tell whether it is usable.

    One that is wrong changes nothing: the one before stays in force, and the log says
    why.
    """
    env = opened.broker.env
    before = env.policy.version
    try:
        policy = settings.policy
    except ConfigurationError as error:
        _log.error("the policy is not read in, %s stays in force: %s", before, error)
        return False
    env.policy = policy
    _log.warning("policy %s is in force, after %s", policy.version, before)
    return True


def reload_keys(opened: OpenBroker) -> bool:
    """Take up the key ring as its file now has it; tell whether it is usable."""
    try:
        opened.ring.refresh()
    except ConfigurationError as error:
        _log.error("the key ring is not read in, the one before stays: %s", error)
        return False
    return True


def _reload(opened: OpenBroker, settings: Settings) -> None:
    reload_policy(opened, settings)
    reload_keys(opened)


@contextmanager
def reloading(opened: OpenBroker, settings: Settings) -> Generator[None]:
    """Read both again at each SIGHUP, as long as this lasts."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, _reload, opened, settings)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
