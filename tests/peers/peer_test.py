"""A client that was written from docs/protocol.md alone against the engine: over TCP, a unix socket and UDP."""

import functools
import itertools
import os
import random
import shutil
import socket
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '../end'))

from harness import EndTest, Engine, main, make_directory, run_tool  # noqa: E402: it stands in tests/end
from holdfast_client import *


def over_each(test):
    """The test once over each transport, with a shop there and a SKU of which 100 are at location 7 and 100 at location 8."""
    @functools.wraps(test)
    def run(self):
        for address in self.engine.addresses:
            with self.subTest(address):
                shop = self.open(address)
                test(self, shop, self.furnish(shop))
    return run


class PeerTest(EndTest):
    """A class's one engine of two shards behind the three transports; each test has SKUs of its own."""

    @classmethod
    def setUpClass(cls):
        directory = make_directory()
        cls.addClassCleanup(shutil.rmtree, directory, ignore_errors=True)
        cls.engine = Engine(os.path.join(directory, 'data'), '--listen', 'unix://' + os.path.join(directory, 's'), '--listen',
                            'udp://127.0.0.1:0', shards=2)
        cls.addClassCleanup(cls.engine.kill)
        cls.engine.wait_ready()
        cls.names = itertools.count(1)

    def setUp(self):
        super().setUp()
        self.eventually(lambda: len(self.engine.addresses) == 3, 'word of three addresses')
        self.tcp, self.unix, self.udp = self.engine.addresses

    def open(self, address, **more):
        shop = connect(address, **more)
        self.addCleanup(shop.session.close)
        return shop

    def furnish(self, shop):
        sku = f'SKU {next(self.names)}'
        for location in (7, 8):
            self.ok(shop.define_location(location, f'store {location}'))
        self.ok(shop.define_sku(sku, 'An apple'))
        for location in (7, 8):
            self.ok(shop.receive(sku, location, 100, reference='truck'))
        return sku

    def ok(self, answer, **fields):
        return self.got(answer, Result.OK, **fields)

    def got(self, answer, result, **fields):
        self.assertEqual(answer.result, result, answer)
        for name, value in fields.items():
            self.assertEqual(getattr(answer, name), value, (name, answer))
        return answer

    def cell(self, shop, sku, location=7):
        return shop.get_cell(sku, location).items[0]


