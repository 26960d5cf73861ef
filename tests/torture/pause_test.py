"""SIGSTOP and SIGCONT: an engine that stands still for a while, with clients that wait, give up, come back and send again."""

import os
import signal
import time

import kit
import protocol as p

ROUNDS = kit.scaled(3, 25)


class Pause(kit.Torture):
    def stop(self, engine):
        engine.process.send_signal(signal.SIGSTOP)
        self.eventually(lambda: state_of(engine) == 'T', 'a stop')

    def go_on(self, engine):
        engine.process.send_signal(signal.SIGCONT)

    def moved(self, engine, client):
        """The same client on a new connection to the session's own port; what it sends is read when the engine goes on."""
        port = client.ports[client.shard] or engine.host_port[1]
        client.close()
        again = p.Client(('127.0.0.1', port), hello=False)
        self.addCleanup(again.close)
        again.send_raw(p.frame(p.HELLO, client.session, credits=client.credits, payload=p.struct.pack('<Q24x', 4711)))
        return again

    def test_pauses_under_load_lose_and_double_nothing(self):
        """Holds run out, frames queue up and timers are late by as much as the pause: all of it is made up for."""
        engine = self.stocked(shards=2)
        load = self.load(engine, ttl=300)
        for number in range(ROUNDS):
            with self.round(number):
                self.some_answers(50)
                self.stop(engine)
                time.sleep(self.chance.uniform(0.01, 0.6))
                self.go_on(engine)
                self.some_answers(50)
        report = self.end_load(load)
        self.assertEqual((report['unanswered'], report['errors']), (0, 0), report)
        self.judged(engine)
        self.assertEqual(engine.stop(), 0, engine.text())
        self.came_back()

    def test_killed_while_it_stands_still_and_the_next_within_a_millisecond(self):
        engine = self.stocked()
        for number in range(ROUNDS):
            with self.round(number):
                load = self.load(engine)
                self.some_answers(50)
                self.stop(engine)
                after = self.launch(shards=self.shards())
                time.sleep(self.chance.uniform(0, 0.1))
                engine.process.kill()
                engine = after.wait_ready()
                self.drop_load(load)
                self.judged(engine)
        self.assertEqual(engine.stop(), 0, engine.text())
        self.came_back()

    def test_what_was_sent_to_a_standing_engine_twice_is_done_once(self):
        """A client times out, connects anew, takes its session up and sends the same frames again: one answer each, one effect."""
        engine = self.stocked(shards=2)
        watch = self.connect(engine)
        for number in range(ROUNDS):
            with self.round(number):
                before = watch.cell('SKU000001', 1)['reserved']
                client = self.connect(engine)
                orders = [client.fresh('SKU000001') for _ in range(5)]
                raws = [p.frame(p.REQUEST, client.session, at, count=1, payload=p.place(order, [('SKU000001', 1, 2)]))
                        for at, order in enumerate(orders, 1)]
                self.stop(engine)
                client.send_raw(b''.join(raws[:4]))
                again = self.moved(engine, client)
                again.send_raw(b''.join(raws))
                self.go_on(engine)
                welcome = again.receive()
                self.assertEqual((welcome.kind, welcome.session), (p.WELCOME, client.session))
                got = {frame.request: [answer.result for answer in frame.answers()] for frame in (again.receive() for _ in raws)}
                self.assertEqual(got, {at: ['OK'] for at in range(1, 6)})
                self.assertEqual(watch.cell('SKU000001', 1)['reserved'], before + 10)

    def test_a_session_that_ran_out_in_the_pause_is_replaced_and_ids_still_count_once(self):
        engine = self.stocked('--session-idle', '0.1')
        watch = self.connect(engine)
        replaced = 0
        for number in range(ROUNDS):
            with self.round(number):
                before = watch.cell('SKU000001', 1)['reserved']
                client = self.connect(engine)
                raw = p.place(client.fresh('SKU000001'), [('SKU000001', 1, 2)])
                client.send(raw)
                if number % 2:
                    self.assertEqual(client.receive().answers()[0].result, 'OK')
                client.close()
                time.sleep(self.chance.uniform(0, 0.3))
                self.stop(engine)
                again = self.moved(engine, client)
                time.sleep(self.chance.uniform(0.05, 0.3))
                self.go_on(engine)
                welcome = again.receive()
                self.assertEqual(welcome.kind, p.WELCOME)
                replaced += welcome.session != client.session
                again.send_raw(p.frame(p.REQUEST, welcome.session, 1, count=1, payload=raw))
                self.assertEqual([answer.result for answer in again.receive().answers()], ['OK'])
                self.assertEqual(watch.cell('SKU000001', 1)['reserved'], before + 2)
        self.audit_clean(engine)
        print(f'note: sessions replaced: {replaced} of {ROUNDS}')

    def test_holds_that_ran_out_in_the_pause_are_given_back_after_it(self):
        engine = self.stocked()
        client = self.connect(engine)
        orders = [client.place([('SKU000002', 1, 3)], ttl_ms=200)[0] for _ in range(20)]
        self.stop(engine)
        time.sleep(0.4)
        self.go_on(engine)
        self.eventually(lambda: client.cell('SKU000002', 1)['reserved'] == 0, 'the holds given back')
        self.assertEqual({client.get(order).order for order in orders}, {'EXPIRED'})
        self.audit_clean(engine)


def state_of(engine):
    """All threads' state as the kernel has it; T when every one stands still."""
    folder = f'/proc/{engine.process.pid}/task'
    found = set()
    for task in os.listdir(folder):
        with open(f'{folder}/{task}/stat', encoding='ascii') as file:
            found.add(file.read().rsplit(')', 1)[1].split()[0])
    return found.pop() if len(found) == 1 else '?'


if __name__ == '__main__':
    kit.main()
