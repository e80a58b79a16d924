"""The table is whole: every case, line and definition has its rows, in every version."""

from pathlib import Path

import pytest
from conformance.count import report, show
from conformance.table import CASES, elsewhere, gaps, is_in, page, reference, rows

from openoutcry.protocol.fix.versions import Version

ROOT = Path(__file__).parents[2]


def test_rows_have_names_of_their_own() -> None:
    names = [row.id for row in rows()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("version", list(Version), ids=lambda version: version.label)
@pytest.mark.parametrize("case", CASES)
def test_every_case_of_the_standard_is_there(case: str, version: Version) -> None:
    has_row = any(case in row.case and row.holds_in(version) for row in rows())
    reasons = [gap.reason for gap in gaps() if gap.case == case and is_in(version, gap.versions)]
    reasons += [row.otherwise for row in rows() if case in row.case and not row.holds_in(version)]
    assert has_row or any(reasons)


def test_no_case_is_made_up() -> None:
    named = {case for row in rows() for case in row.case} | {gap.case for gap in gaps()}
    assert named <= set(CASES)


def test_what_does_not_apply_has_no_row() -> None:
    for gap in gaps():
        held = [
            row.id
            for row in rows()
            for version in Version
            if gap.case in row.case and row.holds_in(version) and is_in(version, gap.versions)
        ]
        assert not held


def test_every_line_of_the_behaviour_has_a_row() -> None:
    named = {line for row in rows() for line in row.page}
    assert named | set(elsewhere()) == set(page())
    assert not named & set(elsewhere())
    for path in elsewhere().values():
        assert (ROOT / path).is_file()


def test_every_choice_of_the_behaviour_is_made_in_a_row() -> None:
    chosen = {line for row in rows() if row.choice for line in row.page}
    assert {key for key, text in page().items() if text.startswith("choice,")} <= chosen


def test_every_definition_of_the_reference_engines_has_a_row() -> None:
    known = {name for names in reference()["definitions"].values() for name in names.split()}
    named = {name for row in rows() for name in row.like}
    assert named == known


def test_rows_that_do_not_hold_everywhere_say_why() -> None:
    for row in rows():
        is_everywhere = all(row.holds_in(version) for version in Version)
        assert is_everywhere == (not row.otherwise), row.id
        assert row.title
        assert row.result
        assert row.is_fake or row.is_live, row.id


def test_the_count_tells_what_failed() -> None:
    row = next(row for row in rows() if row.case == ("2.c",))
    good = {(row.id, version): {"acceptor": "", "initiator": ""} for version in Version}
    line = next(line for line in report(good) if line.startswith("FIX.4.2 "))
    assert line.split() == ["FIX.4.2", "85", "1", "0", str(len(gaps())), "1/1", "1/1", "-"]
    bad = {**good, (row.id, Version.FIX42): {"acceptor": "", "initiator": "another number"}}
    lines = list(report(bad))
    assert f"{row.id} FIX.4.2 initiator: another number" in lines
    line = next(line for line in lines if line.startswith("FIX.4.2 "))
    assert line.split()[2:4] == ["0", "1"]
    assert next(line for line in lines if line.startswith("FIX.4.3 ")).split()[2:4] == ["1", "0"]


def test_bytes_are_shown_for_the_reader() -> None:
    lines = list(show("3.b-sum", Version.FIX40))
    assert lines[0] == "3.b-sum, acceptor: a CheckSum that is wrong by one"
    assert lines[4] == (
        "  > 8=FIX.4.0|9=51|35=1|49=THEM|56=US|34=2|52=20261122-10:00:00|112=x|10=020|"
    )