class Trade(PeerTest):
    @over_each
    def test_an_order_goes_from_its_hold_to_the_truck(self, shop, sku):
        lines = [Line(sku, 7, 2, 199), Line(sku, 8, 1, 5)]
        held = self.ok(shop.place(lines, 42, 900000, reference='basket'), order=State.HELD, version=1, repeated=False)
        self.assertGreater(held.position, 0)
        self.assertEqual(held.due_ns, shop.get_order(held.id).items[0].placed_ns + 900 * 10 ** 9)
        again = self.ok(shop.place(lines, 42, 900000, reference='basket', number=held.id), repeated=True)
        self.assertEqual((again.position, again.due_ns, again.version), (held.position, held.due_ns, held.version))
        self.got(shop.place(lines[:1], 42, 900000, number=held.id), Result.ID_REUSED)
        cell = self.cell(shop, sku)
        self.assertEqual((cell.sellable, cell.reserved, cell.available, cell.sku), (100, 2, 98, sku_bytes(sku)))
        found = self.ok(shop.get_order(held.id), order=State.HELD, due_ns=held.due_ns)
        order = found.items[0]
        self.assertEqual((order.id, order.customer, order.line_count, order.intents), (held.id, 42, 2, 0))
        self.assertEqual([line[:4] for line in found.items[1:]], [(sku_bytes(sku), 7, 2, 199), (sku_bytes(sku), 8, 1, 5)])
        self.got(shop.ship(held.id), Result.BAD_STATE, order=State.HELD)
        settled = self.ok(shop.settle(held.id, 403, 'EUR', 'card 1'), order=State.CONFIRMED, payment=Payment.CAPTURE_PENDING, value=1)
        self.ok(shop.settle(held.id, 403, 'EUR', 'card 1', number=settled.id), repeated=True, value=1)
        self.got(shop.payment_result(held.id, 1, Outcome.CAPTURED, 402, 'EUR'), Result.AMOUNT_MISMATCH)
        self.got(shop.payment_result(held.id, 1, Outcome.CAPTURED, 403, 'USD'), Result.AMOUNT_MISMATCH)
        self.got(shop.payment_result(held.id, 2, Outcome.CAPTURED, 403, 'EUR'), Result.UNKNOWN_INTENT)
        self.got(shop.payment_result(held.id, 1, 9, 403, 'EUR'), Result.BAD_ARGUMENT)
        self.ok(shop.payment_result(held.id, 1, Outcome.CAPTURED, 403, 'EUR'), payment=Payment.CAPTURED)
        self.ok(shop.ship(held.id), order=State.CLOSED, fulfilment=Fulfilment.SHIPPED)
        order = self.ok(shop.get_order(held.id), order=State.CLOSED).items[0]
        self.assertEqual((order.authorised, order.captured, order.refunded, order.currency, order.intents), (403, 403, 0, 'EUR', 1))
        self.assertEqual([line.shipped for line in shop.get_order(held.id).items[1:]], [2, 1])
        last = self.ok(shop.place(lines, 42, 900000, reference='basket', number=held.id), repeated=True)
        self.assertEqual((last.order, last.version, last.due_ns), (State.CLOSED, 4, 0))  # the result is the first's, the rest is of now
        self.assertEqual(self.cell(shop, sku)[2:10], (98, 0, 0, 0, 0, 0, 0, 98))

    @over_each
    def test_an_order_that_does_not_fit_holds_nothing_and_says_what_there_is(self, shop, sku):
        lines = [Line(sku, 7, 60, 1), Line(sku, 8, 100, 1), Line(sku, 7, 60, 1)]
        short = self.got(shop.place(lines, 42, 900000), Result.SHORT, order=State.NONE, detail=0)
        self.assertEqual(short.items, [Short(0, 120, 100), Short(2, 120, 100)])
        self.assertEqual(self.cell(shop, sku).reserved, 0)
        granted = self.ok(shop.place(lines[:2], 42, 900000, number=short.id))  # a refused command has freed its id
        self.got(shop.place([Line(sku, 7, 41, 1)], 1, 900000), Result.SHORT, items=[Short(0, 41, 40)])
        self.ok(shop.cancel(granted.id), order=State.CANCELLED)
        self.got(shop.cancel(granted.id), Result.BAD_STATE, order=State.CANCELLED)
        self.assertEqual(self.cell(shop, sku).available, 100)

    @over_each
    def test_faults_of_an_order_are_named_with_their_line(self, shop, sku):
        good = Line(sku, 7, 1, 1)
        for line, result in ((Line('pear', 7, 1, 1), Result.UNKNOWN_SKU), (Line(sku, 99, 1, 1), Result.UNKNOWN_LOCATION),
                             (Line(sku, 7, 0, 1), Result.BAD_QUANTITY), (Line(sku, 7, 1 << 31, 1), Result.BAD_QUANTITY),
                             (Line(sku, 7, 1, 1 << 48), Result.BAD_ARGUMENT)):
            self.got(shop.place([good, line], 42, 900000), result, detail=1)
        self.got(shop.place([good], 42, 0), Result.BAD_ARGUMENT)
        self.got(shop.place([good], 42, 900000, channel=2), Result.UNKNOWN_CHANNEL)
        self.got(shop.place([good], 42, 900000, number=make_id(route_of(sku) ^ 1, shop.session.now_ms())), Result.WRONG_ROUTE)
        self.got(shop.place([good], 42, 900000, number=make_id(route_of(sku), 5)), Result.ID_TOO_OLD)
        self.got(shop.place([good], 42, 900000, number=make_id(route_of(sku), shop.session.now_ms() + 3700000)), Result.ID_IN_FUTURE)
        self.assertEqual(self.cell(shop, sku).reserved, 0)

    @over_each
    def test_a_hold_is_extended_or_ends_by_itself(self, shop, sku):
        held = self.ok(shop.place([Line(sku, 7, 1, 10)], 42, 60000))
        longer = self.ok(shop.extend(held.id, 1800000), order=State.HELD, version=2)
        self.assertGreater(longer.due_ns, held.due_ns + 1700 * 10 ** 9)
        self.got(shop.extend(held.id, 0), Result.BAD_ARGUMENT)
        brief = self.ok(shop.place([Line(sku, 7, 5, 10)], 42, 30))
        self.eventually(lambda: shop.get_order(brief.id).order == State.EXPIRED, 'the end of a hold of 30 ms')
        self.assertEqual(self.cell(shop, sku).reserved, 1)
        self.got(shop.extend(brief.id, 1000), Result.BAD_STATE, order=State.EXPIRED)
        self.ok(shop.settle(brief.id, 50, 'EUR', 'late'), order=State.CONFIRMED)  # late, but the stock is still there
        self.assertEqual(self.cell(shop, sku).allocated, 5)
        gone = self.ok(shop.place([Line(sku, 8, 100, 10)], 42, 30))
        self.eventually(lambda: shop.get_order(gone.id).order == State.EXPIRED, 'the end of another')
        self.ok(shop.place([Line(sku, 8, 100, 10)], 43, 60000))
        self.got(shop.settle(gone.id, 1000, 'EUR', 'too late'), Result.STOCK_LOST, payment=Payment.REFUND_DUE, value=1)
        self.ok(shop.payment_result(gone.id, 1, Outcome.REFUNDED, 1000, 'EUR'), order=State.EXPIRED, payment=Payment.REFUNDED)

    @over_each
    def test_a_cancelled_order_gives_its_money_back(self, shop, sku):
        for capture_first in (True, False):
            held = self.ok(shop.place([Line(sku, 7, 1, 10)], 42, 60000))
            self.ok(shop.settle(held.id, 10, 'EUR', 'card'), value=1)
            steps = [lambda: shop.payment_result(held.id, 1, Outcome.CAPTURED, 10, 'EUR'), lambda: shop.cancel(held.id)]
            self.ok((steps if capture_first else steps[::-1])[0](), value=0)
            self.ok((steps if capture_first else steps[::-1])[1](), value=2, order=State.CANCELLED, payment=Payment.REFUND_DUE)
            self.got(shop.payment_result(held.id, 1, Outcome.REFUNDED, 10, 'EUR'), Result.UNKNOWN_INTENT)
            self.got(shop.payment_result(held.id, 2, Outcome.REFUNDED, 9, 'EUR'), Result.AMOUNT_MISMATCH)
            for outcome in (Outcome.CAPTURED, Outcome.FAILED, Outcome.VOIDED):
                self.got(shop.payment_result(held.id, 2, outcome, 10, 'EUR'), Result.BAD_STATE)
            self.ok(shop.payment_result(held.id, 2, Outcome.REFUNDED, 10, 'EUR'), payment=Payment.REFUNDED)
            self.assertEqual(shop.get_order(held.id).items[0].refunded, 10)
            self.assertEqual(self.cell(shop, sku).available, 100)

    def test_a_hold_cannot_be_extended_for_ever(self):
        shop = self.open(self.unix)
        held = self.ok(shop.place([Line(self.furnish(shop), 7, 1, 10)], 42, 60000))
        days_ms = 30 * 86400 * 1000
        self.got(shop.extend(held.id, days_ms + 1), Result.BAD_ARGUMENT)
        self.got(shop.extend(held.id, days_ms), Result.TOO_MANY, due_ns=held.due_ns)
        for _ in range(16):
            self.ok(shop.extend(held.id, 60000))
        self.got(shop.extend(held.id, 60000), Result.TOO_MANY, order=State.HELD)

    @over_each
    def test_a_failed_payment_is_tried_again_and_a_settle_without_its_order_is_to_be_refunded(self, shop, sku):
        held = self.ok(shop.place([Line(sku, 7, 1, 10)], 42, 60000))
        for currency in ('eur', 'EU1', ''):
            self.got(shop.settle(held.id, 10, currency, 'card'), Result.BAD_ARGUMENT, order=State.HELD)
        self.got(shop.settle(held.id, 0, 'EUR', 'card'), Result.BAD_ARGUMENT)
        self.ok(shop.settle(held.id, 10, 'EUR', 'card'), value=1)
        self.ok(shop.payment_result(held.id, 1, Outcome.FAILED, 10, 'EUR'), payment=Payment.FAILED)
        self.ok(shop.settle(held.id, 10, 'EUR', 'other card'), value=2, payment=Payment.CAPTURE_PENDING)
        nowhere = shop.session.fresh_id(route_of(sku))
        self.got(shop.settle(nowhere, 10, 'EUR', 'card'), Result.REFUND_DUE, payment=Payment.REFUND_DUE)
        for answer in (shop.settle(nowhere, 10, 'EUR'), shop.ship(nowhere), shop.cancel(nowhere), shop.get_order(nowhere)):
            self.got(answer, Result.UNKNOWN_ORDER, items=[])


