"""A real marketplace's orders: every known defect of the data is found, by an account or by a question."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from stories import EXAMPLES, Story, broken_promises, follow

pytestmark = pytest.mark.real_data

NAME = "marketplace_orders"
CUT = ("--at", "2018-12-31T00:00:00Z")


@pytest.fixture(scope="module")
def data(real_data: Callable[[str], Path]) -> Path:
    return real_data(NAME)


@pytest.fixture(scope="module")
def market(data: Path, copy_example: Callable[[str], Story]) -> Story:
    story = copy_example(NAME)
    receipt = story.ask("ingest", "--variable", f"orders={data}")
    assert (receipt["accepted"], receipt["duplicates"], receipt["quarantined"]) == (124_459, 0, 0)
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
    said = story.say("ingest", "--variable", "orders=/nowhere")
    assert said.exit_code == 1
    assert "10_orders" in said.error
    assert "/nowhere/sample_1000/olist_orders_dataset.csv" in said.error
    assert "source_input_missing" in said.error
    assert story.rows("SELECT count(*) FROM events") == [(0,)]


def test_a_second_run_takes_nothing_in_twice(data: Path, market: Story) -> None:
    """Ingesting the same data again accepts nothing and changes no sequence."""
    again = market.ask("ingest", "--variable", f"orders={data}")
    assert (again["accepted"], again["duplicates"], again["quarantined"]) == (0, 124_459, 0)
    assert market.say("verify").exit_code == 0


def test_money_that_stands_still(market: Story) -> None:
    """At a cut after every window, each account type holds exactly the money the README says, all of it overdue."""
    assert market.clearing(CUT[1]) == {
        "order_charge": (28, 28, 143_93),
        "order_to_ship": (25, 25, 3_356_13),
        "order_in_transit": (44, 44, 8_913_99),
        "refund_due": (37, 37, 8_711_80),
        "order_to_credit": (0, 0, 0),
    }


def test_all_payments_of_the_file_are_in_the_books(market: Story) -> None:
    """The payment providers owe the sum that the data's owner publishes, 16,008,872.12 BRL."""
    assert market.rows("SELECT sum(balance)::BIGINT FROM balances WHERE account_type = 'payment_provider'") == [
        (-16_008_872_12,)
    ]


def test_what_the_extract_holds(market: Story) -> None:
    """The orders of the README's table of the extract add up to the 99,440 orders that have payments."""
    sql = "SELECT type, count(DISTINCT property_order) FROM events WHERE type LIKE 'order.placed%' "
    sql += "OR type IN ('order.items_listed', 'payment.captured_without_order') GROUP BY 1"
    orders = dict(market.rows(sql))
    assert orders == {
        "order.placed": 1_135,
        "order.placed_without_items": 2_936,
        "order.items_listed": 4_357,
        "payment.captured_without_order": 91_012,
    }
    assert sum(orders.values()) == 99_440
    assert orders["order.placed"] + orders["order.items_listed"] == 5_492


def test_cents_of_the_thousand_complete_orders(market: Story) -> None:
    """Of the 1,000 complete orders exactly four are open in order_charge, by -2, -2, -1 and +1 cents."""
    sql = """SELECT o.balance::BIGINT FROM open_accounts AS o JOIN events AS e USING (property_order)
             WHERE o.account_type = 'order_charge' AND e.property_extract = 'sample_1000' ORDER BY 1"""
    assert market.rows(sql, *CUT) == [(-2,), (-2,), (-1,), (1,)]


def test_instalment_interest(market: Story) -> None:
    """Fourteen orders were overpaid by more than four cents, all by card, thirteen of them in 3 to 10 instalments."""
    sql = """SELECT DISTINCT o.property_order, e.property_payment_type, e.property_installments::INTEGER
             FROM open_accounts AS o JOIN events AS e USING (property_order)
             WHERE o.account_type = 'order_charge' AND o.balance > 4 AND e.type = 'payment.captured'
             AND e.property_payment_type = 'credit_card'"""
    instalments = sorted(row[2] for row in market.rows(sql, *CUT))
    assert (len(instalments), instalments[0], instalments[1], instalments[-1]) == (14, 1, 3, 10)


def test_orders_open_in_order_charge(market: Story) -> None:
    """The 28 differences lie between -4.90 and +30.64 BRL, one of them negative by more than cents, net 133.79."""
    balances = sorted(row["balance"] for row in market.ask("open", "--account-type", "order_charge", *CUT))
    assert (len(balances), balances[0], balances[-1], sum(balances)) == (28, -490, 3064, 133_79)
    assert sum(abs(balance) <= 4 for balance in balances) == 13
    assert sum(balance < -4 for balance in balances) == 1


