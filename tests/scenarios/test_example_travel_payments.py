"""A real university's expense claims: those that were never paid stand in one account type, and the desks say where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from stories import EXAMPLES, Story, broken_promises, follow

pytestmark = pytest.mark.real_data

NAME = "travel_payments"
CUT = ("--at", "2019-03-01T00:00:00Z")


@pytest.fixture(scope="module")
def data(real_data: Callable[[str], Path]) -> Path:
    return real_data(NAME)


@pytest.fixture(scope="module")
def claims(data: Path, copy_example: Callable[[str], Story]) -> Story:
    story = copy_example(NAME)
    receipt = story.ask("ingest", "--variable", f"travel={data}")
    assert (receipt["accepted"], receipt["duplicates"], receipt["quarantined"]) == (72_441, 0, 0)
    return story


def test_readme_holds_its_word(data: Path, checkout: Path) -> None:
    """Every command of the README runs with exit code 0 and prints the lines that the README shows."""
    assert data.is_dir()
    blocks = follow(EXAMPLES / NAME / "README.md", checkout)
    assert len(blocks) >= 13
    assert sum(bool(block.promised) for block in blocks) == len(blocks)
    assert broken_promises(blocks) == []


def test_absent_data_is_said_and_nothing_is_taken_in(copy_example: Callable[[str], Story]) -> None:
    """Without its data the project says which source misses which file, and stops with exit code 1."""
    story = copy_example(NAME)
    said = story.say("ingest", "--variable", "travel=/nowhere")
    assert said.exit_code == 1
    assert "10_claims" in said.error
    assert "/nowhere/RequestForPayment.csv.gz" in said.error
    assert story.rows("SELECT count(*) FROM events") == [(0,)]


def test_a_second_run_takes_nothing_in_twice(data: Path, claims: Story) -> None:
    """Ingesting the same data again accepts nothing, and the log verifies."""
    again = claims.ask("ingest", "--variable", f"travel={data}")
    assert (again["accepted"], again["duplicates"], again["quarantined"]) == (0, 72_441, 0)
    assert claims.say("verify").exit_code == 0


def test_money_that_stands_still(claims: Story) -> None:
    """At a cut after every window, each account type holds exactly the money the README says, all of it overdue."""
    assert claims.clearing(CUT[1]) == {
        "claim_unpaid": (577, 577, 1_187_153_69),
        "payment_requested": (6, 6, 292_39),
        "claim_submitted": (1, 1, 225_30),
        "claim_approved": (18, 18, 2_848_07),
        "claim_returned": (46, 46, 18_211_40),
    }


def test_never_paid_claims_are_exactly_those_of_the_log(claims: Story) -> None:
    """The log never pays 573 requests and 445 declarations; without the 441 of zero, claim_unpaid holds just these."""
    sql = """SELECT property_claim, property_claim_kind, max(amount_claimed) FROM events
             GROUP BY ALL HAVING NOT bool_or(type = 'payment.handled')"""
    never_paid = claims.rows(sql)
    kinds = [kind for _, kind, _ in never_paid]
    assert (kinds.count("request"), kinds.count("declaration")) == (573, 445)
    zero = [kind for _, kind, claimed in never_paid if claimed == 0]
    assert (zero.count("request"), zero.count("declaration")) == (1, 440)
    accounts = claims.ask("open", "--account-type", "claim_unpaid", *CUT)
    assert {(row["properties"]["claim"], row["balance"]) for row in accounts} == {
        (claim, claimed) for claim, _, claimed in never_paid if claimed
    }
    assert {row["state"] for row in accounts} == {"overdue"}


def test_every_claim_of_zero_was_never_paid(claims: Story) -> None:
    """No claim of zero was paid, so no payment is hidden by moves that make no entry."""
    assert claims.rows("SELECT count(*) FROM events WHERE type = 'payment.handled' AND amount_claimed = 0") == [(0,)]
    sql = """SELECT last, count(*) FROM (SELECT arg_max(type, sequence) AS last FROM events
             GROUP BY property_claim HAVING max(amount_claimed) = 0) GROUP BY 1"""
    assert dict(claims.rows(sql)) == {
        "claim.saved": 134,
        "claim.withdrawn": 283,
        "claim.cancelled": 1,
        "claim.approval_revoked": 23,
    }


def test_where_the_never_paid_claims_stand(claims: Story) -> None:
    """521 are drafts or withdrawn (1,166,471.85 EUR); the other 56 (20,681.84 EUR) once had a final approval."""
    sql = """SELECT last, count(*), sum(balance)::BIGINT, sum(approved::INTEGER)::BIGINT
             FROM open_accounts JOIN (
                 SELECT property_claim, arg_max(type, sequence) AS last, bool_or(type = 'claim.approved') AS approved
                 FROM events GROUP BY 1
             ) USING (property_claim) WHERE account_type = 'claim_unpaid' GROUP BY 1"""
    stands = {last: (count, money, approved) for last, count, money, approved in claims.rows(sql, *CUT)}
    assert {last: count for last, (count, _, _) in stands.items()} == {
        "claim.withdrawn": 447,
        "claim.saved": 74,
        "claim.approval_revoked": 46,
        "claim.approved": 10,
    }
    assert stands["claim.withdrawn"][1] + stands["claim.saved"][1] == 1_166_471_85
    in_question = [stands["claim.approval_revoked"], stands["claim.approved"]]
    assert sum(money for _, money, _ in in_question) == 20_681_84
    assert sum(approved for _, _, approved in in_question) == 56


def test_control_account_mirrors_the_unpaid_claims(claims: Story) -> None:
    """The control account of each kind of claim is minus the sum of its open accounts."""
    sql = """SELECT property_claim_kind, sum(balance)::BIGINT FROM balances
             WHERE account_type = 'unpaid_claims_control' GROUP BY 1 ORDER BY 1"""
    assert claims.rows(sql, *CUT) == [("declaration", -481_27), ("request", -1_186_672_42)]


def test_approved_and_then_nothing(claims: Story) -> None:
    """Ten requests stop after their final approval with 2,470.44 EUR; nine of them since July to December 2017."""
    sql = """SELECT o.balance::BIGINT, strftime(o.opened_at, '%Y-%m') FROM open_accounts AS o JOIN (
                 SELECT property_claim, arg_max(type, sequence) AS last FROM events GROUP BY 1
             ) USING (property_claim) WHERE account_type = 'claim_approved' AND last = 'claim.approved'"""
    found = claims.rows(sql, *CUT)
    assert (len(found), sum(balance for balance, _ in found)) == (10, 2_470_44)
    assert sum("2017-07" <= month <= "2017-12" for _, month in found) == 9
    accounts = claims.ask("open", "--account-type", "claim_approved", *CUT)
    assert sum(row["balance"] > 0 for row in accounts) == 12
    assert sum(row["balance"] < 0 for row in accounts) == 6


def test_sent_back_after_approval(claims: Story) -> None:
    """41 requests (17,730.13 EUR) and 5 declarations (481.27 EUR) are returned, four of them with a payment request."""
    accounts = claims.ask("open", "--account-type", "claim_returned", *CUT)
    money = {
        kind: [row["balance"] for row in accounts if row["properties"]["claim_kind"] == kind]
        for kind in ("request", "declaration")
    }
    assert {kind: (len(part), sum(part)) for kind, part in money.items()} == {
        "request": (41, 17_730_13),
        "declaration": (5, 481_27),
    }
    sql = """SELECT count(DISTINCT property_claim) FROM open_accounts JOIN events USING (property_claim)
             WHERE account_type = 'claim_returned' AND type = 'payment.requested'"""
    assert claims.rows(sql, *CUT) == [(4,)]


def test_paid_after_its_rejection(claims: Story) -> None:
    """The trace of a claim that was paid after its rejection tells its five steps in their order."""
    found = claims.ask("trace", "claim=declaration90815")
    events = sorted(found["events"], key=lambda event: (event["effective_at"], event["sequence"]))
    assert [event["type"] for event in events] == [
        "claim.submitted",
        "claim.rejected",
        "payment.requested",
        "payment.handled",
        "claim.withdrawn",
    ]


def test_a_claim_counts_once_however_often_it_is_submitted(claims: Story) -> None:
    """A request that was submitted four times and paid once is cleared as a whole, and open at the desk that has it."""
    sql = """SELECT account_type, balance::BIGINT FROM open_accounts
             WHERE property_claim = 'requestforpayment173579'"""
    assert claims.rows(sql, *CUT) == [("claim_submitted", 225_30)]


def test_bank_runs(claims: Story) -> None:
    """99.7 % of the 16,099 payments fall on the two days of the bank run, and 2.5 % miss the window of five days."""
    sql = """SELECT dayname(effective_at AT TIME ZONE 'Europe/Amsterdam'), count(*)
             FROM events WHERE type = 'payment.handled' GROUP BY 1"""
    days = dict(claims.rows(sql))
    assert sum(days.values()) == 16_099
    assert round(100 * (days["Monday"] + days["Thursday"]) / 16_099, 1) == 99.7
    sql = """SELECT account_type, round(100 * count(*) FILTER (cleared_at > due_at) / count(*), 1) FROM episodes
             WHERE account_type IN ('claim_unpaid', 'payment_requested') AND cleared_at IS NOT NULL GROUP BY 1"""
    assert dict(claims.rows(sql)) == {"claim_unpaid": 61.9, "payment_requested": 2.5}


def test_what_2017_teaches_of_the_payment_desk(claims: Story) -> None:
    """The window of 2017 is 2,912,471 s; of 12,863 requests of 2018, 2 are beyond it, and 234 beyond the declared."""
    content = claims.ask("expectations", "--account-type", "payment_requested", "--at", "2018-01-01T00:00:00Z")
    (learned,) = content["account_types"]
    assert (learned["state"], learned["episode_count"], learned["open_count"]) == ("learned", 3_101, 60)
    assert (learned["quantile_seconds"]["0.99"], learned["learned_seconds"]) == (2_427_059, 2_912_471)
    sql = f"""SELECT count(*), count(*) FILTER (took > {learned["learned_seconds"]}), count(*) FILTER (late),
                     count(*) FILTER (late AND paid) FROM (
                  SELECT opened_at, epoch(cleared_at - opened_at) AS took, cleared_at > due_at AS late, true AS paid
                  FROM episodes WHERE account_type = 'payment_requested'
                  UNION ALL SELECT opened_at, age_seconds, state = 'overdue', false
                  FROM open_accounts WHERE account_type = 'payment_requested'
              ) WHERE year(opened_at) = 2018"""
    assert claims.rows(sql, *CUT) == [(12_863, 2, 234, 232)]


def test_open_requests_make_the_learned_window_longer(claims: Story) -> None:
    """Of the requests of 2017 that were paid in it, 99 % were within 14 days; with the open ones it is 28."""
    sql = """SELECT quantile_disc(epoch(cleared_at - opened_at), 0.99) FROM episodes
             WHERE account_type = 'payment_requested'"""
    ((paid_alone,),) = claims.rows(sql, "--at", "2018-01-01T00:00:00Z")
    assert 13 * 86_400 < paid_alone < 14 * 86_400 < 2_427_059


def test_the_bank_run_on_the_wrong_day(claims: Story) -> None:
    """In 120 days, Monday 30 July 2018 is silent, the Tuesday after has too many, and nothing else is found."""
    options = ("--event-type", "payment.handled", "--bucket", "day", "--days", "120", "--at", "2018-10-01T00:00:00Z")
    content = claims.ask("arrivals", *options)
    found = [(item["kind"], item["start"], item["count"]) for item in content["findings"]]
    assert found == [("silent", "2018-07-29T22:00:00Z", 0), ("too_many", "2018-07-30T22:00:00Z", 46)]
    assert claims.say("arrivals", "--fail", *options).exit_code == 1