class Stock(PeerTest):
    def test_an_order_of_many_lines_is_read_in_pages(self):
        stream = self.open(self.tcp)
        sku = self.furnish(stream)
        lines = [Line(sku, 7 + at % 2, 1 + at % 3 // 2, at) for at in range(75)]
        held = self.ok(stream.place(lines, 42, 600000))
        whole = self.ok(stream.get_order(held.id), more=False, item_count=76)
        self.assertEqual([(line.location, line.price) for line in whole.items[1:]], [(7 + at % 2, at) for at in range(75)])
        for size in (1232, 240):
            shop = self.open(self.udp, datagram_bytes=size)
            self.assertEqual(list(shop.lines(held.id)), whole.items[1:])
            page = self.ok(shop.get_order(held.id), more=True, order=State.HELD, version=whole.version)
            self.assertEqual((page.items[0], len(page.items)), (whole.items[0], 1 + (size - 64 - 48 - 80) // 48))
            found = run_tool(self.udp, 'order', 'get', f'{held.id:032x}')
            self.assertEqual([line['price'] for line in found.json['lines']], list(range(75)), str(found))
        for shop in (stream, self.open(self.udp, datagram_bytes=1232)):
            self.ok(shop.get_order(held.id, first_line=74), more=False, items=[whole.items[0], whole.items[75]])
            for first in (75, 76, (1 << 32) - 1):
                self.ok(shop.get_order(held.id, first_line=first), more=False, items=whole.items[:1])

    @over_each
    def test_limits_and_sale_windows_of_a_sku(self, shop, sku):
        self.ok(shop.define_policy(sku, per_order=4, per_customer=5, window_s=1000, safety_stock=3))
        self.ok(shop.define_policy(sku, 8, safety_stock=90))
        self.got(shop.define_policy(sku, 8, per_order=1), Result.BAD_ARGUMENT)
        found = self.ok(shop.get_sku(sku), item_count=3)
        self.assertEqual(found.items[0], Sku(sku_bytes(sku), 4, 5, 1000, 3, 0, 0, 2, 'An apple'))
        self.assertEqual([(cell.location, cell.safety_stock, cell.available) for cell in found.items[1:]], [(7, 3, 97), (8, 90, 10)])
        self.got(shop.place([Line(sku, 7, 5, 1)], 1, 60000), Result.LIMIT_PER_ORDER)
        self.ok(shop.place([Line(sku, 7, 4, 1)], 1, 60000))
        self.got(shop.place([Line(sku, 7, 2, 1)], 1, 60000), Result.LIMIT_PER_CUSTOMER)
        self.ok(shop.place([Line(sku, 7, 1, 1)], 1, 60000))
        self.ok(shop.define_policy(sku, opens_ms=shop.session.now_ms() + 1000000))
        self.got(shop.place([Line(sku, 7, 1, 1)], 2, 60000), Result.NOT_ON_SALE)
        self.ok(shop.define_policy(sku, closes_ms=shop.session.now_ms() + 1000000))
        self.ok(shop.place([Line(sku, 7, 1, 1)], 2, 60000))

    @over_each
    def test_adjusting_and_setting_cells(self, shop, sku):
        self.ok(shop.adjust(sku, 7, -1, 'broken', actor='anna'), value=99)
        self.ok(shop.adjust(sku, 7, 2, 'found', Bucket.DAMAGED), value=101)
        cell = self.ok(shop.receive(sku, 7, 3, Bucket.QUALITY_CONTROL), value=104).items[0]
        self.assertEqual((cell.sellable, cell.damaged, cell.quality_control, cell.available), (99, 2, 3, 99))
        self.got(shop.adjust(sku, 7, -1, None), Result.BAD_EXTENSION)
        self.got(shop.adjust(sku, 7, 0, 'nothing'), Result.BAD_ARGUMENT)
        self.got(shop.receive(sku, 7, 1, Bucket.DAMAGED), Result.BAD_ARGUMENT)
        self.got(shop.adjust(sku, 7, -100, 'lost'), Result.BELOW_ZERO, items=[])
        forced = self.ok(shop.adjust(sku, 7, -100, 'lost', force=True)).items[0]
        self.assertEqual((forced.sellable, forced.available), (-1, -1))
        version = self.ok(shop.set(sku, 7, 50)).version
        self.got(shop.set(sku, 7, 51, version=version - 1), Result.STALE_VERSION, version=version)
        self.ok(shop.set(sku, 7, 51, version=version), version=version + 1)
        self.ok(shop.set(sku, 7, 60, source=(5, 10)), value=65)
        self.got(shop.set(sku, 7, 61, source=(5, 10)), Result.NOT_APPLIED)
        self.got(shop.set(sku, 7, 61, source=(6, 11)), Result.NOT_APPLIED)
        self.ok(shop.set(sku, 7, 61, source=(6, 11), force=True), value=66)
        self.got(shop.receive(sku, 7, (1 << 31) - 1), Result.OVERFLOW)
        self.got(shop.receive('pear', 7, 1), Result.UNKNOWN_SKU)
        self.got(shop.receive(sku, 99, 1), Result.UNKNOWN_LOCATION)
        self.got(shop.define_location(0), Result.BAD_ARGUMENT)
        self.assertEqual(self.cell(shop, sku).sellable, 61)

    @over_each
    def test_oversold_stock_is_flagged(self, shop, sku):
        self.ok(shop.place([Line(sku, 7, 10, 1)], 42, 60000))
        cell = self.ok(shop.set(sku, 7, 4)).items[0]
        self.assertEqual((cell.sellable, cell.reserved, cell.available), (4, 10, -6))
        self.assertNotEqual(cell.oversold, 0)

    @over_each
    def test_a_write_is_known_by_its_id_whatever_its_trace(self, shop, sku):
        first = self.ok(shop.receive(sku, 7, 1, trace_context='one'), repeated=False)
        self.ok(shop.receive(sku, 7, 1, trace_context='two', number=first.id), repeated=True, position=first.position)
        self.got(shop.receive(sku, 7, 1, actor='anna', number=first.id), Result.ID_REUSED)
        self.got(shop.adjust(sku, 7, 1, 'found', number=first.id), Result.ID_REUSED)
        self.got(shop.receive(sku, 7, 1, number=0), Result.ID_TOO_OLD)
        self.assertEqual(self.cell(shop, sku).sellable, 101)


class Queries(PeerTest):
    @over_each
    def test_names_and_cells_that_are_not_there(self, shop, sku):
        self.ok(shop.define_location(9))
        self.got(shop.get_cell(sku, 9), Result.NOT_FOUND)
        self.got(shop.get_cell(sku, 99), Result.UNKNOWN_LOCATION)
        self.got(shop.get_sku('pear'), Result.UNKNOWN_SKU)
        self.ok(shop.define_sku(sku, 'ö' * 20))
        self.got(shop.define_sku(sku, 'x' * 41), Result.BAD_EXTENSION)
        self.assertEqual(shop.get_sku(sku).items[0].name, 'ö' * 20)
        self.ok(shop.define_sku(sku))
        self.assertEqual(shop.get_sku(sku).items[0].name, '')
        self.assertEqual(next(place for place in self.open(self.unix).locations() if place.location == 9), Location(9, ''))
        self.assertEqual(next(self.open(self.tcp).locations()), Location(7, 'store 7'))
        stale = self.ok(shop.get_cell(sku, 7, stale=True), position=0)
        self.assertEqual(stale.items, shop.get_cell(sku, 7).items)
        self.assertGreater(stale.due_ns, 10 ** 18)

    def test_long_lists_come_in_pages(self):
        stream, datagrams = self.open(self.tcp), self.open(self.udp, datagram_bytes=16384)
        sku = self.furnish(stream)
        session = stream.session
        answers = session.call([Command(Op.DEFINE_LOCATION, session.fresh_id(0), arg=number) for number in range(1000, 1300)])
        answers += session.call([Command(Op.RECEIVE, session.fresh_id(route_of(sku)), [Line(sku, number, 1)])
                                 for number in range(1000, 1100)])
        self.assertEqual({answer.result for answer in answers}, {Result.OK})
        small = [self.open(self.udp, datagram_bytes=size) for size in (1232, 288)]
        for shop in small:
            self.assertEqual([place.location for place in shop.locations() if place.location != 9], [7, 8] + list(range(1000, 1300)))
            self.assertEqual(sorted(cell.location for cell in shop.cells(sku)), [7, 8] + list(range(1000, 1100)))
            room = shop.session.welcome.answer_bytes_max - 64 - 48
            self.ok(shop.list_locations(), more=True, item_count=room // 48)
            self.ok(shop.get_sku(sku), more=True, item_count=1 + (room - 96) // 80)
            # Pages are of one query; more of them in a frame are refused as ever.
            with self.assertRaises(Refused) as caught:
                shop.session.call([Command(Op.LIST_LOCATIONS)] * 2)
            self.assertEqual(caught.exception.result, Result.TOO_LARGE)
        for shop in (stream, datagrams):
            self.assertEqual([place.location for place in shop.locations() if place.location != 9], [7, 8] + list(range(1000, 1300)))
            self.ok(shop.list_locations(), more=True, item_count=256)
            self.ok(shop.get_sku(sku), more=True, item_count=65)
            self.ok(shop.get_sku(sku, 64), more=False)
            self.assertEqual(sorted(cell.location for cell in shop.cells(sku)), [7, 8] + list(range(1000, 1100)))

    def test_status_digest_and_audit_are_those_of_the_tool(self):
        shops = [self.open(self.tcp), self.open(self.unix), self.open(self.udp, datagram_bytes=32768)]
        self.ok(shops[0].place([Line(self.furnish(shops[0]), 7, 1, 1)], 42, 60000))
        for shop in shops:
            self.eventually(lambda: self.tool(self.engine, 'digest')['digest'] == f'{self.ok(shop.digest()).items[0].digest:016x}',
                            'the digest of the tool')
            audit = self.ok(shop.audit()).items[0]
            self.assertEqual((audit.violations, audit.oversold_cells, audit.by_invariant), (0, 0, (0,) * 8))
            self.assertEqual((audit.cells >= 2, audit.orders >= 1), (True, True), audit)
            figures = self.ok(shop.status()).items
            self.assertIn(Figure('shard_count', None, 2), figures)
            self.assertEqual({figure.shard for figure in figures}, {None, 0, 1})
            self.assertIn('net.accepted', {figure.name for figure in figures})

    def test_what_a_datagram_cannot_hold_is_refused(self):
        shop = self.open(self.udp, datagram_bytes=1232)
        self.assertEqual((shop.session.welcome.frame_bytes_max, shop.session.welcome.answer_bytes_max), (1232, 1232))
        with self.assertRaises(Refused) as caught:
            shop.status()
        self.assertEqual(caught.exception.result, Result.TOO_LARGE)
        lines = [Line(self.furnish(shop), 7, 1, 1)] * 34
        self.ok(shop.place(lines, 42, 60000))
        with self.assertRaises(ValueError):
            shop.place(lines + lines[:1], 42, 60000)

    def test_followed_records_are_those_that_the_tool_sees(self):
        shop = self.open(self.tcp)
        sku = self.furnish(shop)
        held = self.ok(shop.place([Line(sku, 7, 1, 1), Line(sku, 8, 1, 1)], 42, 60000))
        shown = self.follow(self.engine)
        for address in self.engine.addresses:
            other = self.open(address)
            records = list(other.records())
            self.assertEqual([(record.end_position, record.term) for record in records[:len(shown)]],
                             [(record['position'], record['term']) for record in shown])
            self.assertIn(held.position, [record.end_position for record in records])
            place = next(record for record in records if record.end_position == held.position)
            self.assertEqual(place.raw[-128:][:24], struct.pack('<IHBBQQ', 128, Op.PLACE, 1, 0, held.id >> 64, held.id & U64))
            first = records[0]
            one = self.ok(other.follow(0, 16 + len(first.raw)))
            self.assertEqual((one.items, one.value), ([first], first.end_position))
            none = self.ok(other.follow(0, 8))
            self.assertEqual((none.items, none.value), ([], 0))
            self.got(other.follow(1 << 60), Result.BAD_ARGUMENT)


def with_bytes(frame, offset, data):
    """The frame with these bytes there and a right checksum."""
    frame = frame[:offset] + data + frame[offset + len(data):]
    zeroed = frame[:12] + bytes(4) + frame[16:]
    return zeroed[:12] + struct.pack('<I', crc32c(zeroed)) + zeroed[16:]


class Forms(PeerTest):
    """Frames and commands that are not as the page says."""

    QUERY = Command(Op.GET_CELL, lines=[Line('apple', 7)])

    def greeted(self, address=None, **hello):
        link = StreamLink(address or self.tcp, 20)
        self.addCleanup(link.close)
        link.send(pack_hello(1, **hello))
        return link, self.next(link)

    def next(self, link):
        frame = link.receive(time.monotonic() + 20)
        self.assertIsNotNone(frame, 'no answer')
        return frame

    def request(self, welcome, number=1, payload=None, **more):
        return pack_frame(Type.REQUEST, welcome.session, number, self.QUERY.bytes if payload is None else payload, **{'count': 1, **more})

    def test_a_frame_out_of_step_ends_the_connection(self):
        for address in (self.tcp, self.unix):
            for fault, result in (({'magic': 5}, Result.BAD_FRAME), ({'length': 60}, Result.BAD_FRAME), ({'length': 164}, Result.BAD_FRAME),
                                  ({'version': 2}, Result.BAD_VERSION), ({'length': 65544}, Result.TOO_LARGE),
                                  ({'length': 0xfffffff8}, Result.TOO_LARGE), (None, Result.BAD_CRC)):
                link, welcome = self.greeted(address)
                frame = self.request(welcome, **(fault or {}))
                link.send(frame if fault else frame[:-1] + b'\1')
                refused = self.next(link)
                self.assertEqual((refused.type, refused.request, refused.result), (Type.REFUSED, 0, result), fault)
                with self.assertRaises(ConnectionError):
                    self.next(link)

    def test_a_request_of_bad_form_is_refused_by_its_number(self):
        link, welcome = self.greeted(wanted=8)
        two = self.QUERY.bytes * 2
        admin = Command(Op.STATUS).bytes
        cases = [({'count': 2}, Result.BAD_FRAME), ({'count': 0}, Result.BAD_FRAME), ({'payload': b'', 'count': 0}, Result.BAD_FRAME),
                 ({'payload': two}, Result.BAD_FRAME), ({'payload': Command(Op.GET_SKU).bytes * 1001, 'count': 1001}, Result.BAD_FRAME),
                 ({'payload': admin + self.QUERY.bytes, 'count': 2}, Result.BAD_FRAME),
                 ({'payload': admin * 2, 'count': 2}, Result.BAD_FRAME),
                 ({'payload': Command(Op.GET_SKU, lines=[Line('a')]).bytes * 20, 'count': 20}, Result.TOO_LARGE)]
        for number, (fault, result) in enumerate(cases, 1):
            link.send(self.request(welcome, number, **fault))
            refused = self.next(link)
            self.assertEqual((refused.type, refused.session, refused.request, refused.result),
                             (Type.REFUSED, welcome.session, number, result), fault)
        link.send(self.request(welcome, len(cases)))  # the refused number is judged anew
        self.assertEqual(self.next(link).type, Type.ANSWER)
        for offset in (6, 36, 38, 40, 48, 63):
            link.send(with_bytes(self.request(welcome, len(cases) + 1), offset, b'\1'))
            self.assertEqual(self.next(link).result, Result.BAD_FRAME, offset)

    def test_numbers_out_of_turn_and_sessions_unknown(self):
        link, welcome = self.greeted(wanted=2)
        self.assertEqual(welcome.credits, 2)
        link.send(self.request(welcome, 2))
        refused = self.next(link)
        self.assertEqual((refused.request, refused.result), (2, Result.CREDIT_OVERRUN))
        first = self.request(welcome, 1)
        link.send(first)
        answer = self.next(link)
        self.assertEqual((answer.type, answer.request, answer.credits, answer.count), (Type.ANSWER, 1, 2, 1))
        link.send(first)
        self.assertEqual(self.next(link), answer)
        for number in (2, 3):
            link.send(self.request(welcome, number))
            self.assertEqual(self.next(link).request, number)
        link.send(first)
        refused = self.next(link)
        self.assertEqual((refused.request, refused.result), (1, Result.BAD_FRAME))
        link.send(pack_frame(Type.REQUEST, welcome.session ^ 1, 4, self.QUERY.bytes, count=1))
        refused = self.next(link)
        self.assertEqual((refused.request, refused.result), (4, Result.SESSION_EXPIRED))

    def test_commands_of_bad_form_are_answered_by_the_first_fault(self):
        offset = HEADER_BYTES

        def changed(at, data, payload=self.QUERY.bytes):
            return payload[:at] + data + payload[at + len(data):]

        extended = Command(Op.GET_CELL, lines=[Line('apple', 7)], extensions=[(Extension.ACTOR, 'ann')]).bytes
        place = Command(Op.PLACE, 1, [Line('apple', 7, 1, 1)]).bytes
        long = COMMAND.pack(8776, 0x7777, 9, 0, 0, 0, 0, 0, 0, b'') + bytes(8776 - 64)
        cases = [(long, Result.BAD_LENGTH), (changed(4, b'\x77\x77\2'), Result.BAD_VERSION),
                 (changed(4, b'\x77\x77'), Result.UNKNOWN_OPCODE), (changed(4, b'\1\6'), Result.UNKNOWN_OPCODE),
                 (changed(24, b'\0'), Result.BAD_LINE_COUNT),
                 (changed(24, b'\1\1', place), Result.BAD_LINE_COUNT), (changed(24, b'\2', place), Result.BAD_LENGTH),
                 (changed(26, b'\4'), Result.BAD_EXTENSION), (changed(26, b'\x08'), Result.BAD_LENGTH),
                 (changed(96, b'\0', extended), Result.BAD_EXTENSION), (changed(98, b'\5', extended), Result.BAD_EXTENSION),
                 (changed(98, b'\2', extended), Result.BAD_EXTENSION), (changed(7, b'\x10'), Result.RESERVED_NOT_ZERO),
                 (changed(7, b'\1'), Result.RESERVED_NOT_ZERO), (changed(8, b'\1'), Result.RESERVED_NOT_ZERO),
                 (changed(28, b'\1'), Result.RESERVED_NOT_ZERO), (changed(40, b'\1'), Result.RESERVED_NOT_ZERO),
                 (changed(88, b'\1'), Result.RESERVED_NOT_ZERO), (changed(84, b'\1'), Result.BAD_QUANTITY)]
        for address in (self.tcp, self.udp):
            session = self.open(address, **({'datagram_bytes': 16384} if address == self.udp else {})).session
            for payload, result in cases:
                command = Command(Op.GET_CELL)
                command.bytes = payload
                answer = session.call([command])[0]
                self.assertEqual((answer.result, answer.items, answer.raw[11:48]), (result, [], bytes(37)), payload[:offset].hex(' '))

    def test_another_hello_on_a_connection_opens_another_session(self):
        link, welcome = self.greeted()
        link.send(pack_hello(1))
        second = self.next(link)
        self.assertEqual((second.type, second.session == welcome.session), (Type.WELCOME, False))
        for session, kind in ((welcome.session, Type.REFUSED), (second.session, Type.ANSWER)):
            link.send(pack_frame(Type.REQUEST, session, 1, self.QUERY.bytes, count=1))
            self.assertEqual(self.next(link).type, kind)
        link.send(pack_frame(Type.BYE, second.session))
        with self.assertRaises(ConnectionError):
            self.next(link)

    def test_datagrams_that_are_no_frames_are_dropped_and_the_rest_is_refused(self):
        shop = self.open(self.udp)
        link, welcome = shop.session.link, shop.session.welcome
        good = pack_frame(Type.REQUEST, welcome.session, 1, self.QUERY.bytes, count=1)
        for bad in (b'', b'HFF1', good[:-8], good + bytes(8), good[:-1] + b'\1', with_bytes(good, 4, b'\2'), with_bytes(good, 0, b'h'),
                    with_bytes(good, 5, b'\x09'), pack_hello(1), pack_hello(1, size=232)):
            link.send(bad)
        link.send(good)
        self.assertEqual(self.next(link)[:3], (Type.ANSWER, welcome.session, 1))
        long = Command(Op.PLACE, shop.session.fresh_id(route_of('apple')), [Line('apple', 7, 1, 1)] * 100, 60000,
                       struct.pack('<QIB', 1, 1, 0))
        for frame, number, result in ((self.request(welcome, 2, count=2), 2, Result.BAD_FRAME),
                                      (self.request(welcome, 5000), 5000, Result.CREDIT_OVERRUN),
                                      (self.request(welcome, 3, long.bytes), 3, Result.TOO_LARGE),
                                      (pack_frame(Type.REQUEST, 99, 4, self.QUERY.bytes, count=1), 4, Result.SESSION_EXPIRED)):
            link.send(frame)
            refused = self.next(link)
            self.assertEqual((refused.type, refused.request, refused.result), (Type.REFUSED, number, result))


class Lossy:
    """A link that loses and doubles what it carries, both ways, by a seed."""

    def __init__(self, link, seed):
        self.link = link
        self.random = random.Random(seed)
        self.sent = self.lost = 0
        self.doubled = []

    def send(self, data):
        self.sent += 1
        fate = self.random.random()
        self.lost += fate < 0.3
        for _ in range((fate >= 0.3) + (fate >= 0.8)):
            self.link.send(data)

    def receive(self, until):
        while True:
            if self.doubled:
                return self.doubled.pop()
            frame = self.link.receive(until)
            fate = self.random.random()
            if frame is None or fate >= 0.3:
                self.doubled += [frame] * (frame is not None and fate >= 0.8)
                return frame
            self.lost += 1

    def close(self):
        self.link.close()


class Losses(PeerTest):
    def writes(self, session, sku, count):
        return [Command(Op.RECEIVE, session.fresh_id(route_of(sku)), [Line(sku, 7, 1)]) for _ in range(count)]

    def checked(self, shop, sku, requests, commands, again_at=None):
        """Each command ran once, whoever asks again; its answers."""
        answers = [shop.session.wait(request)[0] for request in requests]
        self.assertEqual({answer.result for answer in answers}, {Result.OK})
        first = [answer.position for answer in answers if not answer.repeated]
        self.assertEqual(len(first), len(set(first)))
        again = self.open(again_at or self.unix).session.call(commands)
        self.assertEqual({(one.result, one.repeated) for one in again}, {(Result.OK, True)})
        self.assertEqual(self.cell(shop, sku).sellable, 100 + len(commands))
        return answers

    def test_a_lost_connection_changes_no_answer(self):
        for address, first in ((self.tcp, 0), (self.unix, 0), (self.tcp, U64 - 11), (self.unix, U64 - 14)):
            shop = self.open(address, wanted=8, first=first)
            sku = self.furnish(shop)
            commands = self.writes(shop.session, sku, 30)
            requests = []
            for at, command in enumerate(commands):
                requests.append(shop.session.submit([command]))
                if at % 10 == 9:
                    shop.session.link.socket.shutdown(socket.SHUT_RDWR)
                    shop.session.wait(requests[at])
            answers = self.checked(shop, sku, requests, commands)
            self.assertEqual((shop.session.resumed, shop.session.reopened), (3, 0))
            self.assertEqual({answer.repeated for answer in answers}, {False})  # the session kept the first answers
            self.assertEqual([answer.value for answer in answers], list(range(101, 131)))

    def test_a_session_begins_with_any_number_and_goes_round(self):
        for address in self.engine.addresses:
            shop = self.open(address, first=U64 - 2, wanted=4)
            requests = [shop.session.submit([Command(Op.LIST_LOCATIONS)]) for _ in range(20)]
            self.assertEqual({shop.session.wait(request)[0].result for request in requests}, {Result.OK})
            self.assertEqual([request.number for request in requests], [U64 - 2, U64 - 1, U64] + list(range(1, 18)))

    def test_commands_of_a_stream_run_in_the_order_sent(self):
        for address in (self.tcp, self.unix):
            shop = self.open(address, wanted=16)
            sku = self.furnish(shop)
            session = shop.session
            place = struct.pack('<QIB', 42, 1, 0)
            requests = []
            for count in range(1, 41):
                commands = [Command(Op.SET, session.fresh_id(route_of(sku)), [Line(sku, 7)], body=struct.pack('<q', 100 * count)),
                            Command(Op.PLACE, session.fresh_id(route_of(sku)), [Line(sku, 7, 1, 1)], 60000, place),
                            Command(Op.GET_CELL, lines=[Line(sku, 7)])]
                requests.append(session.submit(commands))
            for count, request in enumerate(requests, 1):
                *_, cell = session.wait(request)
                self.assertEqual([answer.opcode for answer in request.answers], [Op.SET, Op.PLACE, Op.GET_CELL])
                self.assertEqual(cell.items[0][2:10], (100 * count, 0, 0, count, 0, 0, 0, 99 * count))

    def test_an_engine_that_does_not_wait_for_the_disk_says_so(self):
        shop = self.open(self.start('--durability', 'async').address)
        self.assertEqual((shop.session.welcome.flags, self.open(self.tcp).session.welcome.flags), (1, 0))
        self.ok(shop.define_location(7), flags=Mark.ASYNC)

    def test_commands_outlive_the_session_and_the_engine(self):
        address = 'unix://' + os.path.join(self.directory, 's')
        engine = self.start(listen=address, shards=2)
        shop = self.open(address)
        sku = self.furnish(shop)
        commands = self.writes(shop.session, sku, 20)
        requests = [shop.session.submit([command]) for command in commands]
        session = shop.session.welcome.session
        engine.kill()
        shop.session.timeout_s = 0.1
        for _ in range(2):
            with self.assertRaises(OSError):
                shop.list_locations()
        shop.session.timeout_s = 20
        self.start(listen=address, shards=2)
        self.checked(shop, sku, requests, commands, address)
        self.assertEqual((shop.session.reopened, shop.session.welcome.session == session, shop.session.welcome.term), (1, False, 2))

    def test_datagrams_that_are_lost_and_doubled_change_no_answer(self):
        self.lose_and_double()

    def test_so_it_is_where_request_numbers_begin_again(self):
        for wanted in (1, 5, 7, 64):
            numbers = self.lose_and_double(first=U64 - 35, wanted=wanted)
            self.assertEqual([number for number in numbers if number > 1000][-1], U64)
            self.assertEqual(numbers[-1], len(numbers) - 1 - numbers.index(U64))

    def lose_and_double(self, **more):
        """60 writes on a lossy link; their numbers."""
        shop = self.open(self.udp, **more)
        sku = self.furnish(shop)
        seed = random.getrandbits(32)
        shop.session.link = lossy = Lossy(shop.session.link, seed)
        commands = self.writes(shop.session, sku, 60)
        requests = [shop.session.submit([command]) for command in commands]
        with self.subTest(seed=seed, **more):
            answers = self.checked(shop, sku, requests, commands)
            self.assertGreater(lossy.lost, 0)
            self.assertEqual({answer.repeated for answer in answers}, {False})
            self.assertGreater(lossy.sent, len(commands))
        self.assertEqual((shop.session.resumed, shop.session.reopened), (0, 0))
        return [request.number for request in requests]

    def test_a_datagram_session_moves_to_another_address(self):
        shop = self.open(self.udp)
        own = shop.session.address_of(shop.session.welcome.shard)
        sku = self.furnish(shop)
        session = shop.session.welcome.session
        for moves in range(1, 4):
            shop.session.link.close()
            shop.session.link = DatagramLink(own)
            self.ok(shop.receive(sku, 7, 1), repeated=False)
            self.assertEqual((shop.session.resumed, shop.session.welcome.session), (moves, session))
        self.assertEqual(self.cell(shop, sku).sellable, 103)

    def test_a_datagram_session_that_is_gone_is_replaced(self):
        shop = self.open(self.udp, wanted=4)
        sku = self.furnish(shop)
        shop.session.link.send(pack_frame(Type.BYE, shop.session.welcome.session))
        commands = self.writes(shop.session, sku, 10)
        requests = [shop.session.submit([command]) for command in commands]
        self.checked(shop, sku, requests, commands)
        self.assertEqual(shop.session.reopened, 1)

    def test_a_datagram_session_is_kept_by_a_hello(self):
        shop = self.open(self.udp)
        session = shop.session.welcome.session
        shop.session.keep()
        self.assertEqual(shop.session.resumed, 0)  # it was heard just now
        shop.session.heard_at -= 2 * SILENCE_S
        shop.session.keep()
        self.assertEqual((shop.session.resumed, shop.session.welcome.session), (1, session))

    def test_a_datagram_session_takes_the_size_that_the_path_carries(self):
        class Narrow(DatagramSession):
            def _make_link(self):
                link = super()._make_link()
                send = link.send
                link.send = lambda data: len(data) <= 1300 and send(data)
                return link

        for _ in range(10):  # who hears nothing for a moment takes the path for a smaller one
            shop = Shop(Narrow(self.udp))
            self.addCleanup(shop.session.close)
            if shop.session.welcome.frame_bytes_max == 1232:
                break
        self.assertEqual((shop.session.welcome.frame_bytes_max, shop.session.reopened), (1232, 0))
        self.furnish(shop)

    def test_each_shard_has_an_address_of_its_own(self):
        for address in self.engine.addresses:
            session = self.open(address).session
            self.assertEqual([self.open(session.address_of(shard)).session.welcome.shard for shard in (0, 1)], [0, 1])
            self.furnish(self.open(session.address_of(session.shard_of(route_of('SKU')))))


if __name__ == '__main__':
    main()
