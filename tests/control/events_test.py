"""Events.Follow on a real holdfastd: what happened, from any place on, nothing missing and nothing twice; traces; who is too slow."""

import glob
import json
import os
import re
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'end'))

import grpc
from google.protobuf import json_format

import api_test
import harness
import messages
from holdfast.v1 import events_pb2, orders_pb2

WAIT_S = harness.WAIT_S
TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
EXAMPLE = re.compile(r"^grpcurl -plaintext -d '(.+)'(?: \\\n   )? 127.0.0.1:7421 holdfast\.v1\.Events/Follow$", re.MULTILINE)
NOW = events_pb2.FOLLOW_START_NOW


class Follower:
    """One call of Follow: answers are taken only when they are asked for."""

    def __init__(self, channel, **fields):
        call = channel.unary_stream('/holdfast.v1.Events/Follow', request_serializer=events_pb2.FollowRequest.SerializeToString,
                                    response_deserializer=events_pb2.FollowResponse.FromString)
        self.call = call(events_pb2.FollowRequest(**fields), timeout=WAIT_S)
        self.events = []
        self.cursor = None

    def next(self):
        response = next(self.call)
        self.events += response.events
        self.cursor = response.cursor
        return list(response.events)

    def begun(self):
        """Until it follows."""
        assert self.next() == []
        return self

    def until(self, count):
        """The first `count` events, and no more than were told."""
        while len(self.events) < count:
            self.next()
        return self.events

    def until_id(self, wanted):
        """Everything up to the event of this order or write."""
        while not any(wanted in (event.id, event.order_id) for event in self.events):
            self.next()
        return self.events

    def error(self):
        """The status it ends with: (code, ErrorInfo)."""
        try:
            while True:
                self.next()
        except grpc.RpcError as error:
            details = dict(error.trailing_metadata() or ()).get('grpc-status-details-bin', b'')
            packed = {one.type_url.split('.')[-1]: one.value for one in messages.Status.FromString(details).details}
            return error.code(), messages.ErrorInfo.FromString(packed.get('ErrorInfo', b''))


