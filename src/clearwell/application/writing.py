"""Being the one writer of a log: takes the lease, keeps it while the work goes on, and gives it back."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from clearwell.application.announcing import running_service
from clearwell.application.workspace import Workspace
from clearwell.catalog.lease import LEASE, WriterLease
from clearwell.errors import StorageError

_RENEWALS_PER_LEASE = 3

_HELD: set[str] = set()
"""The holders that are at work in this process. One whose lease could not be given back is none of them."""


@contextmanager
def writing(workspace: Workspace) -> Iterator[WriterLease]:
    """Hold the lease of the log's one writer. Raises StorageError (`writer_busy`) when another process has it.

    Within the block, whoever asks for it through the same workspace shares it.

    A process that waits for its input keeps the lease; one that is stopped or cut off loses it after a while, and one
    that has ended on this machine loses it at once.
    """
    shared = workspace.shared
    with shared.lease_lock:
        held = shared.lease or HeldLease.taken(workspace)
        shared.lease = held
        held.users += 1
    try:
        yield held.lease
    finally:
        with shared.lease_lock:
            held.users -= 1
            if not held.users:  # Whoever took it may have gone before the others.
                shared.lease = None
                held.give_back()


class HeldLease:
    """A lease that is renewed in a thread until it is given back, and how many use it."""

    def __init__(self, lease: WriterLease) -> None:
        """Renew a lease that was acquired."""
        self.lease = lease
        self.users = 0
        self._done = threading.Event()
        self._heartbeat = threading.Thread(target=self._keep, name="clearwell-lease", daemon=True)
        self._heartbeat.start()
        _HELD.add(lease.holder)

    @classmethod
    def taken(cls, workspace: Workspace) -> HeldLease:
        """The lease, held. Raises as `writing` does."""
        lease = WriterLease(workspace.catalog, _this_process(), workspace.clock)
        try:
            lease.acquire(_is_gone)
        except StorageError as error:
            service = running_service(workspace.data_folder) if error.code == "writer_busy" else None
            if service is None:
                raise
            message = f"a service is writing to this log (process {service.pid}): publish to {service.address} instead"
            raise StorageError("writer_busy", message) from error
        return cls(lease)

    def give_back(self) -> None:
        """Renew it no more, and let others have it."""
        self._done.set()
        self._heartbeat.join()
        _HELD.discard(self.lease.holder)
        self.lease.release()

    def _keep(self) -> None:
        while not self._done.wait(LEASE.total_seconds() / _RENEWALS_PER_LEASE):
            try:
                self.lease.renew()
            except StorageError as error:
                if error.code == "writer_lease_lost":
                    return  # The next commit says so.


def _this_process() -> str:
    return f"{os.uname().nodename}/{os.getpid()}/{secrets.token_hex(4)}"


def _is_gone(holder: str) -> bool:
    """Whether the holder was a process of this machine that is no more, or work of this process that is over."""
    machine, _, rest = holder.partition("/")
    process = rest.partition("/")[0]
    if machine != os.uname().nodename or not process.isdecimal():
        return False
    if int(process) == os.getpid():
        return holder not in _HELD
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
