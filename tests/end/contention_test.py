"""Orders of 1 to 30 lines over both shards, contended, settled, cancelled, expiring, killed: all or nothing, wherever one looks."""

import random
import threading
import time

import harness
import protocol as p

SKUS, UNITS = 12, 400
WORKERS = 4
SECONDS = harness.scaled(3, 20)


def sku(number):
    return 'SKU%06d' % number


class Contention(harness.EndTest):
    def setUp(self):
        super().setUp()
        self.seed = random.SystemRandom().randrange(1 << 30)
        self.placed = {}   # id: its lines, from the moment before it was sent
        self.results = {}  # id: result, from the moment it was answered
        self.faults = []

    def order_lines(self, chance):
        return [(sku(chance.randint(1, SKUS)), chance.randint(1, 2), chance.randint(1, 3)) for _ in range(chance.randint(1, 30))]

    def whole(self, order, answer):
        """Faults of an order as a query shows it: every line as asked, and one state for all."""
        if answer.result != 'OK':
            return
        lines = [(name, location, quantity) for name, location, quantity, _, _ in answer.order_lines()]
        if lines != self.placed[order]:
            self.faults.append((p.id_text(order), lines, self.placed[order]))
        shipped = {quantity == done for _, _, quantity, _, done in answer.order_lines()}
        if len(shipped) != 1 or any(done not in (0, quantity) for _, _, quantity, _, done in answer.order_lines()):
            self.faults.append((p.id_text(order), 'shipped in part'))

    def live_once(self, client, chance, mine):
        order = client.fresh()
        lines = self.order_lines(chance)
        order = client.fresh(lines[0][0])
        self.placed[order] = lines
        answer = client.one(p.place(order, lines, ttl_ms=chance.choice((20, 200, 60000))))
        self.results[order] = answer.result
        if answer.result == 'OK':
            mine.append(order)
        if mine:
            old = chance.choice(mine)
            verb = chance.randrange(5)
            if verb == 0:
                client.settle(old)
            elif verb == 1:
                client.verb(p.CANCEL, old)
            elif verb == 2:
                client.verb(p.PAYMENT_RESULT, old, arg=1, amount=100, currency=b'EUR', status=p.CAPTURED)
            elif verb == 3:
                client.verb(p.SHIP, old)
            self.whole(old, client.get(old))
            if len(mine) > 40:
                mine.pop(0)

    def work(self, client, seed, until):
        chance, mine = random.Random(seed), []
        try:
            while time.monotonic() < until:
                self.live_once(client, chance, mine)
        except (ConnectionError, OSError):
            pass
        except AssertionError as fault:
            self.faults.append(repr(fault))

    def storm(self, engine, seconds, ends=None):
        """Workers on every shard's own port; `ends` is called in the middle of it."""
        ports = [port for port in self.connect(engine).ports if port] or [engine.host_port[1]]
        clients = [p.Client(('127.0.0.1', ports[number % len(ports)])) for number in range(WORKERS)]
        for client in clients:
            self.addCleanup(client.close)
        until = time.monotonic() + (seconds if ends is None else harness.WAIT_S)
        threads = [threading.Thread(target=self.work, args=[client, self.seed + number, until]) for number, client in enumerate(clients)]
        for thread in threads:
            thread.start()
        if ends:
            time.sleep(seconds)
            ends()
        for thread in threads:
            thread.join(harness.WAIT_S * 2)
        self.assertEqual(self.faults, [], f'seed {self.seed}')
        return {client.shard for client in clients}

    def judge_records(self, records):
        """All or nothing in every followed outcome; the records' orders by id: (lines, last state)."""
        orders = {}
        for record in records:
            command, lines = record['command'], record['lines']
            touched = [(line['sku'], line['location'], abs(line['quantity'])) for line in lines]
            if command == 'PLACE':
                identity = int(record['id'][:16], 16), int(record['id'][16:], 16)
                self.assertEqual(touched, self.placed[identity], record)
                orders[record['id']] = touched
            elif command in ('SETTLE', 'CANCEL', 'SHIP') and lines:
                self.assertEqual(sorted(touched), sorted(orders[record['order_id']]), record)
            elif command == 'EXPIRE':
                expected = sorted(line for identity in record['ids'] for line in orders[identity])
                self.assertEqual(sorted(touched), expected, record)
        return orders

    def judge_cells(self, records):
        """Recounts what is held and allocated from the followed outcomes alone, and compares each cell's own numbers on the way."""
        count = {}
        state = {}
        lines_of = {}
        for record in records:
            command = record['command']
            moves = []
            if command == 'PLACE':
                lines_of[record['id']] = record['lines']
                moves = [(record['id'], 'HELD')]
            elif command == 'EXPIRE':
                moves = [(identity, 'EXPIRED') for identity in record['ids']]
            elif 'order_id' in record:
                moves = [(record['order_id'], record['order'])]
            elif command in ('RECEIVE', 'SET', 'ADJUST'):
                for line in record['lines']:
                    count.setdefault((line['sku'], line['location']), [line['sellable'], 0, 0])[0] = line['sellable']
            for identity, now in moves:
                before = state.get(identity)
                state[identity] = now
                for line in lines_of[identity]:
                    cell, units = count[line['sku'], line['location']], line['quantity']
                    cell[1] += units * ((now == 'HELD') - (before == 'HELD'))
                    cell[2] += units * ((now == 'CONFIRMED') - (before == 'CONFIRMED'))
                    cell[0] -= units * (now == 'CLOSED' and before != 'CLOSED')
            for line in record['lines']:
                cell = count.setdefault((line['sku'], line['location']), [line['sellable'], 0, 0])
                self.assertEqual([line['sellable'], line['reserved'], line['allocated']], cell, record)
                self.assertLessEqual(cell[1] + cell[2], cell[0], 'more promised than there is')
        return count

    def judge(self, engine):
        records = self.follow(engine)
        known = self.judge_records(records)
        count = self.judge_cells(records)
        client = self.connect(engine)
        for (name, location), numbers in count.items():
            cell = client.cell(name, location)
            if self.holds_ended:
                self.assertEqual([cell['sellable'], cell['reserved'], cell['allocated']], numbers)
        for order, result in self.results.items():
            self.assertEqual(p.id_text(order) in known, result == 'OK', (p.id_text(order), result))
            if result == 'OK':
                answer = client.get(order)
                self.assertEqual(answer.result, 'OK')
                self.whole(order, answer)
        self.assertEqual(self.faults, [])
        self.audit_clean(engine)

    def quiet(self, engine):
        """Waits until no short hold is left, so that what is queried next does not change."""
        client = self.connect(engine)
        held = lambda: [order for order in self.placed if self.results.get(order) == 'OK' and client.get(order).order == 'HELD' and
                        client.get(order).due_ns // 1000000 < client.now_ms() + 30000]
        self.eventually(lambda: not held(), 'the end of short holds')
        self.holds_ended = True

    def stocked(self, shards):
        engine = self.start(shards=shards)
        self.stock(engine, SKUS, UNITS, locations=(1, 2))
        return engine

    def test_two_shards_under_contention(self):
        engine = self.stocked(2)
        self.assertEqual(self.storm(engine, SECONDS), {0, 1}, 'workers on both shards')
        self.assertGreater(list(self.results.values()).count('OK'), 20)
        self.quiet(engine)
        self.judge(engine)
        state = self.digest(engine)
        self.assertEqual(engine.stop(), 0, engine.text())
        for shards in (1, 2, 3):
            self.kept(state, shards=shards)

    def test_kills_in_the_middle_of_it(self):
        engine = self.stocked(2)
        for number in range(harness.scaled(3, 10)):
            self.storm(engine, SECONDS / 4, engine.kill)
            self.seed += 100
            self.replay(shards=number % 3 + 1)
            engine = self.start(shards=2)
        self.quiet(engine)
        self.judge(engine)
        state = self.digest(engine)
        engine.kill()
        for shards in (1, 2, 3):
            self.kept(state, shards=shards)

    def test_every_prefix_of_the_log_is_a_sound_state(self):
        engine = self.stocked(2)
        self.storm(engine, SECONDS / 3)
        positions = [record['position'] for record in self.follow(engine)]
        engine.kill()
        for position in random.Random(self.seed).sample(positions, min(len(positions), harness.scaled(8, 100))):
            digests = {self.replay(until=position, shards=shards)['digest'] for shards in (1, 3)}
            self.assertEqual(len(digests), 1, f'position {position}, seed {self.seed}')


if __name__ == '__main__':
    harness.main()
