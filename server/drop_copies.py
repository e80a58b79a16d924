"""Drop copies: sessions that get a copy of every report of their firm, or of some accounts.

The outbound kernel sends them the shards' reports from the venue's start on, numbered and kept as
any session's; a list of receivers hangs on each session's row (by its firm) and each account's.
What the gateway itself declines is copied by `copies_of`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from openoutcry.server.config import Config
from openoutcry.server.resolve import firm_numbers

if TYPE_CHECKING:
    from openoutcry.server.fix_gateway import FixSession
    from openoutcry.server.gateway import Gateway


def count_copies(config: Config) -> int:
    """Return how many entries a CopyTable needs: one for a firm's receiver, one an account."""
    copies = [session.drop_copy for firm in config.firms for session in firm.sessions]
    return sum(len(copy) if isinstance(copy, tuple) else copy is not None for copy in copies)


def set_up_copies(gateway: "Gateway") -> None:
    """Hang the receivers that the configuration names on the rows of sessions and accounts."""
    sessions, accounts, table = gateway.index.rows, gateway.accounts, gateway.copies
    numbers = firm_numbers(gateway.config, gateway.directory.content)
    for firm in gateway.config.firms:
        number = numbers[firm.name]
        of_firm = -1
        for settings in firm.sessions:
            if settings.drop_copy is None:
                continue
            receiver = gateway.fix.find(settings.id.encode(), settings.session_profile.encode())
            assert receiver is not None
            receiver.is_drop_copy = True
            if settings.drop_copy == "firm":
                of_firm = table.add(of_firm, receiver.number)
                continue
            for account in settings.drop_copy:
                base = accounts.numbers[account.encode()]
                of_account = table.add(int(accounts.rows[base]["copies"]), receiver.number)
                # Its variants of earlier runs have rows already.
                accounts.rows["copies"][accounts.rows["base"] == base] = of_account
        if of_firm < 0:
            continue
        for entry in gateway.fix.registry:
            if entry.firm == number:
                sessions[entry.number]["copies"] = of_firm


def copies_of(gateway: "Gateway", session: int, account: int) -> Iterator["FixSession"]:
    """Yield who gets a copy of a report of a session and an account, each once."""
    seen = {session}
    heads = (gateway.index.rows[session]["copies"], gateway.accounts.rows[account]["copies"])
    for head in heads:
        row = int(head)
        while row >= 0:
            receiver, row = map(int, gateway.copies.rows[row])
            if receiver not in seen:
                seen.add(receiver)
                yield gateway.fix.by_number[receiver]