class EventsTest(harness.EndTest):
    def channel(self, data=None):
        # A large window would let a reader who takes nothing be served for long.
        channel = grpc.insecure_channel(f'unix:{data or self.data}/control.sock',
                                        options=[('grpc.use_local_subchannel_pool', 1), ('grpc.http2.bdp_probe', 0),
                                                 ('grpc.http2.lookahead_bytes', 65536)])
        self.addCleanup(channel.close)
        return channel

    def begin(self, *options, stock=100000, **more):
        engine = self.start(*options, **more)
        shop = api_test.Shop(f'unix:{engine.data}/control.sock')
        self.addCleanup(shop.channel.close)
        if stock:
            shop.PutSku(sku='apple', name='An apple')
            shop.DefineLocation(location=1, name='Here')
            shop.Receive(sku='apple', location=1, quantity=stock)
        return engine, shop

    def follow(self, channel=None, /, **fields):
        follower = Follower(channel or self.channel(), **fields)
        self.addCleanup(follower.call.cancel)
        return follower

    def told_by_tool(self, engine):
        """What `holdfast follow` says, which reads the same log over the data port; without the engine's book-keeping."""
        done = harness.run_tool(engine.address, 'follow', '--until-end')
        self.assertEqual(done.status, 0, str(done))
        lines = [json.loads(line) for line in done.out.splitlines()]
        return [line for line in lines if line['command'] not in ('MARK', 'FORGET', 'PURGE_LIMITS', 'PURGE_KEYS')]

    def positions(self, events):
        return [int(event.cursor.split('-')[1]) for event in events]

    def test_the_whole_story_of_an_order_is_told_from_the_beginning(self):
        _, shop = self.begin(stock=10)
        placed = shop.place('apple', 2, ttl_ms=600000)
        shop.SettleOrder(id=placed.id, amount=398, currency='EUR', payment_reference='pi_1')
        shop.ReportPayment(id=placed.id, intent=1, outcome='PAYMENT_OUTCOME_CAPTURED', amount=398, currency='EUR')
        shop.ShipOrder(id=placed.id)
        shop.Adjust(sku='apple', location=1, delta=-1, reason='eaten')
        events = self.follow().begun().until(8)
        kinds = [events_pb2.EventKind.Name(event.kind)[len('EVENT_KIND_'):] for event in events]
        self.assertEqual(kinds, ['SKU_DEFINED', 'LOCATION_DEFINED', 'RECEIVED', 'PLACED', 'SETTLED', 'PAYMENT_REPORTED', 'SHIPPED',
                                 'ADJUSTED'])
        sku, location, received, place, settled, paid, shipped, adjusted = events
        self.assertEqual((sku.sku, sku.name, location.location, location.name), ('apple', 'An apple', 1, 'Here'))
        self.assertEqual([(c.sku, c.location, c.quantity, c.sellable) for c in received.changes], [('apple', 1, 10, 10)])
        self.assertEqual((place.order_id, place.state, place.customer, place.result), (placed.id, orders_pb2.ORDER_STATE_HELD, 1, 'OK'))
        self.assertEqual([(c.quantity, c.reserved, c.sellable) for c in place.changes], [(2, 2, 10)])
        self.assertEqual(place.hold_ends_ns, placed.hold_ends_ns)
        self.assertEqual([(i.number, i.kind, i.amount, i.currency, i.order_id) for i in settled.intents],
                         [(1, events_pb2.INTENT_KIND_CAPTURE, 398, 'EUR', placed.id)])
        self.assertEqual((settled.payment_reference, settled.state), ('pi_1', orders_pb2.ORDER_STATE_CONFIRMED))
        self.assertEqual((paid.payment, shipped.fulfilment), (orders_pb2.PAYMENT_STATE_CAPTURED, orders_pb2.FULFILMENT_STATE_SHIPPED))
        self.assertEqual([(c.quantity, c.sellable, c.allocated) for c in adjusted.changes], [(-1, 7, 0)])
        self.assertEqual(adjusted.reason, 'eaten')

    def test_from_now_on_nothing_older_is_told_and_each_answer_was_durable_before_its_event(self):
        _, shop = self.begin()
        shop.place('apple', 1)
        follower = self.follow(start=NOW).begun()
        receipts = [shop.place('apple', 1).receipt for _ in range(5)]
        events = follower.until(5)
        self.assertEqual([event.id for event in events], [receipt.id for receipt in receipts])
        self.assertEqual(self.positions(events), [receipt.position for receipt in receipts])

    def test_who_comes_back_with_a_cursor_misses_nothing_and_gets_nothing_twice_also_after_a_kill_with_other_shards(self):
        engine, shop = self.begin(shards=2)
        follower = self.follow().begun()
        stop, cursor, seen = threading.Event(), '', []

        def place():
            while not stop.is_set():
                try:
                    shop.place('apple', 1)
                except grpc.RpcError:
                    return
        writers = [threading.Thread(target=place) for _ in range(4)]
        for writer in writers:
            writer.start()
        for round_ in range(6):
            least = len(seen) + 40
            follower.events = []
            while len(seen) + len(follower.events) < least:
                follower.next()
            # Everything of the last answer but its last event is dealt with; what is cut off comes again.
            dealt = follower.events if round_ % 2 else follower.events[:-1]
            seen += dealt
            cursor = dealt[-1].cursor
            follower.call.cancel()
            if round_ == 3:
                engine.kill()
                stop.set()
                engine = self.start(shards=1)
                shop = api_test.Shop(f'unix:{engine.data}/control.sock')
                self.addCleanup(shop.channel.close)
            for _ in range(40 if round_ >= 3 else 0):
                shop.place('apple', 1)
            follower = self.follow(cursor=cursor).begun()
        for writer in writers:
            writer.join()
        last = shop.place('apple', 1)
        seen += follower.until_id(last.id)
        told = self.told_by_tool(engine)
        self.assertEqual(self.positions(seen), [line['position'] for line in told])
        self.assertEqual([event.id for event in seen], [line.get('id', '') for line in told])

    def test_filters_leave_the_rest_out(self):
        _, shop = self.begin()
        shop.PutSku(sku='pear')
        shop.Receive(sku='pear', location=1, quantity=5)
        apple, pear = shop.place('apple', 1), shop.place('pear', 1)
        shop.CancelOrder(id=pear.id)
        last = shop.place('apple', 3)
        by_sku = self.follow(sku='pear').begun().until(4)
        self.assertEqual([event.id for event in by_sku][2], pear.id)
        self.assertTrue(all({c.sku for c in event.changes} <= {'pear'} for event in by_sku))
        by_order = self.follow(order_id=pear.id).begun().until(2)
        self.assertEqual([event.kind for event in by_order], [events_pb2.EVENT_KIND_PLACED, events_pb2.EVENT_KIND_CANCELLED])
        by_kind = self.follow(kinds=[events_pb2.EVENT_KIND_PLACED]).begun().until(3)
        self.assertEqual([event.id for event in by_kind], [apple.id, pear.id, last.id])
        both = self.follow(kinds=[events_pb2.EVENT_KIND_PLACED], sku='apple').begun().until(2)
        self.assertEqual([event.id for event in both], [apple.id, last.id])

    def test_holds_that_end_by_themselves_are_told(self):
        _, shop = self.begin()
        follower = self.follow(start=NOW).begun()
        placed = shop.place('apple', 3, ttl_ms=1)
        event = follower.until(2)[1]
        self.assertEqual((event.kind, list(event.order_ids), event.id), (events_pb2.EVENT_KIND_EXPIRED, [placed.id], ''))
        self.assertEqual([(c.quantity, c.reserved, c.index) for c in event.changes], [(3, 0, 0)])

    def test_places_that_are_none_are_refused_by_name(self):
        _, shop = self.begin()
        placed = shop.place('apple', 1)
        last = self.follow().begun().until_id(placed.id)[-1].cursor
        term, position = last.split('-')
        invalid, beyond = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE
        for reason, code, fields in (('BAD_CURSOR', invalid, {'cursor': 'x'}), ('BAD_CURSOR', invalid, {'cursor': '1-'}),
                                     ('BAD_CURSOR', invalid, {'cursor': '+1-0'}),
                                     ('BAD_CURSOR', invalid, {'cursor': f'{term}-{position}0 '}),
                                     ('BAD_CURSOR', invalid, {'cursor': f'{term}-{int(position) - 8}'}),
                                     ('BEYOND_LOG', beyond, {'cursor': f'{term}-{1 << 50}'}),
                                     ('BEYOND_LOG', beyond, {'cursor': f'{int(term) + 1}-{position}'}),
                                     ('BAD_ARGUMENT', invalid, {'sku': 'a' * 17}), ('BAD_ARGUMENT', invalid, {'order_id': 'no'}),
                                     ('BAD_ARGUMENT', invalid, {'kinds': [99]})):
            found = self.follow(**fields).error()
            self.assertEqual((found[0], found[1].reason), (code, reason), fields)
        self.assertEqual(self.follow(cursor=last).begun().events, [])

    def test_a_cursor_of_another_history_is_refused(self):
        engine, shop = self.begin()
        shop.place('apple', 1)
        cursor = self.follow().begun().until(4)[2].cursor
        engine.stop()
        self.start().stop()
        self.begin(stock=0)
        found = self.follow(cursor='3-' + cursor.split('-')[1]).error()
        self.assertEqual((found[0], found[1].reason), (grpc.StatusCode.OUT_OF_RANGE, 'BEYOND_LOG'))
        self.assertEqual(len(self.follow(cursor=cursor).begun().until(1)), 1)

    def test_log_that_is_gone_and_log_that_is_damaged_are_told_apart_and_the_rest_is_read(self):
        engine, shop = self.begin('--segment-bytes', '256K', '--block-max', '64K', '--log-ahead', '1M')
        positions, end = [], 256 << 10
        # Nobody has read what goes: what was read is told from memory.
        while not positions or positions[-1] < end + (64 << 10):
            positions.append(shop.place('apple', 1).receipt.position)
        segments = sorted(glob.glob(os.path.join(self.data, 'log-*.seg')))
        os.unlink(segments[0])
        with open(segments[1], 'r+b') as segment:
            segment.seek(60)  # the checksum of the segment's first block, which may be an empty one
            byte = segment.read(1)
            segment.seek(60)
            segment.write(bytes([byte[0] ^ 1]))
        code, info = self.follow().error()
        self.assertEqual((code, info.reason), (grpc.StatusCode.OUT_OF_RANGE, 'NOT_RETAINED'))
        code, info = self.follow(cursor=f'1-{next(each for each in positions if each > end)}').error()
        self.assertEqual((code, info.reason), (grpc.StatusCode.DATA_LOSS, 'LOG_DAMAGED'))
        self.assertTrue([line for line in engine.messages() if line['msg'] == 'the log cannot be followed'])
        follower = self.follow(start=NOW).begun()
        self.assertEqual(follower.until_id(shop.place('apple', 1).id)[0].kind, events_pb2.EVENT_KIND_PLACED)

    def test_a_reader_that_takes_nothing_is_dropped_and_the_others_are_served(self):
        _, shop = self.begin('--follower-stall', '0.3')
        channel, good = self.channel(), self.follow(start=NOW).begun()
        bad = self.follow(channel, start=NOW).begun()
        lines = [orders_pb2.OrderLine(sku='apple', location=1, quantity=1, unit_price=1)] * 200
        dropped, placed = 0, []
        end = time.monotonic() + WAIT_S
        while not dropped and time.monotonic() < end:
            placed.append(shop.PlaceOrder(lines=lines).id)
            good.until(len(placed))
            dropped = self.counter('slow_dropped', shop)
        self.assertEqual([event.id for event in good.events], placed)
        code, info = bad.error()
        self.assertEqual((code, info.reason), (grpc.StatusCode.RESOURCE_EXHAUSTED, 'SLOW_READER'))
        self.assertEqual([event.id for event in bad.events], placed[:len(bad.events)])
        told = list(bad.events)
        while told[-1].id != placed[-1]:
            # On a busy machine this one may be too slow as well: it goes on, as a client would.
            resumed = self.follow(cursor={pair.key: pair.value for pair in info.metadata}['cursor'])
            try:
                resumed.until_id(placed[-1])
            except grpc.RpcError:
                _, info = resumed.error()
                self.assertEqual(info.reason, 'SLOW_READER')
            told += resumed.events
        self.assertEqual([event.id for event in told], placed)

    def test_a_stop_ends_followers_with_their_cursor_and_a_cancel_frees_them(self):
        engine, shop = self.begin()
        gone = self.follow().begun()
        gone.until(3)
        gone.call.cancel()
        follower = self.follow(start=NOW).begun()
        self.eventually(lambda: self.counter('followers', shop) == 1)
        placed = shop.place('apple', 1)
        follower.until(1)
        self.assertEqual(engine.stop(), 0)
        code, info = follower.error()
        self.assertEqual((code, info.reason), (grpc.StatusCode.UNAVAILABLE, 'DRAINING'))
        self.assertEqual({pair.key: pair.value for pair in info.metadata}['cursor'], follower.events[-1].cursor)
        self.assertEqual(follower.events[-1].id, placed.id)

    def test_many_followers_share_the_reads_at_the_end(self):
        _, shop = self.begin()
        channel = self.channel()
        followers = [self.follow(channel, start=NOW).begun() for _ in range(90)]
        before = self.counter('reads', shop) + self.counter('reads_behind', shop)
        ids = [shop.place('apple', 1).id for _ in range(10)]
        for follower in followers:
            self.assertEqual([event.id for event in follower.until(10)], ids)
        # Each follower by itself would read for each event; marks and seals of a slow run are reads too.
        self.assertLess(self.counter('reads', shop) + self.counter('reads_behind', shop) - before, len(followers) * len(ids) // 2)

    def place_call(self, shop):
        """PlaceOrder itself, for what only a call has: metadata, and many at once."""
        return shop.channel.unary_unary('/holdfast.v1.Orders/PlaceOrder',
                                        request_serializer=orders_pb2.PlaceOrderRequest.SerializeToString,
                                        response_deserializer=orders_pb2.OrderReceipt.FromString)

    def eventually(self, is_so):
        end = time.monotonic() + WAIT_S
        while not is_so():
            self.assertLess(time.monotonic(), end, 'never became so')
            time.sleep(0.01)

    def counter(self, name, shop):
        return sum(counter.value for counter in shop.Status().counters if counter.name in ('control.events.' + name, 'control.' + name))

    def test_a_trace_comes_back_in_events_and_from_the_tool_and_an_invalid_one_does_not(self):
        engine, shop = self.begin()
        place = self.place_call(shop)
        request = orders_pb2.PlaceOrderRequest(lines=[orders_pb2.OrderLine(sku='apple', location=1, quantity=1)])
        late = '01' + TRACE[2:] + '-what-comes-later'
        given = {TRACE: TRACE, late: TRACE, TRACE[:-2] + 'ff': TRACE[:-2] + '03', TRACE + '-more': '', 'ff' + TRACE[2:]: '',
                 TRACE.upper(): '', TRACE[:3] + '0' * 32 + TRACE[35:]: '', TRACE[:36] + '0' * 16 + TRACE[52:]: '', TRACE[:-1]: '', '': ''}
        follower = self.follow(start=NOW).begun()
        ids = [place(request, timeout=WAIT_S, metadata=[('traceparent', text)]).id for text in given]
        ids.append(place(request, timeout=WAIT_S, metadata=[('traceparent', TRACE), ('traceparent', TRACE)]).id)
        expected = list(given.values()) + ['']
        self.assertEqual([(event.id, event.traceparent) for event in follower.until(len(ids))], list(zip(ids, expected)))
        told = {line['id']: line.get('traceparent', '') for line in self.told_by_tool(engine) if line['command'] == 'PLACE'}
        self.assertEqual([told[order] for order in ids], expected)
        again = orders_pb2.PlaceOrderRequest(id=ids[0], lines=request.lines)
        other = place(again, timeout=WAIT_S, metadata=[('traceparent', TRACE.replace('4bf9', '0000'))])
        self.assertTrue(other.receipt.repeated, 'a retry under another trace is the same order')

    def slow(self, engine):
        return [line for line in engine.messages() if line['msg'] == 'slow request']

    def test_slow_requests_are_logged_with_their_order_their_trace_and_where_the_time_went_and_floods_of_them_are_counted(self):
        engine, shop = self.begin('--slow-request-ms', '1', '--max-lines', '4000000', stock=2000000000)
        place = self.place_call(shop)
        request = orders_pb2.PlaceOrderRequest(lines=[orders_pb2.OrderLine(sku='apple', location=1, quantity=1)] * 256)
        orders = set()

        def flood():
            calls = [place.future(request, timeout=WAIT_S, metadata=[('traceparent', TRACE)]) for _ in range(90)]
            orders.update(call.result().id for call in calls if not call.exception() or call.exception().details() != 'BUSY')
            return self.counter('slow_suppressed', shop)

        self.eventually(flood)
        self.eventually(lambda: flood() and any('suppressed' in line for line in self.slow(engine)))
        self.assertGreater(self.counter('slow_requests', shop), self.counter('slow_suppressed', shop))
        for line in self.slow(engine):
            if line['method'] != '/holdfast.v1.Orders/PlaceOrder' or line['result'] == 'BUSY':
                continue
            self.assertIn(line['order'], orders)
            self.assertEqual((line['sku'], line['trace'], line['result'], line['level']), ('apple', TRACE[3:35], 'OK', 'warn'))
            self.assertGreaterEqual(line['total_us'], 1000)
            parts = sum(line[part] for part in ('queued_us', 'engine_us', 'durable_us', 'answered_us'))
            self.assertAlmostEqual(parts, line['total_us'], delta=4)

    def test_the_example_of_the_documentation_follows(self):
        _, shop = self.begin()
        placed = shop.place('apple', 1)
        cursor = self.follow().begun().until(3)[2].cursor
        with open(api_test.DOCUMENT, encoding='utf-8') as document:
            examples = EXAMPLE.findall(document.read())
        self.assertGreaterEqual(len(examples), 2)
        for body in examples:
            request = json_format.Parse(body.replace('$CURSOR', cursor).replace('$ORDER', placed.id), events_pb2.FollowRequest())
            follower = self.follow(**{field.name: value for field, value in request.ListFields()}).begun()
            if request.start != NOW:
                self.assertEqual(follower.until(1)[0].id, placed.id)


if __name__ == '__main__':
    harness.main()
