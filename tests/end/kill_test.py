"""SIGKILL in a burst: nothing acknowledged is lost, nothing is promised twice, and any number of shards replays to the same bit."""

import random
import time

import harness

ROUNDS = harness.scaled(6, 20)
SKUS = 500


def count_lines(path):
    with open(path, encoding='ascii') as lines:
        return sum(1 for _ in lines)


class Kill(harness.EndTest):
    def burst(self, engine, acked, seconds, shards, seed):
        load = harness.start_tool(engine.address, 'load', '--skus', SKUS, '--zipf', 0.9, '--lines', 3, '--qty', 3, '--connections', 8,
                                  '--batch', 8, '--inflight', 4, '--rate', 4000, '--seconds', 30,
                                  '--settle', 30, '--cancel', 20, '--ttl', 700,
                                  '--seed', seed, '--acked', acked)
        began = time.monotonic()
        self.eventually(lambda: count_lines(acked) > self.seen, f'an answer with {shards} shards')
        time.sleep(max(0, seconds - (time.monotonic() - began)))
        engine.kill()
        load.terminate()  # it would look for the engine for some seconds
        out, err = load.communicate(timeout=harness.WAIT_S)
        self.assertEqual(load.returncode, 0, out + err)
        self.seen = count_lines(acked)

    def test_rounds_of_kills_lose_nothing(self):
        seed = random.SystemRandom().randrange(1 << 30)
        chance = random.Random(seed)
        acked, self.seen = self.write('acked', ''), 0
        engine = self.start()
        self.stock(engine, SKUS, 3000)
        earlier = []
        for round_number in range(ROUNDS):
            with self.subTest(round=round_number, seed=seed):
                shards = round_number % 3 + 1
                self.burst(engine, acked, chance.uniform(0.1, 1.2), shards, seed + round_number)
                engine = self.start(shards=(round_number + 1) % 3 + 1)
                self.assertEqual(self.connect(engine).term, 2 * round_number + 2)
                audit = self.audit_clean(engine, acked)
                self.assertGreaterEqual(audit['acked'], 1)
                state = self.digest(engine)
                earlier.append(state)
                if round_number % 2:
                    engine.kill()
                else:
                    self.assertEqual(engine.stop(), 0, engine.text())
                for replayed in (1, 2, 3):
                    self.kept(state, shards=replayed)
                engine = self.start(shards=(round_number + 1) % 3 + 1)
        engine.kill()
        for state in earlier[:: max(1, len(earlier) // 3)]:
            self.kept(state)

    def test_killed_while_it_recovers(self):
        acked, self.seen = self.write('acked', ''), 0
        engine = self.start()
        self.stock(engine, SKUS, 3000)
        self.burst(engine, acked, 0.5, 1, 1)
        for wait_s in (0, 0.002, 0.01, 0.03, 0.1, 0.3):
            engine = self.launch(shards=2)
            time.sleep(wait_s)
            engine.kill()
        engine = self.start(shards=2)
        self.audit_clean(engine, acked)
        state = self.digest(engine)
        engine.kill()
        self.kept(state, shards=3)
        found = self.tool(None, 'journal', 'verify', '--data', self.data)
        self.assertIsNone(found['damaged'])

    def test_an_idle_engine_that_is_killed_is_the_same_again(self):
        engine = self.start(shards=2)
        self.stock(engine, 20, 10)
        state = self.digest(engine)
        engine.kill()
        self.kept(state)
        self.unchanged(self.start(shards=1), state)


if __name__ == '__main__':
    harness.main()
