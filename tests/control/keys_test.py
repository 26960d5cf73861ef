"""Writes under a request id: one effect and the first answer, whatever id they have, also when the engine is killed at any step."""

import random
import statistics
import time

import grpc

from api_test import ShopTest, harness
from holdfast.v1 import orders_pb2

KILLS = harness.scaled(10, 1000)
CALL_S = 20  # a call that was sent to an engine that died must not wait for long


def place_request(key, quantity=1, order='', sku='apple'):
    line = orders_pb2.OrderLine(sku=sku, location=1, quantity=quantity, unit_price=199)
    return orders_pb2.PlaceOrderRequest(id=order, customer=1, lines=[line], ttl_ms=86400000, request_id=key)


class KeysTest(ShopTest):
    def test_a_place_without_an_id_is_found_again_by_its_request_id(self):
        engine, shop = self.begin()
        first = shop.PlaceOrder(**fields(place_request('basket 1', 3)))
        self.assertFalse(first.receipt.repeated)
        again = shop.PlaceOrder(**fields(place_request('basket 1', 3)))
        self.assertEqual((again.id, again.receipt.id, again.receipt.repeated, again.hold_ends_ns),
                         (first.id, first.id, True, first.hold_ends_ns))
        self.assertNotEqual(shop.PlaceOrder(**fields(place_request('basket 2', 3))).id, first.id)
        engine.kill()
        shop.channel.close()
        shop = self.shop(self.start(shards=2))
        shop.CancelOrder(id=first.id)
        again = shop.PlaceOrder(**fields(place_request('basket 1', 3)))
        self.assertEqual((again.id, again.state), (first.id, orders_pb2.ORDER_STATE_CANCELLED))
        self.assertEqual(shop.GetCell(sku='apple', location=1).reserved, 3)

    def test_another_body_or_method_under_a_request_id_is_refused(self):
        _, shop = self.begin()
        first = shop.PlaceOrder(**fields(place_request('basket', 3)))
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        self.refused(invalid, 'ID_REUSED', shop.PlaceOrder, **fields(place_request('basket', 2)))
        self.refused(invalid, 'ID_REUSED', shop.CancelOrder, id=first.id, request_id='basket')
        self.refused(invalid, 'ID_REUSED', shop.Receive, sku='apple', location=1, quantity=3, request_id='basket')
        self.assertEqual(shop.GetCell(sku='apple', location=1).reserved, 3)

    def test_a_refusal_frees_the_request_id(self):
        _, shop = self.begin(stock=2)
        self.refused(grpc.StatusCode.FAILED_PRECONDITION, 'SHORT', shop.PlaceOrder, **fields(place_request('basket', 3)))
        shop.Receive(sku='apple', location=1, quantity=1)
        self.assertFalse(shop.PlaceOrder(**fields(place_request('basket', 3))).receipt.repeated)
        self.assertTrue(shop.PlaceOrder(**fields(place_request('basket', 3))).receipt.repeated)

    def test_every_write_takes_a_request_id(self):
        _, shop = self.begin(stock=50)
        order = shop.place('apple', 2).id
        writes = [
            (shop.PutSku, {'sku': 'pear', 'name': 'A pear'}), (shop.DefineLocation, {'location': 7, 'name': 'There'}),
            (shop.SetPolicy, {'sku': 'apple', 'policy': {'per_order': 9}}), (shop.Receive, {'sku': 'apple', 'location': 1, 'quantity': 5}),
            (shop.Adjust, {'sku': 'apple', 'location': 1, 'delta': -1, 'reason': 'broken'}),
            (shop.Set, {'sku': 'apple', 'location': 7, 'quantity': 4}), (shop.ExtendOrder, {'id': order, 'ttl_ms': 100000}),
            (shop.SettleOrder, {'id': order, 'amount': 398, 'currency': 'EUR', 'payment_reference': 'pi'}),
            (shop.ReportPayment, {'id': order, 'intent': 1, 'outcome': 'PAYMENT_OUTCOME_CAPTURED', 'amount': 398, 'currency': 'EUR'}),
            (shop.ShipOrder, {'id': order}), (shop.CancelOrder, {'id': shop.place('apple', 1).id, 'reason': 'changed my mind'})]
        for number, (write, asked) in enumerate(writes):
            with self.subTest(number=number):
                first = write(request_id=f'write {number}', **asked).receipt
                again = write(request_id=f'write {number}', **asked).receipt
                self.assertEqual((first.repeated, again.repeated, again.id), (False, True, first.id))
        self.assertEqual(shop.GetCell(sku='apple', location=1).sellable, 52)
        self.assertEqual(shop.Audit().violations, 0)

    def test_a_request_id_has_up_to_255_bytes_of_any_kind(self):
        _, shop = self.begin()
        key = 'Schlüssel \N{KEY} ' + 'x' * 238
        self.assertEqual(len(key.encode()), 254)
        ids = {shop.PlaceOrder(**fields(place_request(key + end))).id for end in ('a', 'b', 'a')}
        self.assertEqual(len(ids), 2)
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, 'BAD_EXTENSION', shop.PlaceOrder, **fields(place_request(key + 'ab')))

    def test_many_at_once_under_one_request_id_are_one_order(self):
        _, shop = self.begin(shards=2, stock=1000)
        method = self.method(shop)
        calls = [method.future(place_request('race', 3), timeout=CALL_S) for _ in range(100)]
        answers = [call.result() for call in calls if not call.exception() or call.exception().details() not in ('BUSY', 'NO_SPACE')]
        answers.append(shop.PlaceOrder(**fields(place_request('race', 3))))
        self.assertEqual(len({answer.id for answer in answers}), 1)
        self.assertEqual(sum(not answer.receipt.repeated for answer in answers), 1)
        self.assertEqual(shop.GetCell(sku='apple', location=1).reserved, 3)

    def test_a_full_table_of_request_ids_says_so(self):
        _, shop = self.begin('--max-request-keys', '3')
        for number in range(3):
            shop.PlaceOrder(**fields(place_request(f'basket {number}')))
        self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, 'FULL', shop.PlaceOrder, **fields(place_request('basket 3')))
        self.assertTrue(shop.PlaceOrder(**fields(place_request('basket 2'))).receipt.repeated)
        self.assertFalse(shop.place('apple', 1).receipt.repeated)

    def method(self, shop):
        return shop.channel.unary_unary('/holdfast.v1.Orders/PlaceOrder', request_serializer=orders_pb2.PlaceOrderRequest.SerializeToString,
                                        response_deserializer=orders_pb2.OrderReceipt.FromString)

    def usual_s(self, shop):
        """What a place takes here, sent alone."""
        took = []
        for number in range(20):
            began = time.monotonic()
            shop.PlaceOrder(**fields(place_request(f'usual {number}')))
            took.append(time.monotonic() - began)
        return statistics.median(took)

    def killed_place(self, engine, shop, key, delay_s):
        """Sends a keyed place and kills the engine so much later: the id that was answered, or None."""
        call = self.method(shop).future(place_request(key), timeout=CALL_S)
        until = time.monotonic() + delay_s
        while time.monotonic() < until:
            pass
        engine.process.kill()
        engine.kill()
        try:
            return call.result().id
        except grpc.RpcError:
            return None
        finally:
            shop.channel.close()

    def test_killed_at_any_step_of_a_place_its_retry_never_makes_a_second_order(self):
        seed = random.SystemRandom().randrange(1 << 30)
        chance = random.Random(seed)
        engine, shop = self.begin(stock=100000)
        bound_s, placed, fell = 2 * self.usual_s(shop), 20, {'before its record': 0, 'after its record, unanswered': 0, 'answered': 0}
        for number in range(KILLS):
            key = f'kill {number}'
            told = self.killed_place(engine, shop, key, bound_s * chance.random() ** 2)
            bound_s *= 0.9 if told else 1.03  # so that most of the kills come before the answer, however fast the machine is
            engine = self.start(shards=chance.randint(1, 3))
            shop = self.shop(engine)
            again = shop.PlaceOrder(**fields(place_request(key)))
            placed += 1
            with self.subTest(number=number, seed=seed):
                if told:
                    self.assertEqual((again.id, again.receipt.repeated), (told, True))
                self.assertEqual(shop.PlaceOrder(**fields(place_request(key))).id, again.id)
                self.assertEqual(shop.GetCell(sku='apple', location=1).reserved, placed)
            fell['answered' if told else 'after its record, unanswered' if again.receipt.repeated else 'before its record'] += 1
        print(f'note: kills during a keyed place: {KILLS} ({", ".join(f"{name} {count}" for name, count in fell.items())}); '
              f'orders {placed}, second orders {shop.GetCell(sku="apple", location=1).reserved - placed}', flush=True)
        if harness.FULL:  # of a few kills any may miss a class
            self.assertGreater(min(fell.values()), 0, f'{fell}, seed {seed}')
        self.assertEqual(shop.Audit().violations, 0)
        state = self.digest(engine)
        engine.kill()
        self.kept(state, shards=3)


def fields(request):
    """A message's fields as keywords."""
    return {field.name: value for field, value in request.ListFields()}


if __name__ == '__main__':
    harness.main()