def test_paid_cancelled_and_never_refunded(market: Story) -> None:
    """38 cancelled orders never saw a refund; 37 hold money, and the other was paid with a payment of zero."""
    sql = "SELECT count(*) FROM events WHERE type = "
    assert market.rows(sql + "'order.cancelled'") == [(38,)]
    assert market.rows(sql + "'refund.paid'") == [(0,)]
    sql = """SELECT count(*) AS payments, max(amount_paid) FROM events
             WHERE type = 'payment.captured'
             AND property_order IN (SELECT property_order FROM events WHERE type = 'order.cancelled')
             AND property_order NOT IN (SELECT property_order FROM open_accounts WHERE account_type = 'refund_due')"""
    assert market.rows(sql, *CUT) == [(1, 0)]


def test_status_of_orders_that_never_arrived(market: Story, data: Path) -> None:
    """The marketplace's own status of the orders that stand in fulfilment is the one that the README names."""
    accounts = market.ask("open", "--flow", "fulfilment", *CUT)
    stands = {row["properties"]["order"]: row["account_type"] for row in accounts}
    files = [str(data / part / "olist_orders_dataset.csv") for part in ("sample_1000", "first_4071")]
    sql = "SELECT DISTINCT order_id, order_status FROM read_csv(?, union_by_name = true)"
    status = dict(duckdb.execute(sql, [files]).fetchall())
    counts: dict[tuple[str, str], int] = {}
    for order, account_type in stands.items():
        key = (account_type, status[order])
        counts[key] = counts.get(key, 0) + 1
    assert counts == {
        ("order_to_ship", "processing"): 15,
        ("order_to_ship", "invoiced"): 10,
        ("order_in_transit", "shipped"): 43,
        ("order_in_transit", "delivered"): 1,
    }


def test_zero_payments(market: Story) -> None:
    """The nine payments of zero make no entry, and a question about events finds them all the same."""
    zero = "type LIKE 'payment.captured%' AND amount_paid = 0"
    assert market.rows(f"SELECT count(*) FROM events WHERE {zero}") == [(9,)]
    assert market.rows(
        f"SELECT count(*) FROM entries WHERE sequence IN (SELECT sequence FROM events WHERE {zero})"
    ) == [(0,)]


def test_payment_sequences_that_start_at_two(market: Story) -> None:
    """Eighty orders start with payment 2; four of them have known items, and all four are paid to the cent."""
    started = """(SELECT property_order, min(property_payment_sequence::INTEGER) AS first FROM events
                  WHERE type LIKE 'payment.captured%' GROUP BY 1 HAVING first <> 1)"""
    assert market.rows(f"SELECT first, count(*) FROM {started} GROUP BY 1") == [(2, 80)]
    known = f"SELECT property_order FROM {started} JOIN events USING (property_order) "
    known += "WHERE type IN ('order.placed', 'order.items_listed')"
    assert len(market.rows(known)) == 4
    still_open = "SELECT count(*) FROM open_accounts WHERE account_type = 'order_charge' AND property_order IN "
    assert market.rows(f"{still_open} ({known})", *CUT) == [(0,)]


def test_goods_that_left_too_early(market: Story) -> None:
    """58 orders were handed over before their approval, 8 of all before their purchase."""
    sql = """SELECT count(DISTINCT property_order) FROM events AS h JOIN events AS e USING (property_order)
             WHERE h.type = 'order.handed_over' AND h.effective_at < e.effective_at AND """
    assert market.rows(sql + "e.type = 'payment.captured'") == [(58,)]
    assert market.rows(sql + "e.type LIKE 'order.placed%'") == [(8,)]


def test_late_deliveries(market: Story) -> None:
    """322 of 3,965 deliveries (8.1 %) are after the promise, and 274 when the whole promised day is granted."""
    sql = """SELECT count(*), count(*) FILTER (effective_at > property_promised_by::TIMESTAMPTZ),
             count(*) FILTER (effective_at >= property_promised_by::TIMESTAMPTZ + INTERVAL 1 DAY)
             FROM events WHERE type = 'order.delivered'"""
    assert market.rows(sql) == [(3_965, 322, 274)]


def test_windows_by_the_customers_state(market: Story) -> None:
    """An order to Sao Paulo is late after 18 days, to Rio de Janeiro after 46; the whole has no 99th percentile."""
    content = market.ask("expectations", "--account-type", "order_in_transit", *CUT)
    whole, *parts = content["account_types"]
    assert (whole["episode_count"], whole["open_count"], whole["learned_seconds"]) == (4_011, 44, 2_779_241)
    assert whole["quantile_seconds"]["0.99"] is None
    learned = {item["value"]: item["learned_seconds"] // 86_400 for item in parts}
    assert learned == {"unknown": 31, "SP": 18, "RJ": 46, "MG": 23, "PR": 24, "RS": 40, None: 40}
    assert sum(item["episode_count"] for item in parts) == whole["episode_count"]
    assert round(100 * next(item["beyond"] for item in parts if item["value"] == "RJ"), 1) == 3.6
