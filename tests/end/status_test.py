"""What status says is what happened, and the lane beside the shards keeps a session's order."""

import struct
import threading

import harness
import protocol as p

ORDERS = 30


class Status(harness.EndTest):
    def test_rows_bytes_and_results_are_what_happened(self):
        engine = self.start(shards=2)
        skus = [f'SKU{number:06}' for number in range(8)]
        client = self.connect(engine)
        for sku in skus:
            client.provide(sku, 1, 1000)
        before = self.status(engine)
        for number in range(ORDERS):
            self.assertEqual(client.place([(skus[number % 8], 1, 1)])[1].result, 'OK')
        self.assertEqual(client.place([(skus[0], 1, 2), (skus[1], 1, 1)])[1].result, 'OK')
        self.assertEqual(client.place([(skus[0], 1, 100000)])[1].result, 'SHORT')
        self.tool(engine, 'digest')
        tables = lambda: {name: rows['rows_used'] for name, rows in self.status(engine)['tables'].items() if 'rows_used' in rows}
        wanted = {'skus': 8, 'cells': 8, 'orders': ORDERS + 1, 'lines': 1, 'limits': 0, 'locations': 1}
        self.eventually(lambda: wanted.items() <= tables().items(), wanted)
        after = self.status(engine)
        self.assertEqual(after['log']['orders_since_start'], ORDERS + 1)
        # A record of one line: its head, the command and one named touch.
        self.assertTrue(128 < after['log']['bytes_per_order'] < 256, after['log'])
        self.assertEqual(after['results']['SHORT'], 1)
        shards = [shard['results'].get('OK', 0) for shard in after['shards']]
        self.assertGreaterEqual(after['results']['OK'] - sum(shards), 3, 'the digest, two statuses')
        self.assertGreater(after['results']['OK'], before['results']['OK'] + ORDERS)
        self.assertEqual(after['version'], self.tool(None, 'version')['version'])
        self.assertEqual(engine.stop(), 0, engine.text())

    def test_status_digests_and_audits_beside_orders(self):
        engine = self.start(shards=2)
        self.connect(engine).provide('GOOD', 1, 1000000)
        ended = threading.Event()
        results = [0, 0]

        def place_on(at):
            client = self.connect(engine)
            while not ended.is_set():
                assert client.place([('GOOD', 1, 1)], ttl_ms=20)[1].result == 'OK'
                results[at] += 1

        threads = [threading.Thread(target=place_on, args=(at,)) for at in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(8):
                self.assertEqual(len(self.status(engine)['shards']), 2)
                self.digest(engine)
                self.audit_clean(engine)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        self.assertGreater(min(results), 0)
        self.assertEqual(engine.stop(), 0, engine.text())

    def test_a_session_finds_a_location_that_it_has_just_defined(self):
        engine = self.start(shards=2)
        client = self.connect(engine)
        for location in range(1, 31):
            client.send(p.command(p.DEFINE_LOCATION, client.fresh(of_route=0), arg=location, extensions=p.extension(p.NAME, 'a store')))
            client.send(p.command(p.LIST_LOCATIONS, arg=location))
        answers = {}
        for _ in range(60):
            got = client.receive()
            answers[got.request] = got.answers()[0]
        self.assertEqual([answers[number].item_count for number in sorted(answers)][1::2], [1] * 30)
        self.assertEqual(engine.stop(), 0, engine.text())

    def test_every_shard_is_listed_though_one_answer_has_no_room_for_all(self):
        engine = self.start(shards=16)
        client = self.connect(engine)
        client.send(p.command(p.STATUS))
        first = client.receive().answers()[0]
        self.assertTrue(first.flags & p.MORE)
        client.send(p.command(p.STATUS, arg=first.value))
        second = client.receive().answers()[0]
        shards = [shard for _, shard, _, _ in struct.iter_unpack('<40sIIQ', second.items)]
        self.assertEqual(shards[0], first.value)
        self.assertNotIn(0xffffffff, shards)
        status = self.tool(engine, 'status')
        self.assertEqual([shard['shard'] for shard in status['shards']], list(range(16)))
        # A shard that has found no work yet has measured nothing, but each that answers says so.
        for shard in status['shards']:
            if shard['answers_status'] == 1:
                self.assertLessEqual(shard['stages']['turn']['ns_max'], shard['stages']['turn']['ns_sum'])
        self.assertEqual(engine.stop(), 0, engine.text())


if __name__ == '__main__':
    harness.main()
