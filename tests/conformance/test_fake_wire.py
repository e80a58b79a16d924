"""Every row of the table on a fake wire, in every version and role that it holds for."""

import pytest
from conformance.fake import run
from conformance.table import Row, rows

from openoutcry.protocol.fix.versions import Version

RUNS = [
    pytest.param(row, version, role, id=f"{row.id}-{version.label}-{role}")
    for row in rows()
    if row.is_fake
    for version in Version
    if row.holds_in(version)
    for role in row.roles
]


@pytest.mark.parametrize(("row", "version", "role"), RUNS)
def test_row(row: Row, version: Version, role: str) -> None:
    run(row, version, role)
