"""What waits at a shard that stands still is bounded, deadlines and cancels end the waiting and never the order, a stop loses no call.

The shard's thread is held by ptrace, so that nothing here depends on who is faster.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'end'))

import grpc

import api_test
import harness
import messages
from holdfast.v1 import orders_pb2
from stopped import Stopped, threads_of

ITEMS_MAX = 1024  # commands out at one shard (control/api/control.c)
CHANNELS, CALLS = 13, 90
STOCK = 100000


class BoundedTest(harness.EndTest):
    def begin(self):
        engine = self.start()
        shop = self.shop(engine)
        shop.PutSku(sku='apple')
        shop.DefineLocation(location=1)
        shop.Receive(sku='apple', location=1, quantity=STOCK)
        return engine, shop

    def shop(self, engine):
        shop = api_test.Shop(f'unix:{engine.data}/control.sock')
        self.addCleanup(shop.channel.close)
        return shop

    @contextlib.contextmanager
    def held(self, engine):
        """The shard's thread, for as long as the context lasts."""
        thread = Stopped(threads_of(engine)['hf-shard-0'][0])
        thread.stop()
        try:
            yield
        finally:
            thread.go()

    def placing(self, shop):
        """A function that begins to place an order and returns the future."""
        place = shop.channel.unary_unary('/holdfast.v1.Orders/PlaceOrder', orders_pb2.PlaceOrderRequest.SerializeToString,
                                         orders_pb2.OrderReceipt.FromString)

        def begin(order='', timeout=harness.WAIT_S):
            line = orders_pb2.OrderLine(sku='apple', location=1, quantity=1, unit_price=1)
            return place.future(orders_pb2.PlaceOrderRequest(id=order, customer=1, lines=[line]), timeout=timeout)
        return begin

    def sent_on(self, shop):
        """All calls of this channel so far are with the engine: one behind them, which needs no shard, was answered."""
        request = messages.HealthCheckRequest
        check = shop.channel.unary_unary('/grpc.health.v1.Health/Check', request.SerializeToString, messages.HealthCheckResponse.FromString)
        check(request(service=''), timeout=harness.WAIT_S)

    def test_beyond_the_bound_calls_are_told_to_come_again_and_no_order_ends_with_its_call(self):
        engine, shop = self.begin()
        ids = [shop.place('apple', 1).id[:-8] + f'0badc{number:03x}' for number in range(2)]
        shops = [self.shop(engine) for _ in range(CHANNELS)]
        begins = [self.placing(each) for each in shops]
        for begin in begins:
            begin().result()
        before = STOCK - shop.GetCell(sku='apple', location=1).available
        with self.held(engine):
            late, cancelled = begins[0](ids[0], timeout=5), begins[0](ids[1])
            self.sent_on(shops[0])
            cancelled.cancel()
            self.assertEqual(late.exception().code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            out = ITEMS_MAX - 2
            calls = [begin() for _ in range(CALLS) for begin in begins]
            self.eventually(lambda: sum(call.done() for call in calls) >= len(calls) - out, 'calls refused')
            refused = [call for call in calls if call.done()]
            self.assertEqual(len(refused), len(calls) - out)
            for call in refused:
                self.assertEqual(call.exception().code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            packed = dict(refused[0].exception().trailing_metadata())['grpc-status-details-bin']
            details = {one.type_url.split('.')[-1]: one.value for one in messages.Status.FromString(packed).details}
            self.assertEqual(messages.ErrorInfo.FromString(details['ErrorInfo']).reason, 'BUSY')
            self.assertIn('RetryInfo', details)
            self.assertEqual(self.rest(engine), (429, True))
        good = sum(call.exception() is None for call in calls)
        self.assertEqual(good, out)
        self.assertEqual([shop.GetOrder(id=order).state for order in ids], [orders_pb2.ORDER_STATE_HELD] * 2)
        self.assertEqual(shop.GetCell(sku='apple', location=1).available, STOCK - before - ITEMS_MAX)
        self.assertEqual(shop.Audit().violations, 0)

    def rest(self, engine):
        """(status, whether it says when to come again) of an order placed by HTTP."""
        body = json.dumps({'customer': '1', 'lines': [{'sku': 'apple', 'location': 1, 'quantity': 1, 'unitPrice': '1'}]})
        done = subprocess.run(['curl', '-sS', '-i', '--max-time', str(harness.WAIT_S), '--unix-socket', f'{engine.data}/control.sock', '-H',
                               'content-type: application/json', '-d', body, 'http://localhost/v1/orders'],
                              stdout=subprocess.PIPE, text=True, check=True)
        head = done.stdout.lower().split('\r\n\r\n')[0]
        return int(head.split()[1]), '\nretry-after:' in head

    def test_a_stop_answers_whatever_is_out(self):
        engine, shop = self.begin()
        shops = [self.shop(engine) for _ in range(4)]
        begins = [self.placing(each) for each in shops]
        with self.held(engine):
            calls = [begin() for _ in range(CALLS) for begin in begins]
            self.sent_on(shops[0])
            engine.process.send_signal(signal.SIGTERM)
        self.assertEqual(engine.wait_end(), 0)
        codes = {call.exception().code() for call in calls if call.exception() is not None}
        self.assertLessEqual(codes, {grpc.StatusCode.UNAVAILABLE})
        granted = sum(call.exception() is None for call in calls)
        shop.channel.close()
        placed = STOCK - self.shop(self.start()).GetCell(sku='apple', location=1).available
        self.assertTrue(granted <= placed <= len(calls), (granted, placed))

    def test_calls_cut_at_any_moment_leave_orders_whole(self):
        engine, shop = self.begin()
        granted, seed = [], random.randrange(1 << 32)

        def harass(number):
            chance, mine = random.Random(seed + number), []
            for _ in range(harness.scaled(6, 100)):
                other = api_test.Shop(f'unix:{engine.data}/control.sock')
                begin = self.placing(other)
                calls = [begin(timeout=chance.choice((harness.WAIT_S, 0.001, 0.003, 0.01))) for _ in range(60)]
                for call in chance.sample(calls, 20):
                    time.sleep(chance.random() * 0.0005)
                    call.cancel()
                if chance.random() < 0.5:
                    other.channel.close()
                for call in calls:
                    with contextlib.suppress(grpc.RpcError, grpc.FutureCancelledError):
                        mine.append(call.result().id)
                other.channel.close()
            granted.extend(mine)
        threads = [threading.Thread(target=harass, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        placed = STOCK - shop.GetCell(sku='apple', location=1).available
        self.assertEqual(len(set(granted)), len(granted))
        self.assertLessEqual(len(granted), placed, f'seed {seed}')
        audit = shop.Audit()
        self.assertEqual((audit.violations, audit.orders), (0, placed))
        shop.place('apple', 1)


if __name__ == '__main__':
    harness.main()
