"""`grantledger copy` as people and programs run it."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from grantledger.adapters.cli.entry import run
from tests.cli.scene import GRANTLEDGER, Done
from tests.contract.copy_scene import Move, copied_scene, live
from tests.contract.stores import PostgresStore
from tests.ledger.scene import Scene

SECONDS = 60.0
PASSWORD = "canary-password"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    scene = Scene(tmp_path_factory.mktemp("full") / "full.db").make()
    live(scene)
    return scene


@dataclass
class Command:
    """Runs the command beside a source, with a settings' file for each of the two."""

    move: Move
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def __post_init__(self) -> None:
        self.move.source.ring.save(self.folder / "keyring.json")
        self.write("source.toml", f'ledger.url = "sqlite:///{self.move.source.path}"')
        place = self.move.store.place
        self.target = self.write(
            "target.toml",
            f'ledger.url = "{place.conninfo}"\nledger.schema = "{place.schema}"',
        )

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def arguments(self, *more: object) -> list[str]:
        said = ("copy", "-c", self.folder / "source.toml", *more)
        return [str(argument) for argument in said]

    def run(self, *more: object) -> Done:
        """Run it in this process."""
        self.capsys.readouterr()
        code = run(self.arguments(*more))
        said = self.capsys.readouterr()
        return Done(code, said.out, said.err)

    def start(self, *more: object, stderr: int) -> subprocess.Popen[bytes]:
        """Start the installed command."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith("GRANTLEDGER")}
        return subprocess.Popen(
            [GRANTLEDGER, *self.arguments("--to-config", self.target, *more)],
            env=kept | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "xterm"},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )


@pytest.fixture
def command(
    full: Scene,
    postgres: PostgresStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    return Command(Move(copied_scene(full, tmp_path), postgres), tmp_path, capsys)


def test_a_program_gets_one_document_and_the_progress_beside_it(
    command: Command,
) -> None:
    done = command.run("--to-config", command.target, "--json")
    assert done.code == 0, done
    said = done.json
    leaves = command.move.leaves()
    assert (said["leaves"], said["resumed_at"], said["answers_waiting"]) == (
        leaves,
        0,
        0,
    )
    assert said["destination"] == command.move.name
    steps = [json.loads(line) for line in done.err.splitlines()]
    assert steps[0] == {"step": "claimed", "leaves": 0, "of": leaves - 1}
    assert steps[-1] == {"step": "finished", "leaves": leaves, "of": leaves}
    command.move.same()


def test_people_get_lines_and_what_to_do_next(command: Command) -> None:
    url, name = command.move.store.conninfo, command.move.store.name
    done = command.run("--to", url, "--schema", name)
    assert done.code == 0, done
    said = "".join(done.out.split())  # wrapped, wherever that falls
    assert "istheledgernow" in said
    assert "source.db.spool" in said
    assert f"{command.move.leaves()} of" in done.err
    assert "the file takes no more writes" in done.err
    assert "\x1b" not in done.out + done.err
    again = command.run("--to", url, "--schema", name)
    assert again.code == 0, again


def test_both_verify_afterwards_as_one_log(command: Command) -> None:
    assert command.run("--to-config", command.target).code == 0
    said: list[dict[str, object]] = []
    for config in (command.folder / "source.toml", command.target):
        command.capsys.readouterr()
        assert run(["verify", "-c", str(config), "--json"]) == 0
        said.append(json.loads(command.capsys.readouterr().out))
    mine, theirs = said
    assert (mine.pop("ledger"), theirs.pop("ledger")) == (
        str(command.move.source.path),
        command.move.name,
    )
    assert mine == theirs


def test_a_terminal_gets_a_bar(command: Command) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb") as screen, command.start(stderr=theirs) as process:
        os.close(theirs)
        shown = bytearray()
        try:
            while data := os.read(screen.fileno(), 4096):
                shown += data
        except OSError:
            pass  # the other side is closed: the end, on Linux
        assert process.wait(SECONDS) == 0
    leaves = command.move.leaves()
    assert f"{leaves}/{leaves}".encode() in shown
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}".encode() in shown


def test_a_process_that_is_killed_is_gone_on_with_by_the_same_command(
    command: Command,
) -> None:
    with closing(sqlite3.connect(command.move.source.path)) as other:
        other.execute("BEGIN IMMEDIATE")  # it will wait before the last leaves
        with command.start("--json", stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            assert b"claimed" in process.stderr.readline()
            process.kill()
    assert process.returncode == -signal.SIGKILL
    assert command.run("--to-config", command.target, "--json").code == 0
    command.move.same()


def test_the_destination_may_stand_in_a_variable(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which then does not name the source, whatever it is called."""
    monkeypatch.setenv("DATABASE_URL", command.move.store.conninfo)
    name = command.move.store.name
    done = command.run("--to-env", "DATABASE_URL", "--schema", name)
    assert done.code == 0, done
    command.move.same()


