"""A disk that kills its process, tears a write, fails or loses power at the k-th operation on a file."""

import errno
import mmap
import os
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from overfit_lab.files.disk import Disk

KILLED = 137
"""Exit status of a process that the disk ends, as that of one which got SIGKILL."""
CHANGING = frozenset({"create", "append", "write", "sync", "truncate", "replace", "unlink", "make", "remove", "names"})
READING = frozenset({"open", "read"})
KINDS = {
    "kill": CHANGING,
    "tear": frozenset({"write"}),
    "power": CHANGING,  # what was not synced is gone, names among it
    "power-names": CHANGING,  # names are there, what was not synced of the files is gone
    "ENOSPC": frozenset({"create", "write", "sync", "replace", "make"}),
    "EDQUOT": frozenset({"create", "write", "sync", "replace", "make"}),
    "EIO": CHANGING - {"names"} | READING,
    "EROFS": frozenset({"create", "append", "write", "truncate", "replace", "unlink", "make"}),
    "EACCES": frozenset({"create", "append", "replace", "unlink", "make", "open"}),
    "EMFILE": frozenset({"create", "append", "open", "read"}),
}
"""What can go wrong, and at which operations."""
ENDING = ("kill", "tear", "power", "power-names")


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    kind: one of KINDS. at: the operation, counted from 0 among those that it can happen at; -1: never. lasting: every
    later one fails as well, as on a disk that is full and stays so.
    """

    kind: str
    at: int
    lasting: bool = False


class FaultyDisk(Disk):
    """Counts operations below a folder, in this process and those forked from it; the fault comes at its turn.

    Writes to one file that follow each other are one operation.
    """

    def __init__(self, root, fault=None):
        self.root, self.fault = Path(root).resolve(), fault
        self._shared = mmap.mmap(-1, 8)
        self.last = None
        self._live, self._stable, self._unsynced_folders, self._moves = {}, {}, set(), {}
        self._follows = fault is not None and fault.kind.startswith("power")

    @property
    def n(self):
        """Operations so far that the fault can happen at."""
        return struct.unpack("q", self._shared[:])[0]

    def _step(self, operation, path, part=lambda: None):
        self.last = operation, path
        said, path = str(path), Path(os.path.abspath(path))
        if self.fault is None or self.root not in (path, *path.parents) or operation not in KINDS[self.fault.kind]:
            return
        k = self.n
        self._shared[:] = struct.pack("q", k + 1)
        if self.fault.at < 0 or k < self.fault.at or (k > self.fault.at and not self.fault.lasting):
            return
        if self.fault.kind == "tear":
            part()
        if self._follows:
            self._lose_power()
        if self.fault.kind in ENDING:
            os._exit(KILLED)
        code = getattr(errno, self.fault.kind)
        raise OSError(code, os.strerror(code), None if operation in ("write", "sync", "truncate") else said)

    def open(self, path, mode):
        kind = "create" if set(mode) & {"w", "x"} else "append" if "a" in mode else "open"
        self._step(kind, path)
        if self._follows and kind != "open":
            node = self._node(path)
            if kind == "create" or node is None:
                self._live[_name(path)] = _Node(b"")
        return _File(self, Path(path), super().open(path, mode))

    def read(self, path):
        self._step("read", path)
        return super().read(path)

    def sync(self, file):
        self._step("sync", file.path)
        super().sync(file)
        if self._follows and (node := self._node(file.path)) is not None:
            node.synced = file.path.read_bytes()

    def truncate(self, file, size):
        self._step("truncate", file.path)
        if self._follows:
            self._node(file.path)
        super().truncate(file, size)

    def replace(self, source, target):
        self._step("replace", target)
        if self._follows:
            self._note_move(Path(source), Path(target))
        super().replace(source, target)

    def unlink(self, path):
        if not os.path.lexists(path):
            return
        self._step("unlink", path)
        if self._follows:
            self._node(path)
            self._live[_name(path)] = None
        super().unlink(path)

    def make_folder(self, path):
        missing = [folder for folder in (Path(path), *Path(path).parents) if not folder.exists()]
        if missing:
            self._step("make", path)
            if self._follows:
                self._unsynced_folders |= {_name(folder) for folder in missing}
        super().make_folder(path)

    def remove_folder(self, path):
        if not os.path.lexists(path):
            return
        self._step("remove", path)
        if self._follows:
            for file in [p for p in Path(path).rglob("*") if p.is_file()]:
                self._node(file)
                self._live[_name(file)] = None
        super().remove_folder(path)

    def sync_folder(self, path):
        self._step("names", path)
        super().sync_folder(path)
        if not self._follows:
            return
        folder = _name(path)
        self._unsynced_folders -= {f for f in self._unsynced_folders if os.path.dirname(f) == folder}
        for name, node in self._live.items():
            if os.path.dirname(name) == folder:
                self._stable[name] = node
        for source, target in list(self._moves.items()):
            if os.path.dirname(target) == folder:
                for name in [n for n in self._stable if n.startswith(source + os.sep)]:
                    self._stable[target + name.removeprefix(source)] = self._stable[name]
                    self._stable[name] = None
                del self._moves[source]

    # What is on the platters: each file's content at its last sync, and each folder's names at its own.

    def _node(self, path):
        name = _name(path)
        if name not in self._live:
            node = _Node(Path(path).read_bytes()) if Path(path).is_file() else None
            self._live[name] = self._stable[name] = node
        return self._live[name]

    def _note_move(self, source, target):
        if not source.is_dir():
            self._node(target)
            self._live[_name(target)] = self._node(source)
            self._live[_name(source)] = None
            return
        for file in [p for p in source.rglob("*") if p.is_file()]:
            moved = target / file.relative_to(source)
            self._live[_name(moved)] = self._node(file)
            self._live[_name(file)] = None
            self._stable.setdefault(_name(moved), None)
        self._moves[_name(source)] = _name(target)
        made = {f for f in self._unsynced_folders if f == _name(source) or f.startswith(_name(source) + os.sep)}
        self._unsynced_folders |= {_name(target) + f.removeprefix(_name(source)) for f in made} | {_name(target)}

    def _lose_power(self):
        names = self._live if self.fault.kind == "power-names" else self._stable
        lost = set() if self.fault.kind == "power-names" else self._unsynced_folders
        for name in {*self._live, *self._stable}:
            node, path = names.get(name), Path(name)
            if path.is_file():
                path.unlink()
            if node is not None and not any(name.startswith(folder + os.sep) for folder in lost):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(node.synced)
        for folder in lost:
            shutil.rmtree(folder, ignore_errors=True)


class _Node:
    """A file, whatever its name: what of it outlasts a power cut."""

    def __init__(self, synced):
        self.synced = synced


class _File:
    """A file whose writes are operations."""

    def __init__(self, disk, path, file):
        self._disk, self.path, self._file = disk, path, file

    def write(self, data):
        if self._disk.last == ("write", self.path):  # a kill between two writes to one file is one like any other
            return self._file.write(data)

        def half():
            self._file.write(memoryview(data).cast("B")[: len(memoryview(data).cast("B")) // 2])
            self._file.flush()

        self._disk._step("write", self.path, half)
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __iter__(self):
        return iter(self._file)


def _name(path):
    return os.path.abspath(path)
