"""Keys of the ring rotate and retire while brokers work; see `grantledger keys`.

The order: the new key stands in the ring's file, not active; the ledger knows it; it
becomes active; what older keys made is made anew. Brokers follow the file within
`GUARD_SECONDS`, and at once when they meet a key that they lack. Cut short at any
moment, the next run goes on: nothing is ever under a key that the file lacks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio

from grantledger.adapters.bootstrap.ledgers import erasures_of, guard_of, spool_of
from grantledger.adapters.bootstrap.opened import GUARD_SECONDS, OpenBroker
from grantledger.adapters.bootstrap.registered import client_context
from grantledger.adapters.keys import changing, durable
from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.keys.framing import first_part
from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.adapters.ledger.guard_file import GuardFile
from grantledger.adapters.ledger.guard_notes import SUFFIX
from grantledger.adapters.settings import Settings
from grantledger.domain.context import Context
from grantledger.domain.errors import ConfigurationError, KeyInUse
from grantledger.domain.ports import AppendVerdict

LOCKED = frozenset({KeyUse.SUBJECT})
"""Uses whose key never rotates: grants are looked up by what it made."""
PASSES = 10
"""How often it is looked again for what an older key has made, a second apart."""


@dataclass(frozen=True, slots=True)
class Remade:
    """What was under an older key and is now under the active one, by number."""

    data_keys: int = 0
    rows: int = 0
    clients: int = 0
    erasures: int = 0

    def __add__(self, other: Remade) -> Remade:
        """Return both together."""
        return Remade(
            self.data_keys + other.data_keys,
            self.rows + other.rows,
            self.clients + other.clients,
            self.erasures + other.erasures,
        )


def prepare(settings: Settings, use: KeyUse) -> str:
    """Put a new key of `use` into the ring's file, not active yet; return its id.

    One that waits already is kept. Every copy of the ring is to get it before it is
    activated.

    Raises:
        ConfigurationError: the ring is no file, or the use's key never rotates.
    """
    if use in LOCKED:
        raise ConfigurationError(
            f"the {use} key does not rotate: grants are looked up by what it made; "
            "copying to a new ledger under another key is not built",
            "use",
        )
    path = ring_file(settings)
    with durable.locked(_directory(path)):
        ring = KeyRing.load(path)
        keys, key_id = changing.prepared(
            ring.keys, use, os.urandom, SystemClock().now()
        )
        if len(keys) != len(ring.keys):
            ring.remade(keys).save(path, overwrite=True)
    return key_id


async def activate(
    opened: OpenBroker, settings: Settings, key_id: str, context: Callable[[], Context]
) -> None:
    """Have a prepared key make what is new, and say so in the ledger.

    The broker was opened with it in its ring, so that the ledger knows the key.

    Raises:
        ConfigurationError: the ring lacks it.
        Unavailable: the ledger does not say it yet; the key is active.
    """
    path = ring_file(settings)
    with durable.locked(_directory(path)):
        ring = KeyRing.load(path)
        key = ring.key(key_id)
        before = ring.active_id(key.use)
        ring.remade(changing.activated(ring.keys, key)).save(path, overwrite=True)
    opened.ring.refresh()
    ledger = opened.ledger
    while True:
        life = await ledger.life()
        life.rotate_key(context(), use=key.use.value, key_id=key_id, previous_id=before)
        if await ledger.append_life(life) is AppendVerdict.COMMITTED:
            return


async def remake(
    opened: OpenBroker,
    settings: Settings,
    *,
    passes: int = PASSES,
    follow_seconds: float = GUARD_SECONDS,
) -> Remade:
    """Make everything anew that an older key has made and that can be made anew.

    Goes through all of it, and again when every broker that follows the file has taken
    it up, until nothing is left. May be ended at any moment and called again.

    Args:
        opened: with the new key in its ring.
        settings: of the same ledger.
        passes: see `PASSES`.
        follow_seconds: within which brokers follow the file.

    Raises:
        KeyInUse: in each pass more was found: somebody goes on with an older key.
        IntegrityError: a row or a line was changed; it is named.
        WrongKey: the ring does not open something.
        LedgerReadOnly: this process may not.
    """
    done = more = await _pass(opened, settings)
    await anyio.sleep(follow_seconds)
    for _ in range(passes):
        await anyio.sleep(follow_seconds)
        more = await _pass(opened, settings)
        if more == Remade():
            return done
        done += more
    raise KeyInUse(
        f"in each of {passes} passes more was found under an older key, in the last "
        f"{more.data_keys} data keys, {more.rows} grants' rows, {more.clients} clients "
        f"and {more.erasures} lines of the erasure list: a process writes with another "
        "copy of the key ring. The active key is the new one; bring the ring to every "
        "machine, then run `grantledger keys rewrap`"
    )


async def _pass(opened: OpenBroker, settings: Settings) -> Remade:
    ledger, ring = opened.ledger, opened.ring
    clients = 0
    for provider, sealed in (await ledger.clients()).items():
        if not ring.is_current(KeyUse.SPOOL, sealed):
            aad = client_context(provider)
            anew = ring.seal_spool(ring.open_spool(sealed, aad), aad)
            clients += await ledger.reseal_client(provider, sealed, anew)
    return Remade(
        data_keys=await ledger.rewrap(),
        rows=await ledger.recode(),
        clients=clients,
        erasures=await erasures_of(settings, ring).recode(),
    )


async def used(opened: OpenBroker, settings: Settings) -> dict[str, str]:
    """Return, for each key that something stored needs, what that is.

    Raises:
        IntegrityError: something was changed; it is named.
    """
    ledger, ring = opened.ledger, opened.ring
    found = _outside(settings, ring)

    def add(key_id: str, what: str) -> None:
        found.setdefault(key_id, []).append(what)

    for key_id, count in (await ledger.wrapping_keys()).items():
        add(key_id, f"{count} data keys")
    for key_id, count in (await ledger.coding_keys()).items():
        add(key_id, f"{count} grants' rows")
    for key_id in await erasures_of(settings, ring).coding_keys():
        add(key_id, "the erasure list")
    for provider, sealed in (await ledger.clients()).items():
        add(_named(sealed), f"the client at {provider}")
    for key_id in ring.ids(KeyUse.FINGERPRINT):
        if await ledger.fingerprinting(key_id):
            add(key_id, "fingerprints of tokens")
    for key_id in ring.ids(KeyUse.SIGN):
        add(key_id, "checkpoints")
    return {key_id: ", ".join(what) for key_id, what in found.items()}


def _outside(settings: Settings, ring: KeyRing) -> dict[str, list[str]]:
    """Return what the guard and the answers on disk need, by key."""
    found: dict[str, list[str]] = {}
    guard = guard_of(settings)
    for path in (guard, *sorted(guard.parent.glob(f"{guard.name}.*{SUFFIX}"))):
        key_id = GuardFile(path, ring).coding_key()
        if key_id is not None:
            found[key_id] = ["the guard"]
    spool = spool_of(settings)
    for path in sorted(spool.iterdir()) if spool.is_dir() else []:
        key_id = answer_key(path)
        if key_id is not None:
            found.setdefault(key_id, []).append("an answer on disk")
    return found


def answer_key(path: Path) -> str | None:
    """Return the id of the key that sealed an answer on disk.

    None where it is none, or a broker has brought it home since it was listed.
    """
    try:
        return _named(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError):
        return None


async def retire(
    opened: OpenBroker, settings: Settings, key_id: str, context: Callable[[], Context]
) -> None:
    """Take a key out of the ring that nothing stored needs, and say so in the ledger.

    Rings that still have it stay usable. Before, older wrappings are freed from the
    disk, where that can be done at once.

    Raises:
        ConfigurationError: there is no such key, or it is an active one.
        KeyInUse: something needs it.
    """
    path = ring_file(settings)
    key = KeyRing.load(path).key(key_id)
    if key.active:
        raise ConfigurationError(
            f"{key_id} is the active {key.use} key: rotate it first", "key"
        )
    needs = (await used(opened, settings)).get(key_id)
    if needs is not None:
        raise KeyInUse(f"{key_id} is needed by {needs}")
    ledger = opened.ledger
    if key.use is KeyUse.KEK:
        await ledger.scrub()
    while True:
        life = await ledger.life()
        life.retire_key(context(), use=key.use.value, key_id=key_id)
        if await ledger.append_life(life) is AppendVerdict.COMMITTED:
            break
    # First the ledger does without it, then the ring: never a ring that is refused.
    await ledger.retire_key(key_id)
    with durable.locked(_directory(path)):
        ring = KeyRing.load(path)
        ring.remade(changing.without(ring.keys, key)).save(path, overwrite=True)
    opened.ring.refresh()


def ring_file(settings: Settings) -> Path:
    """Return the ring's file.

    Raises:
        ConfigurationError: it stands in a variable.
    """
    if settings.keyring_text is not None:
        raise ConfigurationError(
            "the key ring stands in a variable: write it to a file, change that, and "
            "set the variable anew",
            "keys.env",
        )
    return Path(settings.keyring_file)


def _named(sealed: bytes) -> str:
    split = first_part(sealed)
    return "" if split is None else split[0].decode("latin-1")


def _directory(path: Path) -> Path:
    """Return where the file itself stands, whose name may be a link."""
    return Path(os.path.realpath(path)).parent
