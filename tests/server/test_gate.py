"""Under `power`, what leaves on a socket, and when."""

import threading
from typing import Any

import pytest

from openoutcry.server.gate import Gate


class Disk:
    """A disk whose syncs last until they are let through."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.error: OSError | None = None

    def sync(self) -> None:
        self.begun.release()
        self.go_on.acquire()
        if self.error is not None:
            raise self.error


class Loop:
    """Keeps what it is to call."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.called = threading.Semaphore(0)

    def call_soon(self, call: Any) -> None:
        self.calls.append(call)
        self.called.release()

    def run(self) -> None:
        assert self.called.acquire(timeout=5)
        self.calls.pop(0)()


class Socket:
    """A connection that keeps what was written, None for its end."""

    def __init__(self) -> None:
        self.written: list[bytes | None] = []

    def write_now(self, data: bytes) -> None:
        self.written.append(data)

    def close_now(self) -> None:
        self.written.append(None)


class Setting:
    """A gate between a loop, a disk and two sockets."""

    def __init__(self) -> None:
        self.disk, self.loop = Disk(), Loop()
        self.checkpoints: list[bytes] = []
        self.failed = threading.Event()
        self.gate = Gate(
            self.disk.sync, self.checkpoints.append, self.loop.call_soon, self.failed.set
        )
        self.first: Any = Socket()
        self.other: Any = Socket()

    def sync(self) -> None:
        """Wait for a sync, and let it through."""
        assert self.disk.begun.acquire(timeout=5)
        self.disk.go_on.release()


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_nothing_is_written_before_the_sync_is_done(setting: Setting):
    setting.gate.put(setting.first, b"one")
    assert setting.disk.begun.acquire(timeout=5)
    assert setting.loop.calls == []
    assert setting.first.written == []
    setting.disk.go_on.release()
    setting.loop.run()
    assert setting.first.written == [b"one"]


def test_what_comes_during_a_sync_waits_for_the_next_and_shares_it(setting: Setting):
    setting.gate.put(setting.first, b"one")
    assert setting.disk.begun.acquire(timeout=5)
    for n in range(100):
        setting.gate.put(setting.first, b"%d," % n)
        setting.gate.put(setting.other, b"x")
    setting.gate.close(setting.other)
    setting.disk.go_on.release()
    setting.loop.run()
    assert (setting.first.written, setting.other.written) == ([b"one"], [])
    setting.sync()
    setting.loop.run()
    assert setting.first.written[1:] == [b"".join(b"%d," % n for n in range(100))]
    assert setting.other.written == [b"x" * 100, None]
    assert setting.gate.syncs == 2


def test_a_checkpoint_is_written_after_the_sync_of_what_it_builds_upon(setting: Setting):
    setting.gate.put_checkpoint(b"image")
    assert setting.disk.begun.acquire(timeout=5)
    assert setting.checkpoints == []
    setting.disk.go_on.release()
    setting.gate.stop()
    assert setting.checkpoints == [b"image"]


def test_an_error_of_a_sync_ends_the_process_and_lets_nothing_out(setting: Setting):
    setting.disk.error = OSError(5, "Input/output error")
    setting.gate.put(setting.first, b"one")
    setting.gate.put_checkpoint(b"image")
    setting.sync()
    assert setting.failed.wait(5)
    assert setting.loop.calls == []
    assert setting.first.written == []
    assert setting.checkpoints == []


def test_what_waits_at_the_end_is_written(setting: Setting):
    setting.gate.put(setting.first, b"one")
    setting.disk.go_on.release()
    setting.gate.stop()
    assert setting.first.written == [b"one"]
