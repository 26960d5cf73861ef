"""Random single-byte flips of a stopped directory: each start recovers every acknowledged change, or refuses and names the position.

Half of the directories were stopped cleanly, half killed when everything told had been at rest for 100 ms. What a flip hits is judged
too: what the journal's page promises to survive must be survived, and what it promises to refuse must be refused. Flips of the last block
of a killed engine, which nothing behind it vouches for, are counted apart.
"""

import bisect
import collections
import os
import re
import shutil
import time

import kit

FLIPS = kit.scaled(10, 300)
MASTERS = kit.scaled(2, 12)  # directories to be flipped, half of them killed


class Master:
    """A stopped directory that flips are made in copies of."""

    def __init__(self, data, killed, state):
        self.data, self.killed, self.state = data, killed, state
        self.sizes = {name: os.path.getsize(os.path.join(data, name)) for name in kit.files(data)}
        self.blocks = kit.read_blocks(data)
        self.starts = [block.position for block in self.blocks]
        self.vouched = max(block.durable for block in self.blocks) if killed else self.blocks[-1].end

    def hit(self, name, at):
        """What stands there, and the block that the byte is part of."""
        if not name.startswith('log-'):
            return name.split('.')[0], None
        position = int(name[4:20], 16) + at
        number = bisect.bisect_right(self.starts, position) - 1
        if number < 0 or position >= self.blocks[number].position + self.blocks[number].length:
            return ('reserve' if number == len(self.blocks) - 1 and position >= self.blocks[number].end else 'padding'), None
        return ('block' if self.blocks[number].position < self.vouched else 'unsealed'), number

    def pick(self, chance):
        """(file, offset): one in three anywhere, two where something is written."""
        name = chance.choices(list(self.sizes), weights=self.sizes.values())[0]
        at = chance.randrange(self.sizes[name])
        where = chance.random()
        if where < 1 / 12:
            name = chance.choice(['manifest.0', 'manifest.1'])
            at = chance.randrange(self.sizes[name])
        elif where < 8 / 12:
            block = chance.choice(self.blocks[-1:] if where > 7 / 12 else self.blocks)
            position = block.position + chance.randrange(block.length)
            for name in kit.segments(self.data):
                at = position - int(name[4:20], 16)
                if at < self.sizes[name]:
                    break
        return name, at


class Flips(kit.Torture):
    def master(self, number):
        """One directory: orders of every kind, and nothing that moves by itself while flips are judged."""
        data = os.path.join(self.directory, f'master{number}')
        engine = self.stocked(data=data, shards=self.shards())
        load = self.load(engine, rate=0, ttl=900000, seconds=30, orders=self.chance.randrange(200, 900))
        out, err = load.communicate(timeout=kit.harness.WAIT_S)
        self.assertEqual(load.returncode, 0, out + err)
        state = self.judged(engine)
        killed = number % 2 == 0
        if killed:
            time.sleep(0.1)
            engine.kill()
        else:
            self.assertEqual(engine.stop(), 0, engine.text())
        acked = os.path.join(self.directory, f'acked{number}')
        shutil.move(self.acked, acked)
        self.acked = self.write('acked', '')
        master = Master(data, killed, state)
        master.acked = acked
        verified = self.tool(None, 'journal', 'verify', '--data', data)
        self.assertIsNone(verified['damaged'])
        self.assertEqual(verified['blocks'], len(master.blocks), 'this test reads the log as the engine does')
        return master

    def recovered(self, master, engine, data):
        """What came up has everything that was told, and nothing since but the marks of time; so has what it leaves."""
        self.audit_clean(engine, master.acked)
        self.unchanged(engine, master.state)
        state = self.digest(engine)
        engine.kill()
        self.kept(master.state, data, self.shards())
        self.kept(state, data, self.shards())

    def named(self, master, number, engine, data):
        """A refusal names where the log stops being readable: the hit block, or the end of what stands before it."""
        places = {master.blocks[number].position, master.blocks[number - 1].end if number else 0}
        said = {int(word) for word in re.findall('[0-9]+', engine.text())}
        self.assertTrue(places & said, f'none of {places} in {engine.text()}')
        self.assertIn(self.tool(None, 'journal', 'verify', '--data', data, status=4)['damaged'], places)

    def flip_one(self, master, counts):
        name, at = master.pick(self.chance)
        bits = 1 << self.chance.randrange(8) if self.chance.random() < 0.5 else self.chance.randrange(1, 256)
        kind, number = master.hit(name, at)
        data = os.path.join(self.directory, 'flipped')
        with self.subTest(file=name, at=at, bits=bits, hit=kind, killed=master.killed, again=f'HF_TORTURE_SEED={self.seed}'):
            kit.copy_directory(master.data, data)
            kit.flip(os.path.join(data, name), at, bits)
            before = kit.contents(data)
            engine = self.launch(data=data, shards=self.shards())
            engine.ready.wait(kit.harness.WAIT_S)
            if engine.ended.is_set():
                self.assertEqual(engine.wait_end(), 4, engine.text())
                self.assertEqual(kit.contents(data), before, 'a refused start changes nothing')
                self.assertEqual(kind, 'block', 'only a block that is vouched for may be refused: ' + engine.text())
                self.named(master, number, engine, data)
                counts[kind, 'refused'] += 1
            else:
                self.assertNotEqual(kind, 'block', 'a block that was promised durable is not there, and it serves')
                self.recovered(master, engine.wait_ready(), data)
                counts[kind, 'recovered'] += 1
        shutil.rmtree(data, ignore_errors=True)

    def test_each_flip_is_recovered_from_or_refused_with_its_position(self):
        masters = [self.master(number) for number in range(MASTERS)]
        totals = collections.Counter()
        for number in range(FLIPS):
            master = masters[number % MASTERS]
            counts = collections.Counter()
            self.flip_one(master, counts)
            for (kind, outcome), count in counts.items():
                totals['killed' if master.killed else 'stopped', kind, outcome] += count
        self.assertEqual(sum(totals.values()), FLIPS, f'each was judged; HF_TORTURE_SEED={self.seed}')
        apart = sum(count for (_, kind, _), count in totals.items() if kind == 'unsealed')
        print(f'note: flips: {FLIPS}, in an unsealed last block: {apart}; ' +
              ', '.join(f'{" ".join(key)}: {count}' for key, count in sorted(totals.items())))


if __name__ == '__main__':
    kit.main()