def test_the_settings_of_the_destination_go_before_the_environment(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRANTLEDGER_LEDGER", str(command.move.source.path))
    done = command.run("--to-config", command.target)
    assert done.code == 0, done
    command.move.same()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://broker:{PASSWORD}@localhost/grants",
        f"postgresql://broker@localhost/grants?password={PASSWORD}",
        f"postgresql+psycopg://broker:{PASSWORD}@localhost/grants",
        f"postgresql://broker@localhost/grants?sslpassword={PASSWORD}",
        f"mysql://broker:{PASSWORD}@localhost/grants",
        f"postgresql://broker:{PASSWORD}@local host/%",
    ],
)
def test_a_password_in_an_argument_is_refused_and_not_repeated(
    command: Command, url: str
) -> None:
    done = command.run("--to", url)
    assert done.code == 60, done
    assert PASSWORD not in done.out + done.err
    assert (
        "--to-config" in done.err
        or "postgresql://" in done.err.lower()
        or ("PostgreSQL URL" in done.err)
    )
    assert command.move.closed() is None


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ((), 2, "name one of --to"),
        (("--to", "postgresql://h/d", "--to-env", "X"), 2, "name one of --to"),
        (("--to-config", "x.toml", "--schema", "x"), 2, "--schema does not go"),
        (("--to-env", "NOT_SET_ANYWHERE"), 60, "no such variable"),
        (("--to-config", "missing.toml"), 60, "there is no missing.toml"),
    ],
)
def test_a_destination_that_is_not_named_rightly_is_refused(
    command: Command, more: tuple[str, ...], code: int, words: str
) -> None:
    done = command.run(*more)
    assert (done.code, done.out) == (code, ""), done
    assert words in done.err


def test_a_destination_that_is_a_file_is_refused(command: Command) -> None:
    done = command.run("--to-config", command.folder / "source.toml")
    assert done.code == 60, done
    assert "names no PostgreSQL" in done.err


def test_the_key_ring_of_the_destination_has_to_be_the_ledgers(
    command: Command,
) -> None:
    text = command.target.read_text(encoding="utf-8")
    other = command.write("other/target.toml", text)
    Scene(other).ring.save(other.with_name("keyring.json"))
    done = command.run("--to-config", other)
    assert done.code == 51, done
    assert command.move.closed() is None


def test_answers_on_disk_are_brought_home_first(command: Command) -> None:
    spool = command.move.source.path.with_name("source.db.spool")
    spool.mkdir()
    waiting = spool / f"{uuid4().hex}.answer"
    waiting.write_bytes(b"sealed")
    done = command.run("--to-config", command.target)
    assert done.code == 50, done
    assert "1 answers wait" in done.err
    assert "grantledger settle" in done.err
    waiting.unlink()
    assert command.run("--to-config", command.target).code == 0
    # The source is closed: from now on the destination's brokers bring them home.
    waiting.write_bytes(b"sealed")
    done = command.run("--to-config", command.target, "--json")
    assert (done.code, done.json["answers_waiting"]) == (0, 1)


def test_a_spool_that_cannot_be_read_is_not_taken_for_an_empty_one(
    command: Command,
) -> None:
    command.move.source.path.with_name("source.db.spool").write_text("no directory")
    done = command.run("--to-config", command.target)
    assert done.code == 50, done
    assert "cannot read" in done.err
    assert command.move.closed() is None
