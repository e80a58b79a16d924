"""Crash images: what the disk may hold after a power cut, built from a frozen venue's files.

The venue's processes are stopped; its files as they are now, and the shadow of what the disk surely
holds (server/recorder.py), give every image: a page that was not synced since it changed is old or
new, a name that was not synced is there or not.
"""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

from openoutcry.server.recorder import PAGE_BYTES, data_name, names_name


@dataclass
class Frozen:
    """The files of a moment, in memory."""

    #: Name → data file, and content, as the processes see it.
    present: dict[str, str] = field(default_factory=dict)
    content: dict[str, bytes] = field(default_factory=dict)
    #: Name → data file, as of the folder's last sync; and content as of each file's.
    durable: dict[str, str] = field(default_factory=dict)
    synced: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def take(cls, data: Path, shadow: Path) -> "Frozen":
        """Copy everything; nobody may write meanwhile.

        A sync that is under way holds its shadow's lock, and has stored nothing in it so far.
        """
        found = cls()
        for path in data.iterdir():
            if path.is_file():
                key = data_name(path)
                found.present[path.name] = key
                found.content[key] = path.read_bytes()
        for path in shadow.glob("data-*"):
            found.synced[path.name] = path.read_bytes()
        names = shadow / names_name(data)
        if names.exists():
            found.durable = json.loads(names.read_bytes())["names"]
        return found

    @staticmethod
    def adopt(data: Path, shadow: Path) -> None:
        """Begin a shadow anew: all that a folder holds is on the disk, as after a restart."""
        for path in shadow.iterdir():
            path.unlink()
        names = {}
        for path in data.iterdir():
            if path.is_file():
                names[path.name] = key = data_name(path)
                (shadow / key).write_bytes(path.read_bytes())
        text = json.dumps({"folder": str(data.resolve()), "names": names})
        (shadow / names_name(data)).write_text(text)

    def unsynced_pages(self) -> int:
        """Return how many pages may be old or new."""
        return sum(len(self._fresh_pages(key)) for key in set(self.present.values()))

    def _fresh_pages(self, key: str) -> list[int]:
        new, old = self.content[key], self.synced.get(key, b"")
        if new == old:
            return []
        starts = range(0, len(new), PAGE_BYTES)
        return [at for at in starts if new[at : at + PAGE_BYTES] != _page(old, at, len(new))]

    def build(self, folder: Path, seed: int) -> None:
        """Write one image: which pages and names are new, the seed says."""
        rng = random.Random(seed)
        folder.mkdir(parents=True)
        # All old, all new, and mixtures with all sorts of weights.
        share = rng.choice([0.0, 1.0, 0.5, rng.random(), rng.random() ** 3, 1 - rng.random() ** 3])
        for name in sorted({*self.present, *self.durable}):
            old, new = self.durable.get(name), self.present.get(name)
            key = new if rng.random() < share else old
            if key is not None:
                (folder / name).write_bytes(self._mixed(key, share, rng))

    def _mixed(self, key: str, share: float, rng: random.Random) -> bytes:
        if key not in self.content:
            # A file that was replaced, or removed, since.
            return self.synced.get(key, b"")
        new, old = self.content[key], self.synced.get(key, b"")
        size = len(new)
        if len(old) != size and rng.random() >= share:
            # The new length is the inode's, which was not written either.
            size = len(old)
        mixed = bytearray(new[:size].ljust(size, b"\0"))
        for at in range(0, size, PAGE_BYTES):
            page = _page(old, at, size)
            if mixed[at : at + PAGE_BYTES] != page and rng.random() >= share:
                mixed[at : at + PAGE_BYTES] = page
        return bytes(mixed)


def _page(content: bytes, at: int, size: int) -> bytes:
    """Return a page of a file that is to have so many bytes; zeros where it had none."""
    return content[at : at + PAGE_BYTES].ljust(min(PAGE_BYTES, size - at), b"\0")
