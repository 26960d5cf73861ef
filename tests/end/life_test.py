"""The life of orders and of stock, command by command."""

import time

import harness
import protocol as p


class Life(harness.EndTest):
    OPTIONS = ()

    def setUp(self):
        super().setUp()
        self.engine = self.start(*self.OPTIONS, shards=2)
        self.client = self.connect(self.engine)
        self.client.provide('GOOD', 1, 100)

    def tearDown(self):
        self.audit_clean(self.engine)
        state = self.digest(self.engine)
        self.assertEqual(self.engine.stop(), 0, self.engine.text())
        for shards in (1, 3):
            self.kept(state, shards=shards)
        super().tearDown()

    def cell(self, sku='GOOD'):
        found = self.client.cell(sku, 1)
        return found['sellable'], found['reserved'], found['allocated'], found['available']

    def capture(self, order, intent=1, amount=100, status=p.CAPTURED, currency=b'EUR'):
        return self.client.verb(p.PAYMENT_RESULT, order, arg=intent, amount=amount, currency=currency, status=status)

    def ended(self, order, state='EXPIRED'):
        return self.eventually(lambda: self.client.get(order).order == state, state)


class Orders(Life):
    def test_placed_settled_captured_shipped(self):
        order, answer = self.client.place([('GOOD', 1, 3, 250)], ttl_ms=60000)
        self.assertEqual((answer.result, answer.states), ('OK', ('HELD', 'NONE', 'NONE')))
        self.assertEqual(self.cell(), (100, 3, 0, 97))
        self.assertGreater(answer.due_ns // 1000000, self.client.now_ms())
        found = self.client.get(order)
        self.assertEqual((found.order_lines(), found.states, found.version), ([('GOOD', 1, 3, 250, 0)], ('HELD', 'NONE', 'NONE'), 1))
        answer = self.client.settle(order, amount=750)
        self.assertEqual((answer.result, answer.states, answer.value), ('OK', ('CONFIRMED', 'CAPTURE_PENDING', 'NONE'), 1))
        self.assertEqual(self.cell(), (100, 0, 3, 97))
        self.assertEqual(self.capture(order, amount=751).result, 'AMOUNT_MISMATCH')
        self.assertEqual(self.capture(order, amount=750, currency=b'USD').result, 'AMOUNT_MISMATCH')
        self.assertEqual(self.capture(order, intent=2, amount=750).result, 'UNKNOWN_INTENT')
        answer = self.capture(order, amount=750)
        self.assertEqual((answer.result, answer.payment), ('OK', 'CAPTURED'))
        self.assertEqual(self.client.get(order).order_money(), (750, 750, 0))
        answer = self.client.verb(p.SHIP, order)
        self.assertEqual((answer.result, answer.states), ('OK', ('CLOSED', 'CAPTURED', 'SHIPPED')))
        self.assertEqual(self.cell(), (97, 0, 0, 97))
        self.assertEqual(self.client.get(order).order_lines(), [('GOOD', 1, 3, 250, 3)])
        for opcode in (p.SHIP, p.CANCEL):
            answer = self.client.verb(opcode, order)
            self.assertEqual((answer.result, answer.order), ('BAD_STATE', 'CLOSED'))

    def test_a_held_order_is_cancelled_once(self):
        order, _ = self.client.place([('GOOD', 1, 3)])
        self.assertEqual(self.client.verb(p.CANCEL, order).order, 'CANCELLED')
        self.assertEqual(self.cell(), (100, 0, 0, 100))
        self.assertEqual(self.client.verb(p.CANCEL, order).result, 'BAD_STATE')
        self.assertEqual(self.client.verb(p.SHIP, order).result, 'BAD_STATE')
        self.assertEqual(self.client.verb(p.EXTEND, order, arg=1000).result, 'BAD_STATE')

    def test_a_captured_order_that_is_cancelled_is_refunded(self):
        order, _ = self.client.place([('GOOD', 1, 3)])
        self.client.settle(order)
        self.capture(order)
        answer = self.client.verb(p.CANCEL, order)
        self.assertEqual((answer.result, answer.order, answer.payment), ('OK', 'CANCELLED', 'REFUND_DUE'))
        self.assertEqual(self.cell(), (100, 0, 0, 100))
        self.assertEqual(self.capture(order, intent=2, status=p.REFUNDED).payment, 'REFUNDED')
        self.assertEqual(self.client.get(order).order_money(), (100, 100, 100))

    def test_a_capture_that_comes_after_the_cancel_is_refunded(self):
        order, _ = self.client.place([('GOOD', 1, 3)])
        self.client.settle(order)
        self.assertEqual(self.client.verb(p.CANCEL, order).payment, 'CAPTURE_PENDING')
        self.assertEqual(self.capture(order).payment, 'REFUND_DUE')
        kinds = [intent['kind'] for record in self.follow(self.engine) for intent in record.get('intents', [])]
        self.assertEqual(kinds, ['CAPTURE', 'REFUND'])

    def test_a_failed_capture_may_be_settled_again(self):
        order, _ = self.client.place([('GOOD', 1, 3)])
        self.client.settle(order)
        self.assertEqual(self.capture(order, status=p.FAILED).payment, 'FAILED')
        self.assertEqual(self.client.verb(p.SHIP, order).result, 'BAD_STATE')
        answer = self.client.settle(order, reference='pay-2')
        self.assertEqual((answer.result, answer.payment, answer.value), ('OK', 'CAPTURE_PENDING', 2))

    def test_a_hold_expires_by_itself_and_gives_back(self):
        order = self.client.fresh('GOOD')
        # In one frame, so that the hold is there when the next one comes, however slow the machine is.
        held, short = self.client.ask(p.place(order, [('GOOD', 1, 100)], ttl_ms=200), p.place(self.client.fresh('GOOD'), [('GOOD', 1, 1)]))
        self.assertEqual((held.result, short.result), ('OK', 'SHORT'))
        self.ended(order)
        self.assertEqual(self.cell(), (100, 0, 0, 100))
        self.assertEqual(self.client.place([('GOOD', 1, 100)])[1].result, 'OK')
        self.assertEqual(self.client.verb(p.CANCEL, order).result, 'BAD_STATE')

    def test_a_hold_is_extended(self):
        order, placed = self.client.place([('GOOD', 1, 100)], ttl_ms=400)
        answer = self.client.verb(p.EXTEND, order, arg=600000)
        if answer.result == 'OK':  # a slow machine may have been too late
            self.assertGreater(answer.due_ns, placed.due_ns + 500 * 10**9)
            short, _ = self.client.place([('GOOD', 1, 1)], ttl_ms=1)
            time.sleep(0.5)
            self.assertEqual(self.client.get(order).order, 'HELD')
            self.assertEqual(self.client.get(short).result, 'UNKNOWN_ORDER')
        else:
            self.assertEqual(answer.order, 'EXPIRED')

    def test_extending_is_bounded(self):
        order, _ = self.client.place([('GOOD', 1, 1)])
        answers = [self.client.verb(p.EXTEND, order, arg=900000).result for _ in range(100)]
        self.assertEqual(answers[0], 'OK')
        self.assertEqual(answers[-1], 'TOO_MANY')

    def test_a_settle_after_expiry_takes_the_stock_again_if_it_is_there(self):
        order, _ = self.client.place([('GOOD', 1, 60)], ttl_ms=1)
        self.ended(order)
        answer = self.client.settle(order)
        self.assertEqual((answer.result, answer.order, answer.payment), ('OK', 'CONFIRMED', 'CAPTURE_PENDING'))
        self.assertEqual(self.cell(), (100, 0, 60, 40))

    def test_a_settle_after_expiry_without_stock_remembers_the_money(self):
        order, _ = self.client.place([('GOOD', 1, 60)], ttl_ms=1)
        self.ended(order)
        self.assertEqual(self.client.place([('GOOD', 1, 60)])[1].result, 'OK')
        settle = p.settle(self.client.fresh_for(order), order)
        answer = self.client.one(settle)
        self.assertEqual((answer.result, answer.order, answer.payment), ('STOCK_LOST', 'EXPIRED', 'REFUND_DUE'))
        self.assertEqual(self.cell(), (100, 60, 0, 40))
        again = self.client.one(settle)
        self.assertEqual((again.result, again.repeated, again.value), ('STOCK_LOST', True, answer.value))
        self.assertEqual(self.capture(order, intent=answer.value, status=p.REFUNDED).payment, 'REFUNDED')

    def test_many_expire_at_once_and_all_come_back(self):
        count = harness.scaled(200, 2000)
        self.client.receive_stock('GOOD', 1, count)
        frames = [[p.place(self.client.fresh('GOOD'), [('GOOD', 1, 1)], ttl_ms=300) for _ in range(50)] for _ in range(count // 50)]
        self.assertEqual({answer.result for frame in frames for answer in self.client.ask(*frame)}, {'OK'})
        self.eventually(lambda: self.cell() == (100 + count, 0, 0, 100 + count), 'all given back')
        expired = [identity for record in self.follow(self.engine) if record['command'] == 'EXPIRE' for identity in record['ids']]
        self.assertEqual((len(expired), len(set(expired))), (count, count))


class Policies(Life):
    def policy(self, **more):
        answer = self.client.one(p.policy(self.client.fresh('GOOD'), 'GOOD', **more))
        self.assertEqual(answer.result, 'OK')

    def test_safety_stock_is_not_promised(self):
        self.policy(safety_stock=30)
        self.assertEqual(self.cell(), (100, 0, 0, 70))
        self.assertEqual(self.client.place([('GOOD', 1, 71)])[1].short(), [(0, 71, 70)])
        self.assertEqual(self.client.place([('GOOD', 1, 70)])[1].result, 'OK')

    def test_safety_stock_of_one_cell(self):
        self.policy(safety_stock=30)
        self.policy(location=1, safety_stock=10)
        self.assertEqual(self.cell()[3], 90)

    def test_a_limit_of_one_order_sums_its_lines(self):
        self.policy(per_order=5)
        self.assertEqual(self.client.place([('GOOD', 1, 6)])[1].result, 'LIMIT_PER_ORDER')
        self.assertEqual(self.client.place([('GOOD', 1, 3), ('GOOD', 1, 3)])[1].result, 'LIMIT_PER_ORDER')
        self.assertEqual(self.client.place([('GOOD', 1, 5)])[1].result, 'OK')

    def test_a_limit_of_one_customer_holds_and_cancels_give_back(self):
        self.policy(per_customer=5)
        first, answer = self.client.place([('GOOD', 1, 3)], customer=1)
        self.assertEqual(answer.result, 'OK')
        self.assertEqual(self.client.place([('GOOD', 1, 3)], customer=1)[1].result, 'LIMIT_PER_CUSTOMER')
        self.assertEqual(self.client.place([('GOOD', 1, 3)], customer=2)[1].result, 'OK')
        self.assertEqual(self.client.place([('GOOD', 1, 2)], customer=1)[1].result, 'OK')
        self.client.verb(p.CANCEL, first)
        self.assertEqual(self.client.place([('GOOD', 1, 4)], customer=1)[1].result, 'LIMIT_PER_CUSTOMER')
        self.assertEqual(self.client.place([('GOOD', 1, 3)], customer=1, ttl_ms=1)[1].result, 'OK')
        self.eventually(lambda: self.client.place([('GOOD', 1, 3)], customer=1)[1].result == 'OK', 'expiry gives the limit back')

    def test_one_customer_in_parallel_stays_within_the_limit(self):
        self.policy(per_customer=5)
        clients = [self.connect(self.engine) for _ in range(20)]
        numbers = [client.send(*[p.place(client.fresh('GOOD'), [('GOOD', 1, 1)], customer=9) for _ in range(5)]) for client in clients]
        self.assertEqual(len(numbers), 20)
        results = [answer.result for client in clients for answer in client.receive().answers()]
        self.assertEqual(results.count('OK'), 5)
        self.assertEqual(set(results) - {'BUSY'}, {'OK', 'LIMIT_PER_CUSTOMER'})

    def test_a_sale_opens_and_closes(self):
        now = self.client.now_ms()
        self.policy(opens_ms=now + 3600000)
        self.assertEqual(self.client.place([('GOOD', 1, 1)])[1].result, 'NOT_ON_SALE')
        self.policy(opens_ms=now - 10, closes_ms=now - 1)
        self.assertEqual(self.client.place([('GOOD', 1, 1)])[1].result, 'NOT_ON_SALE')
        self.policy(opens_ms=now - 10, closes_ms=now + 3600000)
        self.assertEqual(self.client.place([('GOOD', 1, 1)])[1].result, 'OK')


class Stock(Life):
    def change(self, opcode, **more):
        return self.client.one(p.stock(opcode, self.client.fresh('GOOD'), 'GOOD', 1, **more))

    def test_an_adjustment_needs_a_reason_and_does_not_go_below_zero(self):
        self.assertNotEqual(self.change(p.ADJUST, value=-1).result, 'OK')
        self.assertEqual(self.change(p.ADJUST, value=-40, reason='broken').result, 'OK')
        self.assertEqual(self.change(p.ADJUST, value=-61, reason='broken').result, 'BELOW_ZERO')
        self.assertEqual(self.cell(), (60, 0, 0, 60))

    def test_lowering_under_what_is_promised_is_flagged_never_clamped(self):
        self.client.place([('GOOD', 1, 50)])
        refused = self.change(p.ADJUST, value=-60, reason='lost')
        if refused.result == 'OK':
            self.assertEqual(refused.cell()['oversold'], 1)
        else:
            self.assertEqual(refused.result, 'BELOW_ZERO')
            self.assertEqual(self.change(p.ADJUST, value=-60, reason='lost', flags=p.FORCE).cell()['oversold'], 1)
        cell = self.client.cell('GOOD', 1)
        self.assertEqual((cell['sellable'], cell['reserved'], cell['available'], cell['oversold']), (40, 50, -10, 1))
        self.assertEqual(self.tool(self.engine, 'audit')['oversold_cells'], 0 if not cell['oversold'] else 1)
        self.change(p.RECEIVE, quantity=60)

    def test_compare_and_set(self):
        version = self.client.cell('GOOD', 1)['version']
        answer = self.change(p.SET, value=500, version=version, flags=p.EXPECT_VERSION)
        self.assertEqual((answer.result, answer.value, answer.cell()['sellable']), ('OK', 500, 500))
        self.assertEqual(self.change(p.SET, value=1, version=version, flags=p.EXPECT_VERSION).result, 'STALE_VERSION')
        self.assertEqual(self.cell()[0], 500)

    def test_a_source_is_applied_in_its_own_order(self):
        feed = lambda value, sequence: self.change(p.SET, value=value, source=77, sequence=sequence, flags=p.SOURCE)
        self.assertEqual(feed(200, 5).result, 'OK')
        self.assertEqual(feed(300, 4).result, 'NOT_APPLIED')
        self.assertEqual(feed(300, 5).result, 'NOT_APPLIED')
        self.assertEqual(self.cell()[0], 200)
        self.assertEqual(feed(300, 6).result, 'OK')
        self.assertEqual(self.cell()[0], 300)

    def test_buckets_are_apart(self):
        self.change(p.RECEIVE, quantity=5, bucket=2)
        cell = self.client.cell('GOOD', 1)
        self.assertEqual((cell['sellable'], cell['quality_control'], cell['available']), (100, 5, 100))

    def test_a_cell_does_not_overflow(self):
        self.assertEqual(self.change(p.RECEIVE, quantity=(1 << 31) - 1).result, 'OVERFLOW')
        self.assertEqual(self.cell()[0], 100)


class Forgetting(Life):
    OPTIONS = ('--retention', '1')

    def test_a_finished_order_is_forgotten_and_its_id_never_runs_again(self):
        order, _ = self.client.place([('GOOD', 1, 3)])
        settle = p.settle(self.client.fresh_for(order), order)
        self.assertEqual(self.client.one(settle).result, 'OK')
        self.capture(order)
        self.client.verb(p.SHIP, order)
        self.eventually(lambda: self.client.get(order).result == 'UNKNOWN_ORDER' or self.client.get(order).result == 'NOT_FOUND',
                        'forgetting')
        before = self.cell()
        self.assertEqual(self.client.place([('GOOD', 1, 3)], order)[1].result, 'ID_TOO_OLD')
        self.assertEqual(self.client.one(settle).result, 'ID_TOO_OLD')
        self.assertEqual(self.client.verb(p.CANCEL, order).result, 'ID_TOO_OLD')
        self.assertEqual(self.cell(), before)

    def test_a_payment_for_a_forgotten_order_is_to_be_refunded(self):
        order, _ = self.client.place([('GOOD', 1, 3)], ttl_ms=1)
        self.eventually(lambda: self.client.get(order).result != 'OK', 'forgetting')
        self.assertEqual(self.client.settle(order, amount=0, currency=bytes(3), reference=None).result, 'ID_TOO_OLD')
        identity = self.client.fresh_for(order)
        answer = self.client.settle(order, identity=identity)
        self.assertEqual((answer.result, answer.repeated), ('REFUND_DUE', False))
        again = self.client.settle(order, identity=identity)
        self.assertEqual((again.result, again.repeated), ('REFUND_DUE', True))
        due = [record for record in self.follow(self.engine) if record['result'] == 'REFUND_DUE']
        self.assertEqual([intent['kind'] for record in due for intent in record.get('intents', [])], ['REFUND'])
        self.assertEqual(self.cell()[:3], (100, 0, 0))

    def test_a_held_order_is_not_forgotten(self):
        order, _ = self.client.place([('GOOD', 1, 3)])
        time.sleep(2.5)
        self.assertEqual(self.client.get(order).order, 'HELD')
        again = self.client.place([('GOOD', 1, 3)], order)[1]
        self.assertEqual((again.result, again.repeated), ('OK', True))

    def test_tables_are_free_again_after_forgetting(self):
        for _ in range(3):
            self.client.place([('GOOD', 1, 1), ('GOOD', 1, 1)], ttl_ms=1)
        rows = lambda: {name: table.get('rows_used') for name, table in self.tool(self.engine, 'status')['tables'].items()}
        self.eventually(lambda: rows()['orders'] == 0 and rows()['lines'] == 0, 'empty tables')


if __name__ == '__main__':
    harness.main()
