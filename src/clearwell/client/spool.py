"""A spool: a folder in which events wait until the service has acknowledged them, also for a later process.

Files are only ever appended to. A file that another process left is read, and never written to. Nothing is removed but
what was acknowledged, or refused and kept in `refused.ndjson`. One process at a time has the folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from clearwell.client.exchange import Batch, RefusedEvent, first_part
from clearwell.client.frames import Frame, first_line, framed, frames, name_in
from clearwell.errors import StorageError

_PIECE = 1 << 20


@dataclass(frozen=True)
class SpoolOptions:
    """With `sync_each`, `add` returns when the disk has what it was given; without, when the system has it.

    A file takes `file_bytes`, the folder `most_bytes`, None for what the disk has.
    """

    sync_each: bool = True
    file_bytes: int = 64 << 20
    most_bytes: int | None = None


@dataclass(frozen=True)
class Damage:
    """A part of a file that is no event, from `start` to `end` in bytes; at the end of a file it was cut short."""

    file: str
    start: int
    end: int
    at_end: bool


@dataclass
class _File:
    number: int
    path: Path
    descriptor: int
    name: str
    size: int
    is_damaged: bool = False


class Spool:
    """The lines of a spool. Threads may add while another one takes them."""

    def __init__(self, folder: Path, options: SpoolOptions | None = None) -> None:
        """Take the folder, which is made where it is not there, and count what waits in it.

        Raises StorageError (`spool_in_use`, `spool_unusable`).
        """
        self._folder = folder
        self._options = options or SpoolOptions()
        self._lock, self._syncing = threading.RLock(), threading.Lock()
        self._files: list[_File] = []
        self._active: _File | None = None
        self._place = 0
        self._written = self._synced = 0
        self._unsynced: dict[int, _File] = {}
        self._unsafe = (0, 0)
        self.added = self.settled = self.waiting_bytes = 0
        self.damages: list[Damage] = []
        with _storage("spool_unusable", folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock_file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_file)
            message = f"another process has the spool {folder}: give each process a folder of its own"
            raise StorageError("spool_in_use", message) from error
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def has_room(self, lines: Sequence[bytes]) -> bool:
        """Whether these may be added."""
        most = self._options.most_bytes
        with self._lock:
            return most is None or not self.waiting_bytes or self.waiting_bytes + sum(map(len, lines)) <= most

    def add(self, lines: Sequence[bytes]) -> None:
        """Append lines, and with `sync_each` make them durable; threads that add at once share a sync.

        Raises StorageError (`spool_not_writable`): what was to be added may or may not be sent.
        """
        if not lines:
            return
        content = b"".join(map(framed, lines))
        with self._lock, _storage("spool_not_writable", self._folder):
            if self._lock_file < 0:
                raise OSError("it is closed")
            file = self._writable()
            self._append(file, content)
            self._unsynced[file.number] = file
            self.added += len(lines)
            self.waiting_bytes += len(content)
            self._written += len(content)
        if self._options.sync_each:
            self.sync()

    def sync(self) -> None:
        """Make all that was added durable. Raises StorageError (`spool_not_writable`)."""
        with self._lock:
            wanted = self._written
        with self._syncing, _storage("spool_not_writable", self._folder):
            if self._unsafe[0] < wanted <= self._unsafe[1]:
                raise OSError("the disk did not take what was written")  # It may say so only once.
            if self._synced >= wanted:
                return
            with self._lock:
                written, files, self._unsynced = self._written, self._unsynced, {}
                descriptors = [os.dup(file.descriptor) for file in files.values()]
            try:
                for descriptor in descriptors:
                    os.fsync(descriptor)
            except OSError:
                self._unsafe = (self._synced, written)
                with self._lock:
                    self._active = None  # What the disk has of the file is not known: what comes has one of its own.
                raise
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            self._synced = written

    def next(self, most: tuple[int, int]) -> Batch | None:
        """The first lines that wait. Their key is made of their place, so that a later process asks the same."""
        with self._lock, _storage("spool_unusable", self._folder):
            while self._files:
                file = self._files[0]
                found = self._frames_from(file, most)
                if found:
                    chosen = found[: first_part([frame.line or b"" for frame in found], 0, most)]
                    lines = [frame.line for frame in chosen if frame.line is not None]
                    return Batch(lines, f"{file.name}-{self._place}-{chosen[-1].end}")
                if file is self._active:
                    return None
                self._remove_first()
            return None

    def settle(self, batch: Batch, refused: Sequence[RefusedEvent]) -> None:
        """Let go of a batch; what was refused of it is in `refused.ndjson` before.

        Raises StorageError (`spool_not_writable`): then it is handed out again.
        """
        with self._lock, _storage("spool_not_writable", self._folder):
            if refused:
                self._keep_refused(refused)
            file, end = self._files[0], int(batch.key.rpartition("-")[2])
            self._write_place(file.number, end)
            self.waiting_bytes -= sum(len(framed(line)) for line in batch.lines)
            self.settled += len(batch.lines)
            self._place = end

    def close(self) -> None:
        """Sync and let the folder go. A spool in which nothing waits leaves no files of events."""
        with suppress(StorageError):
            self.sync()
        with self._lock:
            if self._active is not None and self._files == [self._active] and self._place >= self._active.size:
                with suppress(OSError):
                    self._remove_first()
            for file in self._files:
                os.close(file.descriptor)
            self._files, self._active = [], None
            if self._lock_file >= 0:
                os.close(self._lock_file)
                self._lock_file = -1

    # --- files --------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        with _storage("spool_unusable", self._folder):
            number, place = self._read_place()
            self._last_number = number
            for path in sorted(self._folder.glob("events-*.spool")):
                file = self._opened(path)
                self._last_number = max(self._last_number, file.number)
                self._files.append(file)
                if file.number < number:
                    self._place = file.size
                    self._remove_first()
            if self._files:
                first = self._files[0]
                self._place = min(place, first.size) if first.number == number else self._start(first)
            for index, file in enumerate(self._files):
                self._count(file, self._place if index == 0 else self._start(file))

    def _opened(self, path: Path) -> _File:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        name = name_in(os.pread(descriptor, 200, 0))
        number = path.stem.removeprefix("events-")
        size = os.fstat(descriptor).st_size
        # Without its first line it has no name of its own; it is still read, for whatever it has.
        return _File(int(number), path, descriptor, name or uuid.uuid4().hex, size)

    def _start(self, file: _File) -> int:
        """Where the events of a file begin."""
        first = os.pread(file.descriptor, 200, 0)
        return first.index(b"\n") + 1 if name_in(first) is not None else 0

    def _count(self, file: _File, start: int) -> None:
        for frame in self._frames(file, start):
            if frame.line is None:
                file.is_damaged = True
                self.damages.append(Damage(file.path.name, frame.start, frame.end, at_end=frame.end == file.size))
            else:
                self.added += 1
                self.waiting_bytes += frame.end - frame.start

    def _frames(self, file: _File, start: int) -> Iterator[Frame]:
        """The lines of a file from `start` on, read in pieces."""
        piece = _PIECE
        while start < file.size:
            content = os.pread(file.descriptor, min(piece, file.size - start), start)
            is_end = start + len(content) >= file.size or not content
            last = start
            for frame in frames(content, start, is_end=is_end):
                yield frame
                last = frame.end
            if is_end:
                return
            piece = _PIECE if last > start else 2 * piece
            start = last

    def _frames_from(self, file: _File, most: tuple[int, int]) -> list[Frame]:
        """The sound lines that come next in a file, about as many as one request has."""
        found, size = list[Frame](), 0
        for frame in self._frames(file, self._place):
            if frame.line is None:
                continue
            found.append(frame)
            size += frame.end - frame.start
            if len(found) >= most[0] or size >= most[1]:
                break
        return found

    def _writable(self) -> _File:
        """The file to append to; a new one when there is none, or it is large enough."""
        if self._active is not None and self._active.size >= self._options.file_bytes:
            self._active = None
        if self._active is None:
            number, name = self._last_number + 1, uuid.uuid4().hex
            path = self._folder / f"events-{number:012d}.spool"
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            file = _File(number, path, os.open(path, flags, 0o600), name, 0)
            self._last_number = number
            self._files.append(file)
            if len(self._files) == 1:
                self._place = 0
            self._active = file
            self._append(file, first_line(name))
            if len(self._files) == 1:
                self._place = file.size
            self._sync_folder()
        return self._active

    def _append(self, file: _File, content: bytes) -> None:
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(file.descriptor, view) :]
        except OSError:
            self._active = None
            with suppress(OSError):
                os.ftruncate(file.descriptor, file.size)
                self._active = file
            raise
        file.size += len(content)

    def _remove_first(self) -> None:
        """Remove the first file, which is used up. One with damage is kept aside, for whoever wants to look."""
        file = self._files.pop(0)
        self._unsynced.pop(file.number, None)
        os.close(file.descriptor)
        if file is self._active:
            self._active = None
        if file.is_damaged:
            file.path.rename(file.path.with_suffix(".damaged"))
        else:
            file.path.unlink()
        if self._files:
            self._place = self._start(self._files[0])

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # --- what was answered --------------------------------------------------------------------------------------------

    def _keep_refused(self, refused: Sequence[RefusedEvent]) -> None:
        path = self._folder / "refused.ndjson"
        is_new = not path.exists()
        with path.open("ab") as file:
            for item in refused:
                why = {name: getattr(item, name) for name in ("code", "field", "expected", "found")}
                file.write(json.dumps({**why, "event": item.event}, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            self._sync_folder()

    def _read_place(self) -> tuple[int, int]:
        """Up to where everything was answered: the number of a file, and a place in it. (0, 0) when it is not known."""
        try:
            text = (self._folder / "acknowledged").read_bytes()
        except FileNotFoundError:
            return 0, 0
        found = next(frames(text, 0, is_end=True), None)
        if found is None or found.line is None:
            return 0, 0  # What was answered is sent again, and is a duplicate.
        number, place = found.line.split()
        return int(number), int(place)

    def _write_place(self, number: int, place: int) -> None:
        """Not synced: what a power cut leaves is an older place, or none."""
        aside = self._folder / "acknowledged.part"
        aside.write_bytes(framed(b"%d %d" % (number, place)))
        aside.replace(self._folder / "acknowledged")


@contextmanager
def _storage(code: str, folder: Path) -> Iterator[None]:
    """Have an OSError be a StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(code, f"the spool {folder} cannot be used: {error}") from error
