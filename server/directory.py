"""Who is who, on disk: the stable numbers of firms, accounts, sessions and symbols.

Commands and reports name them by number, so that a number once given means the same as long as the
data directory lives: in every gateway, after every restart, and whatever the order in the
configuration. `directory.log` is a text file that only grows. Each line is one append:

    <crc32 of the JSON text, 8 hexadecimal digits> <JSON array of records>\\n

Whoever appends holds the file's lock (flock) and has read everything before. A last line that was
not finished is cut by the next writer, readers pass over it; any other damage is refused.
"""

import contextlib
import fcntl
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from openoutcry.server.config import decimal_parts
from openoutcry.server.durable import sync_file, sync_folder

FILE_NAME = "directory.log"
FORMAT = 1
#: How long another writer may hold the lock: an append takes a fraction of a millisecond.
_LOCK_S = 2.0
_PAUSE_S = 0.0005

ProtocolName = Literal["fix", "binary"]


class DirectoryError(Exception):
    """The directory is damaged or of another venue; the text names the file and the place."""


class VenueRecord(Struct, frozen=True, tag_field="kind", tag="venue"):
    """The first record: whose directory this is."""

    name: str
    format: int = FORMAT


class LayoutRecord(Struct, frozen=True, tag_field="kind", tag="layout"):
    """How many shards and gateways there are from here on; neither ever falls."""

    shards: int
    gateways: int


class FirmRecord(Struct, frozen=True, tag_field="kind", tag="firm"):
    """A firm; numbers begin with 1."""

    number: int
    name: str


class AccountRecord(Struct, frozen=True, tag_field="kind", tag="account"):
    """An account; numbers begin with 1 and are shared with variants."""

    number: int
    name: str


class VariantRecord(Struct, frozen=True, tag_field="kind", tag="variant"):
    """An account with fields that the reports of its orders carry; see `AccountTable.variant`."""

    number: int
    base: int
    #: Bytes as ISO 8859-1.
    route: str
    parties: str
    party_min: int
    party_max: int
    party_tail: int

    @property
    def text_bytes(self) -> int:
        """How many bytes of fields it brings."""
        return len(self.route) + len(self.parties)


class SessionRecord(Struct, frozen=True, tag_field="kind", tag="session"):
    """A session; numbers begin with 1. A later record of the same number replaces the firm."""

    number: int
    protocol: ProtocolName
    name: str
    #: BeginString(8); empty in the binary protocol.
    begin_string: str
    #: The gateway that numbers its messages.
    home: int
    #: Its firm by number; 0: it was never configured.
    firm: int

    @property
    def key(self) -> tuple[ProtocolName, str, str]:
        """What is unique."""
        return self.protocol, self.begin_string, self.name


class SymbolRecord(Struct, frozen=True, tag_field="kind", tag="symbol"):
    """A symbol with what its prices and quantities are counted in; numbers begin with 0."""

    number: int
    name: str
    tick: str
    lot: str
    shard: int

    @property
    def key(self) -> tuple[str, tuple[int, int], tuple[int, int]]:
        """What is unique: with another tick or lot it is another symbol under the same name."""
        return self.name, decimal_parts(self.tick), decimal_parts(self.lot)


Record = (
    VenueRecord
    | LayoutRecord
    | FirmRecord
    | AccountRecord
    | VariantRecord
    | SessionRecord
    | SymbolRecord
)
AnyAccount = AccountRecord | VariantRecord

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Record])


def home_of(protocol: ProtocolName, begin_string: str, name: str, gateways: int) -> int:
    """Return the gateway that a session not known so far belongs to."""
    checksum = zlib.crc32("\0".join((protocol, begin_string, name)).encode())
    # The low bits of a CRC are the same for many names that differ in their last character.
    return ((checksum * 0x9E3779B1 & 0xFFFFFFFF) >> 16) % gateways


