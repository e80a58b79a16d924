"""A FIX client of any version that takes only what the version's dictionary has."""

from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.message import validate
from openoutcry.protocol.fix.versions import Version

from .peers import Closed, FixPeer, FixReport, utc
from .venue import Venue, wait_for


class StrictPeer(FixPeer):
    """A FIX client that is strict."""

    def __init__(self, venue: Venue, comp_id: str, version: Version, **numbers: int) -> None:
        super().__init__(
            venue.port("fix"),
            comp_id,
            begin=version.begin_string,
            **numbers,  # type: ignore[arg-type]
        )
        self.version = version

    def start(self, body: str = "") -> "StrictPeer":
        """Log on."""
        if self.version.is_fixt:
            body += f"1137={self.version.appl_ver_id.decode()}|"
        self.log_on(body)
        return self

    def again(self, venue: Venue) -> "StrictPeer":
        """Come back with the numbers where they stood, and ask for what was missed."""
        body = "98=0|108=0|"
        if self.version.is_fixt:
            body += f"1137={self.version.appl_ver_id.decode()}|"
        numbers = {"next_out": self.next_out, "next_in": self.next_in}

        def attempt() -> StrictPeer | None:
            client = StrictPeer(venue, self.comp_id, self.version, **numbers)
            client.send("A", body)
            try:
                answer = client.receive(is_numbered=False)
            except Closed:
                # The venue has not yet noticed that the earlier connection is gone.
                client.close()
                return None
            assert answer.kind == "A"
            return client

        client: StrictPeer = wait_for(attempt)
        client.send("2", f"7={self.next_in}|16=0|")
        return client

    def receive(self, timeout_s: float = 10.0, *, is_numbered: bool = True) -> FixReport:
        report = super().receive(timeout_s, is_numbered=is_numbered)
        problem = validate(report.message, dictionary(self.version))
        assert problem is None, (problem, report.message.frame)
        return report

    def resent(self, count: int) -> list[FixReport]:
        """Return the next application messages of a resend."""
        found: list[FixReport] = []
        while len(found) < count:
            report = self.receive(is_numbered=False)
            if report.kind != "4":
                assert report[43] == "Y"
                found.append(report)
        return found

    def place(
        self, cl_ord_id: str, symbol: str, side: str, qty: int, price: str, **more: str
    ) -> None:
        """Send a NewOrderSingle; more: header, body (fields), tif."""
        body = f"11={cl_ord_id}|55={symbol}|54={side}|38={qty}|40=2|44={price}|"
        body += f"59={more.get('tif', '1')}|{self.handling}{self.transact_time}"
        self.send("D", more.get("header", "") + body + more.get("body", ""))

    def change(
        self, cl_ord_id: str, orig: str, symbol: str, side: str, qty: int, price: str
    ) -> None:
        """Send an OrderCancelReplaceRequest."""
        body = f"41={orig}|11={cl_ord_id}|55={symbol}|54={side}|38={qty}|40=2|44={price}|"
        self.send("G", f"{body}{self.handling}{self.transact_time}")

    def withdraw(self, cl_ord_id: str, orig: str, symbol: str, side: str, header: str = "") -> None:
        """Send an OrderCancelRequest."""
        body = f"41={orig}|11={cl_ord_id}|55={symbol}|54={side}|"
        if self.version < Version.FIX42:
            body += "38=10|"
        if self.version is Version.FIX40:
            body += "125=F|"
        self.send("F", f"{header}{body}{self.transact_time}")

    @property
    def handling(self) -> str:
        return "21=1|" if self.version <= Version.FIX43 else ""

    @property
    def transact_time(self) -> str:
        return f"60={utc()}|" if self.version >= Version.FIX42 else ""
