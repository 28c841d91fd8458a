"""Clients that write all the time, on several hosts; see writer.py."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.host import Host
from tests.testbed.layout import CHECKOUT
from tests.testbed.process import wait_until

_SCRIPT = CHECKOUT / "tests" / "e2e" / "writer.py"


@dataclass(frozen=True)
class Writer:
    """One client. Its answers are in a file that the host and this machine both see."""

    host: Host
    answers_file: Path

    @staticmethod
    def start(host: Host, name: str, context: str = "-", managers: Sequence[str] = ()) -> "Writer":
        """Begin to write on this host: through its own manager, or with a context, at the first of `managers`."""
        file = host.folder / "home" / f"{name}.answers"
        words = [Path(sys.executable), _SCRIPT, file, name, context, *managers]
        host.spawn([str(word) for word in words], host.folder / f"{name}.log")
        writer = Writer(host, file)
        writer.wait_for(1)
        return writer

    def answers(self) -> list[str]:
        """`ok`s, and sentences of errors."""
        return self.answers_file.read_text().splitlines() if self.answers_file.exists() else []

    def wait_for(self, more: int, timeout_s: float = 30) -> None:
        """Until so many more writes have been answered."""
        before = len(self.answers())
        wait_until(lambda: len(self.answers()) >= before + more, f"{more} more answers to a writer", timeout_s)

    def stop(self) -> list[str]:
        """Let it end; the errors it met."""
        self.answers_file.with_name(self.answers_file.name + ".stop").touch()
        ended = self.answers_file.name

        def has_ended() -> bool:
            return not any(ended in process.command for process in self.host.processes())

        wait_until(has_ended, "the writer to stop", timeout_s=30)
        return [answer for answer in self.answers() if answer != "ok"]