class DirectoryContent:
    """What the records say.

    Attributes:
        venue: its name, empty where there is no record yet.
        shards: how many there are, 0 where none were recorded; gateways: likewise.
        firms: by name.
        accounts: by number; the first is the unnamed account 0.
        account_numbers: of those that are no variants, by name.
        sessions: by number - 1.
        symbols: by number.
        torn: bytes at the file's end that are no finished line.
    """

    def __init__(self) -> None:
        self.venue = ""
        self.shards = 0
        self.gateways = 0
        self.firms: dict[str, FirmRecord] = {}
        self.accounts: list[AnyAccount] = [AccountRecord(0, "")]
        self.account_numbers: dict[str, int] = {}
        self.variants: dict[tuple[int, str, str, int, int], int] = {}
        self.text_bytes = 0
        self.sessions: list[SessionRecord] = []
        self.session_numbers: dict[tuple[ProtocolName, str, str], int] = {}
        self.symbols: list[SymbolRecord] = []
        self.torn = 0

    def account_name(self, number: int) -> str:
        """Return the name of an account, or of the account that a variant is of."""
        record = self.accounts[number]
        return self.account_name(record.base) if isinstance(record, VariantRecord) else record.name

    def session_of(
        self, protocol: ProtocolName, begin_string: str, name: str
    ) -> SessionRecord | None:
        """Return a session by what is unique, or None."""
        number = self.session_numbers.get((protocol, begin_string, name))
        return None if number is None else self.sessions[number - 1]

    def variant_of(self, wanted: VariantRecord) -> int | None:
        """Return the number of a variant that has the same fields, or None."""
        return self.variants.get(_variant_key(wanted))

    def apply(self, record: Record) -> None:
        """Take a record in. Raises ValueError where it contradicts those before it."""
        match record:
            case VenueRecord():
                if record.format != FORMAT:
                    raise ValueError(
                        f"it has format {record.format}, and this version reads format {FORMAT}"
                    )
                _expect(not self.venue, "a second venue record")
                self.venue = record.name
            case LayoutRecord():
                _expect(record.shards >= self.shards, "the number of shards falls")
                _expect(record.gateways >= self.gateways, "the number of gateways falls")
                self.shards, self.gateways = record.shards, record.gateways
            case FirmRecord():
                _expect(record.number == len(self.firms) + 1, "a firm's number is out of turn")
                _expect(record.name not in self.firms, "a firm appears twice")
                self.firms[record.name] = record
            case AccountRecord():
                _expect(record.number == len(self.accounts), "an account's number is out of turn")
                _expect(record.name not in self.account_numbers, "an account appears twice")
                self.account_numbers[record.name] = record.number
                self.accounts.append(record)
            case VariantRecord():
                _expect(record.number == len(self.accounts), "an account's number is out of turn")
                _expect(0 <= record.base < record.number, "a variant is of no account")
                self.variants[_variant_key(record)] = record.number
                self.text_bytes += record.text_bytes
                self.accounts.append(record)
            case SessionRecord():
                self._apply_session(record)
            case SymbolRecord():
                _expect(record.number == len(self.symbols), "a symbol's number is out of turn")
                _expect(0 <= record.shard < self.shards, "a symbol is of no shard")
                self.symbols.append(record)

    def _apply_session(self, record: SessionRecord) -> None:
        known = self.session_numbers.get(record.key)
        if known is None:
            _expect(record.number == len(self.sessions) + 1, "a session's number is out of turn")
            _expect(0 <= record.home < self.gateways, "a session is of no gateway")
            self.session_numbers[record.key] = record.number
            self.sessions.append(record)
            return
        _expect(known == record.number, "a session appears twice")
        _expect(self.sessions[known - 1].home == record.home, "a session changes its gateway")
        self.sessions[known - 1] = record


def _expect(condition: bool, text: str) -> None:
    if not condition:
        raise ValueError(text)


def _variant_key(record: VariantRecord) -> tuple[int, str, str, int, int]:
    return record.base, record.route, record.parties, record.party_min, record.party_max


# --- lines ----------------------------------------------------------------------------------------


def _line(records: list[Record]) -> bytes:
    payload = _encoder.encode(records)
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def _decode(line: bytes) -> list[Record] | None:
    """Return the records of a line (without its end), or None where its checksum is not right."""
    try:
        if line[8:9] != b" " or int(line[:8], 16) != zlib.crc32(line[9:]):
            return None
        return _decoder.decode(line[9:])
    except (ValueError, msgspec.DecodeError):
        return None


def _take_in(content: DirectoryContent, data: bytes, start: int, path: Path) -> int:
    """Apply the whole lines of `data`, which stands at byte `start`; return where they end.

    What a write that was not finished leaves is the last line, without its end or (after a power
    cut) with blocks of zeros in it: it is left alone.
    """
    at = 0
    while True:
        end = data.find(b"\n", at)
        if end < 0:
            break
        records = _decode(data[at:end])
        if records is None:
            if 0 in data[at:end] and end + 1 == len(data):
                break
            raise DirectoryError(
                f"{path} is damaged at byte {start + at}: the checksum of its line is wrong; "
                "restore the data directory from a backup"
            )
        try:
            for record in records:
                content.apply(record)
        except ValueError as error:
            raise DirectoryError(f"{path} is damaged at byte {start + at}: {error}") from None
        at = end + 1
    return start + at


def read_directory(folder: Path) -> DirectoryContent:
    """Read a data directory's `directory.log`, with no lock and changing nothing.

    No file gives empty content. Raises DirectoryError where it is damaged before its end.
    """
    content = DirectoryContent()
    path = folder / FILE_NAME
    if path.exists():
        data = path.read_bytes()
        content.torn = len(data) - _take_in(content, data, 0, path)
    return content


# --- the file -------------------------------------------------------------------------------------


