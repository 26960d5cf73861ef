"""Ten thousand orders race for a hundred units over a thousand connections: exactly a hundred win."""

import harness

UNITS, ORDERS, CONNECTIONS = 100, 10000, 1000


class Race(harness.EndTest):
    def race(self, shards):
        engine = self.start(shards=shards)
        self.stock(engine, 1, UNITS)
        before = self.digest(engine)
        acked = self.write('acked', '')
        found = self.tool(engine, 'load', '--skus', 1, '--lines', 1, '--qty', 1, '--connections', CONNECTIONS, '--batch', 1, '--inflight',
                          2,
                          '--rate', 0, '--orders', ORDERS, '--acked', acked)
        self.assertEqual(found['orders'], ORDERS)
        self.assertGreaterEqual(found['connections_made'], CONNECTIONS)
        self.assertEqual((found['granted'], found['errors'], found['unanswered'], found['refused']), (UNITS, 0, 0, {}))
        self.assertEqual(found['short'] + found['busy'], ORDERS - UNITS)
        cell = self.connect(engine).cell('SKU000001', 1)
        self.assertEqual((cell['sellable'], cell['reserved'], cell['available']), (UNITS, UNITS, 0))
        with open(acked, encoding='ascii') as lines:
            answers = [line.split() for line in lines]
        self.assertEqual(sum(words[1] == 'OK' for words in answers), UNITS)
        self.assertEqual(self.audit_clean(engine, acked)['acked'], UNITS)
        places = [record for record in self.follow(engine, before[0]) if record['command'] == 'PLACE']
        self.assertEqual(len(places), UNITS, 'what was refused is not in the log')
        self.assertEqual(sorted(place['lines'][0]['reserved'] for place in places), list(range(1, UNITS + 1)))
        state = self.digest(engine)
        engine.kill()
        for replayed in (1, 2, 3):
            self.kept(state, shards=replayed)

    def test_with_one_shard(self):
        self.race(1)

    def test_with_two_shards(self):
        self.race(2)


if __name__ == '__main__':
    harness.main()
