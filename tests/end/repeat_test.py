"""An id is said many times and counts once: in parallel, with another body, after a reject, after a success, after a restart."""

import threading

import harness
import protocol as p


def in_parallel(clients, raw):
    """Sends one command from every client at once; the answers."""
    answers = [None] * len(clients)
    together = threading.Barrier(len(clients))

    def send(number):
        together.wait(harness.WAIT_S)
        while answers[number] is None or answers[number].result == 'BUSY':
            answers[number] = clients[number].one(raw)
    threads = [threading.Thread(target=send, args=[number]) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(harness.WAIT_S)
    return answers


class Repeat(harness.EndTest):
    def setUp(self):
        super().setUp()
        self.engine = self.start(shards=2)
        self.client = self.connect(self.engine)
        self.client.provide('GOOD', 1, 1000)
        self.client.provide('OTHER', 1, 1000)

    def restart(self, shards=1):
        self.restart_with(shards=shards)

    def restart_with(self, *options, **more):
        self.engine.kill()
        self.engine = self.start(*options, **more)
        self.client = self.connect(self.engine)

    def test_one_order_a_hundred_times_at_once_is_one_order(self):
        clients = [self.connect(self.engine) for _ in range(100)]
        for lines in ([('GOOD', 1, 3)], [('GOOD', 1, 3), ('OTHER', 1, 2)]):
            with self.subTest(lines=lines):
                before = self.client.cell('GOOD', 1)
                identity = self.client.fresh('GOOD')
                answers = in_parallel(clients, p.place(identity, lines))
                self.assertEqual({answer.result for answer in answers}, {'OK'})
                self.assertEqual(sum(not answer.repeated for answer in answers), 1, 'one answer is not a repeat')
                self.assertEqual({(answer.version, answer.due_ns, answer.states) for answer in answers},
                                 {(1, answers[0].due_ns, ('HELD', 'NONE', 'NONE'))})
                cell = self.client.cell('GOOD', 1)
                self.assertEqual((cell['reserved'], cell['version']), (before['reserved'] + 3, before['version'] + 1))

    def test_a_hundred_orders_at_once_under_one_request_key_are_one_order(self):
        clients = [self.connect(self.engine) for _ in range(100)]
        identities = [self.client.fresh('GOOD') for _ in clients]
        answers = [None] * len(clients)

        def send(number):
            answers[number] = in_parallel(clients[number:number + 1], p.place(identities[number], [('GOOD', 1, 3)], key='basket'))[0]
        threads = [threading.Thread(target=send, args=[number]) for number in range(len(clients))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(harness.WAIT_S)
        self.assertEqual({answer.result for answer in answers}, {'OK'})
        ran = [identity for identity, answer in zip(identities, answers) if not answer.repeated]
        self.assertEqual(len(ran), 1)
        self.assertEqual({answer.first_id for answer in answers}, {None, ran[0]})
        self.assertEqual(self.client.cell('GOOD', 1)['reserved'], 3)
        self.restart(shards=3)
        again = self.client.place([('GOOD', 1, 3)], key='basket')[1]
        self.assertEqual((again.result, again.first_id), ('OK', ran[0]))
        self.assertEqual(self.client.place([('OTHER', 1, 3)], key='basket')[1].result, 'ID_REUSED')

    def test_one_settle_a_hundred_times_at_once_makes_one_intent(self):
        order, _ = self.client.place([('GOOD', 1, 1), ('OTHER', 1, 1)])
        answers = in_parallel([self.connect(self.engine) for _ in range(100)], p.settle(self.client.fresh_for(order), order))
        self.assertEqual({(answer.result, answer.value) for answer in answers}, {('OK', 1)})
        intents = [intent for record in self.follow(self.engine) for intent in record.get('intents', [])]
        self.assertEqual([intent['number'] for intent in intents], [1])

    def test_one_receipt_a_hundred_times_at_once_is_one_receipt(self):
        raw = p.stock(p.RECEIVE, self.client.fresh('GOOD'), 'GOOD', 1, 7)
        answers = in_parallel([self.connect(self.engine) for _ in range(100)], raw)
        self.assertEqual({answer.result for answer in answers}, {'OK'})
        self.assertEqual(self.client.cell('GOOD', 1)['sellable'], 1007)

    def test_different_ids_racing_with_different_verbs_end_in_one_state(self):
        for _ in range(harness.scaled(10, 100)):
            order, _ = self.client.place([('GOOD', 1, 1), ('OTHER', 1, 1)])
            clients = [self.connect(self.engine) for _ in range(2)]
            verbs = [p.settle(self.client.fresh_for(order), order), p.verb(p.CANCEL, self.client.fresh_for(order), order)]
            answers, together = [None, None], threading.Barrier(2)

            def send(number, clients=clients, verbs=verbs, answers=answers, together=together):
                together.wait(harness.WAIT_S)
                answers[number] = clients[number].one(verbs[number])
            threads = [threading.Thread(target=send, args=[number]) for number in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(harness.WAIT_S)
            self.assertIn([answer.result for answer in answers], (['OK', 'OK'], ['BAD_STATE', 'OK']))
            self.assertEqual(self.client.get(order).order, 'CANCELLED')
        self.audit_clean(self.engine)

    def test_another_body_under_a_used_id_is_refused(self):
        order, _ = self.client.place([('GOOD', 1, 3)])
        for lines in ([('GOOD', 1, 4)], [('GOOD', 1, 3), ('OTHER', 1, 1)], [('GOOD', 1, 3, 5)]):
            self.assertEqual(self.client.place(lines, order)[1].result, 'ID_REUSED')
        self.assertEqual(self.client.place([('GOOD', 1, 3)], order, customer=8)[1].result, 'ID_REUSED')
        self.assertEqual(self.client.place([('GOOD', 1, 3)], order, ttl_ms=1)[1].result, 'ID_REUSED')
        identity = self.client.fresh_for(order)
        self.assertEqual(self.client.settle(order, identity=identity).result, 'OK')
        self.assertEqual(self.client.settle(order, identity=identity, amount=101).result, 'ID_REUSED')
        self.assertEqual(self.client.verb(p.CANCEL, order, identity=identity).result, 'ID_REUSED')
        self.assertEqual(self.client.settle(order, identity=identity).repeated, True)
        self.assertEqual(self.client.cell('GOOD', 1)['allocated'], 3)

    def test_a_trace_context_is_not_part_of_the_body(self):
        identity = self.client.fresh('GOOD')
        body = [p.line('GOOD', 1, 3)], p.struct.pack('<QIB', 7, 1, 0), 900000
        first = self.client.one(p.command(p.PLACE, identity, *body, extensions=p.extension(p.TRACE_CONTEXT, 'attempt 1')))
        again = self.client.one(p.command(p.PLACE, identity, *body, extensions=p.extension(p.TRACE_CONTEXT, 'attempt no. 2, longer')))
        other = self.client.one(p.command(p.PLACE, identity, *body, extensions=p.extension(p.REFERENCE, 'attempt 1')))
        self.assertEqual((first.result, again.result, again.repeated, other.result), ('OK', 'OK', True, 'ID_REUSED'))

    def test_a_retry_after_a_reject_is_judged_anew(self):
        identity = self.client.fresh('GOOD')
        lines = [('GOOD', 1, 1001)]
        answer = self.client.place(lines, identity)[1]
        self.assertEqual((answer.result, answer.short(), answer.position), ('SHORT', [(0, 1001, 1000)], 0))
        self.client.receive_stock('GOOD', 1, 1)
        answer = self.client.place(lines, identity)[1]
        self.assertEqual((answer.result, answer.repeated), ('OK', False))
        # Once more, with another body: now the id is taken.
        self.assertEqual(self.client.place([('GOOD', 1, 1)], identity)[1].result, 'ID_REUSED')

    def test_a_retry_after_success_tells_the_present_state_also_after_a_restart(self):
        lines = [('GOOD', 1, 3), ('OTHER', 1, 2)]
        order, _ = self.client.place(lines)
        settle = p.settle(self.client.fresh_for(order), order)
        receive = p.stock(p.RECEIVE, self.client.fresh('GOOD'), 'GOOD', 1, 7)
        self.assertEqual([self.client.one(raw).result for raw in (settle, receive)], ['OK', 'OK'])
        for shards in (None, 1, 3):
            if shards:
                self.restart(shards)
            again = self.client.place(lines, order)[1]
            self.assertEqual((again.result, again.repeated, again.order), ('OK', True, 'CONFIRMED'))
            again = self.client.one(settle)
            self.assertEqual((again.result, again.repeated, again.value), ('OK', True, 1))
            again = self.client.one(receive)
            self.assertEqual((again.result, again.repeated), ('OK', True))
            self.assertEqual(self.client.place([('GOOD', 1, 9)], order)[1].result, 'ID_REUSED')
            cell = self.client.cell('GOOD', 1)
            self.assertEqual((cell['sellable'], cell['allocated'], cell['reserved']), (1007, 3, 0))
        self.audit_clean(self.engine)

    def test_a_request_that_is_sent_again_gets_its_first_answer(self):
        identity = self.client.fresh('GOOD')
        number = self.client.send(p.place(identity, [('GOOD', 1, 3)]))
        first = self.client.receive()
        self.client.send(p.place(identity, [('GOOD', 1, 3)]), request=number)
        again = self.client.receive()
        self.assertEqual((again.request, again.payload), (number, first.payload))
        self.assertFalse(again.answers()[0].repeated, 'the very first answer, not a repeat')

    def test_a_session_is_taken_up_again_on_another_connection(self):
        identity = self.client.fresh('GOOD')
        number = self.client.send(p.place(identity, [('GOOD', 1, 3)]))
        first = self.client.receive()
        # The session lives on its shard's own port.
        port = self.client.ports[self.client.shard] or self.engine.host_port[1]
        self.client.close()
        again = p.Client(('127.0.0.1', port), session=self.client.session)
        self.addCleanup(again.close)
        self.assertEqual(again.session, self.client.session)
        again.send(p.place(identity, [('GOOD', 1, 3)]), request=number)
        self.assertEqual(again.receive().payload, first.payload)

    def test_a_session_expires_when_it_is_left_alone_and_its_ids_do_not(self):
        self.restart_with('--session-idle', '0.2')
        identity, receipt = self.client.fresh('GOOD'), self.client.fresh('OTHER')
        commands = p.place(identity, [('GOOD', 1, 3)]), p.stock(p.RECEIVE, receipt, 'OTHER', 1, 7)
        self.assertEqual([(answer.result, answer.repeated) for answer in self.client.ask(*commands)], [('OK', False)] * 2)
        old, kept = self.client.session, self.connect(self.engine)
        self.client.close()

        def expired():
            again = self.connect(self.engine, session=old)
            again.close()  # each look takes it up anew, so the next one waits for longer
            harness.time.sleep(0.05 + expired.looks / 20)
            expired.looks += 1
            return again.session != old
        expired.looks = 0
        self.eventually(expired, 'a session that was left alone expired')
        again = self.connect(self.engine)
        self.assertEqual([(answer.result, answer.repeated) for answer in again.ask(*commands)], [('OK', True)] * 2)
        self.assertEqual((again.cell('GOOD', 1)['reserved'], again.cell('OTHER', 1)['sellable']), (3, 1007))
        again.send_raw(p.frame(p.REQUEST, old, 2, count=1, payload=p.get_cell('GOOD', 1)))
        got = again.receive()
        self.assertEqual((got.kind, got.result), (p.REFUSED, 'SESSION_EXPIRED'))
        self.assertEqual(kept.one(p.get_cell('GOOD', 1)).result, 'OK', 'a session with a connection does not expire, however quiet')

    def test_the_same_id_twice_in_one_frame(self):
        raw = p.place(self.client.fresh('GOOD'), [('GOOD', 1, 3)])
        answers = self.client.ask(raw, raw, raw)
        self.assertEqual([(answer.result, answer.repeated) for answer in answers], [('OK', False), ('OK', True), ('OK', True)])

    def test_the_same_cell_twice_in_one_order_is_summed(self):
        _, answer = self.client.place([('GOOD', 1, 600), ('GOOD', 1, 600)])
        self.assertEqual(answer.result, 'SHORT')
        self.assertEqual({(asked, available) for _, asked, available in answer.short()}, {(1200, 1000)})
        _, answer = self.client.place([('GOOD', 1, 400), ('GOOD', 1, 600)])
        self.assertEqual((answer.result, self.client.cell('GOOD', 1)['available']), ('OK', 0))


if __name__ == '__main__':
    harness.main()