class Directory:
    """The directory of a venue, kept open by each process that needs it.

    Args:
        folder: the data directory; None keeps everything in memory, for a table by itself.
        is_durable: sync before a record counts (`durability: power`).

    Raises:
        DirectoryError: it is damaged before its end.
        OSError: the file cannot be read or made.
    """

    def __init__(self, folder: Path | None, *, is_durable: bool = False) -> None:
        self.content = DirectoryContent()
        self._is_durable = is_durable
        self._position = 0
        self._error: OSError | None = None
        self._fd = -1
        if folder is None:
            return
        self.path = folder / FILE_NAME
        is_new = not self.path.exists()
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if is_new and is_durable:
            sync_folder(folder)
        self.catch_up()

    def close(self) -> None:
        """Give the file back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def catch_up(self) -> bool:
        """Take in what other processes appended; return whether there was anything.

        Raises:
            DirectoryError: the file is damaged.
            OSError: what they appended may not be on the disk.
        """
        if self._fd < 0:
            return False
        size = os.fstat(self._fd).st_size
        if size <= self._position:
            return False
        data = _pread(self._fd, size - self._position, self._position)
        before = self._position
        # Whoever wrote it may have been killed before it was synced.
        self._sync()
        self._position = _take_in(self.content, data, before, self.path)
        return self._position > before

    def _sync(self) -> None:
        if self._error is not None:
            raise self._error
        if not self._is_durable:
            return
        try:
            sync_file(self._fd, self.path)
        except OSError as error:
            # The kernel tells it once only: nothing in this file can be relied on any more.
            self._error = error
            raise

    # --- adding -----------------------------------------------------------------------------------

    def append(self, choose: Callable[[DirectoryContent], list[Record]]) -> None:
        """Append what `choose` asks for, given all that is known, while nobody else appends.

        Raises:
            DirectoryError: the file is damaged.
            OSError: it cannot be written, or another process keeps it locked.
        """
        with self._locked():
            self.catch_up()
            self._cut()
            records = choose(self.content)
            if not records:
                return
            if self._fd >= 0:
                self._write(_line(records))
            for record in records:
                self.content.apply(record)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._fd < 0:
            yield
            return
        deadline = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise TimeoutError(
                        error.errno, "another process keeps it locked", str(self.path)
                    ) from None
                time.sleep(_PAUSE_S)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _cut(self) -> None:
        """Cut what a writer left that did not finish (with the lock held, after catch_up)."""
        if self._fd >= 0 and os.fstat(self._fd).st_size > self._position:
            os.ftruncate(self._fd, self._position)

    def _write(self, line: bytes) -> None:
        try:
            view = memoryview(line)
            while view:
                done = os.pwrite(self._fd, view, self._position + len(line) - len(view))
                view = view[done:]
        except OSError:
            os.ftruncate(self._fd, self._position)
            raise
        self._sync()
        self._position += len(line)

    def add_account(self, name: str, most: int) -> int:
        """Return the number of an account, adding it where it is new.

        Raises:
            OverflowError: there are `most` accounts.
            DirectoryError, OSError: as `append`.
        """

        def choose(content: DirectoryContent) -> list[Record]:
            if name in content.account_numbers:
                return []
            return [AccountRecord(_next_account(content, most), name)]

        if name not in self.content.account_numbers:
            self.append(choose)
        return self.content.account_numbers[name]

    def add_variant(self, wanted: VariantRecord, most: int, most_text_bytes: int) -> int:
        """Return the number of a variant (`wanted.number` is passed over), adding it where it is
        new.

        Raises:
            OverflowError: there are `most` accounts, or as many bytes of fields as allowed.
            DirectoryError, OSError: as `append`.
        """

        def choose(content: DirectoryContent) -> list[Record]:
            if content.variant_of(wanted) is not None:
                return []
            number = _next_account(content, most)
            if content.text_bytes + wanted.text_bytes > most_text_bytes:
                raise OverflowError("there is no room for another route or party")
            return [msgspec.structs.replace(wanted, number=number)]

        number = self.content.variant_of(wanted)
        if number is None:
            self.append(choose)
            number = self.content.variant_of(wanted)
            assert number is not None
        return number

    def add_session(
        self, protocol: ProtocolName, begin_string: str, name: str, home: int, most: int
    ) -> SessionRecord:
        """Return a session, adding it where it is new, at home in the gateway `home`.

        Raises:
            OverflowError: there are `most` sessions.
            DirectoryError, OSError: as `append`.
        """

        def choose(content: DirectoryContent) -> list[Record]:
            if content.session_of(protocol, begin_string, name) is not None:
                return []
            if len(content.sessions) >= most:
                raise OverflowError(f"there is room for {most} sessions")
            number = len(content.sessions) + 1
            return [SessionRecord(number, protocol, name, begin_string, home, 0)]

        record = self.content.session_of(protocol, begin_string, name)
        if record is None:
            self.append(choose)
            record = self.content.session_of(protocol, begin_string, name)
            assert record is not None
        return record


def _next_account(content: DirectoryContent, most: int) -> int:
    number = len(content.accounts)
    if number >= most:
        raise OverflowError(f"the account table holds {most} accounts")
    return number


def _pread(fd: int, length: int, position: int) -> bytes:
    parts = []
    while length > 0:
        part = os.pread(fd, length, position)
        if not part:
            break
        parts.append(part)
        position += len(part)
        length -= len(part)
    return b"".join(parts)
