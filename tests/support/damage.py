"""Damage to the files of a data directory."""

from pathlib import Path

from openoutcry.server.segments import HEADER_BYTES


def place_of(folder: Path, name: str, byte: int) -> tuple[Path, int]:
    """Return file and offset of a byte of a series of segments."""
    size = next(folder.glob(f"{name}-*.seg")).stat().st_size - HEADER_BYTES
    return folder / f"{name}-{byte // size:08d}.seg", HEADER_BYTES + byte % size


def flip_file(path: Path, offset: int, bits: int = 0xFF) -> None:
    """Flip bits of a byte of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([old ^ bits]))


def flip(folder: Path, name: str, byte: int, bits: int = 0xFF) -> None:
    """Flip bits of a byte of a series of segments."""
    flip_file(*place_of(folder, name, byte), bits)
