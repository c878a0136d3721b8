"""A flood of wrong secrets leaves good callers their turn."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from argon2 import PasswordHasher

from grantledger.adapters.http.hashing import WAITING_OF_ONE, SecretHashes
from grantledger.domain.errors import Unavailable
from grantledger.domain.values import Secret

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
RIGHT = QUICK.hash("right")


def hashes() -> SecretHashes:
    return SecretHashes({"victim": RIGHT, "good": RIGHT}, QUICK)


async def test_wrong_secrets_for_one_client_wait_in_a_short_line_of_their_own() -> None:
    compared = hashes()
    outcomes: list[str] = []

    async def wrong(number: int) -> None:
        try:
            mark = b"%d" % number
            found = await compared.matches("victim", Secret(f"no {number}"), mark)
            outcomes.append(str(found))
        except Unavailable:
            outcomes.append("told to wait")

    async with anyio.create_task_group() as tasks:
        for number in range(3 * WAITING_OF_ONE):
            tasks.start_soon(wrong, number)
        await anyio.lowlevel.checkpoint()
        assert await compared.matches("good", Secret("right"), b"good")
    assert outcomes.count("told to wait") == 2 * WAITING_OF_ONE
    assert outcomes.count("False") == WAITING_OF_ONE


async def test_clients_that_nobody_knows_share_one_line() -> None:
    compared = hashes()
    told = 0

    async def unknown(name: str) -> None:
        nonlocal told
        try:
            assert not await compared.matches(name, Secret("right"), name.encode())
        except Unavailable:
            told += 1

    async with anyio.create_task_group() as tasks:
        for number in range(WAITING_OF_ONE + 3):
            tasks.start_soon(unknown, f"nobody-{number}")
    assert told == 3


async def test_one_secret_is_compared_once_however_many_bring_it() -> None:
    compared = hashes()
    answers: list[bool] = []

    async def good() -> None:
        answers.append(await compared.matches("good", Secret("right"), b"good"))

    async with anyio.create_task_group() as tasks:
        for _ in range(10 * WAITING_OF_ONE):
            tasks.start_soon(good)
    assert answers == [True] * 10 * WAITING_OF_ONE


async def test_a_caller_that_goes_away_takes_nobody_s_answer_along() -> None:
    compared = hashes()
    answers: list[bool] = []

    async def good() -> None:
        answers.append(await compared.matches("good", Secret("right"), b"good"))

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as gone:
            tasks.start_soon(good)
            gone.cancel()
            await good()
    assert answers == [True]


@pytest.mark.parametrize(("who", "secret"), [("good", "wrong"), ("other", "nobody")])
async def test_a_secret_of_nobody_matches_nothing(who: str, secret: str) -> None:
    """Not even the one that unknown clients are compared with."""
    assert not await hashes().matches(who, Secret(secret), b"x")
