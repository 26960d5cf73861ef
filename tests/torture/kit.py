"""What the rounds share: an engine under client load, and the judgement of what came back after it was hurt.

Everything random comes from one seed a test, which is said when it fails and taken from HF_TORTURE_SEED when that is set.
"""

import os
import random
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'end'))

import harness  # noqa: E402: it stands in tests/end
import protocol as p  # noqa: E402

SKUS = 60
TABLES = ['--max-skus', '2048', '--max-cells', '2048', '--max-orders', '100000', '--max-lines', '200000', '--max-command-ids', '200000',
          '--max-limits', '64']
FORMAT = ['--partitions', '8', '--segment-bytes', '256K', '--block-max', '16K']
OPTIONS = FORMAT + TABLES + ['--log-ahead', '1M']
EDGE = 4096  # of blocks and sectors


class Torture(harness.EndTest):
    """A test with a seed of its own, engines with small tables, and load beside them."""

    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get('HF_TORTURE_SEED', random.SystemRandom().randrange(1 << 30)))
        self.chance = random.Random(self.seed)
        self.acked = self.write('acked', '')
        self.loads = []
        self.addCleanup(self._end_loads)

    def _end_loads(self):
        for load in self.loads:
            if load.poll() is None:
                load.kill()
            load.communicate()

    def round(self, number):
        """Names the round, and the seed that makes it again, in whatever fails within."""
        return self.subTest(round=number, again=f'HF_TORTURE_SEED={self.seed}')

    def launch(self, *options, **more):
        return super().launch(*OPTIONS, *options, small=False, **more)

    def stocked(self, *options, **more):
        """An engine with plenty of each of SKUS."""
        engine = self.start(*options, **more)
        self.stock(engine, SKUS, 1 << 28)
        return engine

    def answers(self):
        with open(self.acked, encoding='ascii') as lines:
            return sum(1 for _ in lines)

    def load(self, engine, rate=1500, seconds=3600, ttl=700, **more):
        """Client load beside the test: places, settles, cancels and expiries; every answer goes to the list of what was told."""
        options = {'skus': SKUS, 'zipf': 0.9, 'lines': 3, 'qty': 2, 'connections': 4, 'batch': 4, 'inflight': 4, 'rate': rate,
                   'seconds': seconds, 'settle': 30, 'cancel': 20, 'ttl': ttl, 'seed': self.chance.randrange(1 << 30), 'acked': self.acked}
        options.update(more)
        words = [word for name, value in options.items() for word in ('--' + name, value)]
        load = harness.start_tool(engine.address, 'load', *words)
        self.loads.append(load)
        return load

    def some_answers(self, more=100):
        seen = self.answers()
        self.eventually(lambda: self.answers() >= seen + more, f'{more} more answers')

    def end_load(self, load):
        """Stops it, unless it ended; what it reports."""
        if load.poll() is None:
            load.terminate()
        out, err = load.communicate(timeout=harness.WAIT_S)
        self.assertEqual(load.returncode, 0, out + err)
        return harness.json.loads(out)

    def drop_load(self, load):
        """Ends load whose engine is gone, without its report: it would look for the engine for some seconds."""
        load.kill()
        load.communicate(timeout=harness.WAIT_S)

    def refuses_or_ended(self, engine, client):
        """Of an engine that can make no log space any more: it says so to everybody, unless a log write failed, which ends it."""
        try:
            return client.place([('SKU000001', 1, 1)])[1].result in ('NO_SPACE', 'BUSY')
        except (ConnectionError, OSError):
            return engine.process.poll() is not None

    def shards(self):
        return self.chance.randint(1, 3)

    def judged(self, engine):
        """A live engine: nothing told is missing, every invariant holds; its (position, digest)."""
        found = self.audit_clean(engine, self.acked)
        self.assertGreaterEqual(found['acked'], 1)
        return self.digest(engine)

    def came_back(self, *options, data=None, **more):
        """Starts what was hurt, judges it, and ends it: a replay of what lies there must be the same state, however many shards."""
        engine = self.start(*options, data=data, shards=self.shards(), **more)
        state = self.judged(engine)
        if self.chance.random() < 0.5:
            engine.kill()
        else:
            self.assertEqual(engine.stop(), 0, engine.text())
        for shards in (1, self.chance.randint(2, 3)):
            self.kept(state, data, shards)
        return state

    def refused(self, status, *words, data=None):
        """The start of a damaged directory: this exit status, these words, and not a byte changed."""
        data = data or self.data
        before = contents(data)
        engine = self.refused_start(status, *words, data=data)
        self.assertEqual(contents(data), before, 'a refused start changes nothing')
        return engine


def files(data):
    """What of a directory a copy takes: not the control socket."""
    return sorted(name for name in os.listdir(data) if os.path.isfile(os.path.join(data, name)))


def contents(data):
    """name -> bytes of everything in the directory, zeros at the end left out."""
    return {name: whole(os.path.join(data, name)).rstrip(b'\0') for name in files(data)}


def copy_directory(source, target):
    """A copy that leaves out what is zero: most of a directory is space kept ahead."""
    os.makedirs(target)
    for name in files(source):
        raw, zeros = whole(os.path.join(source, name)), bytes(EDGE)
        with open(os.path.join(target, name), 'wb') as written:
            for at in range(0, len(raw), EDGE):
                if raw[at:at + EDGE] != zeros:
                    written.seek(at)
                    written.write(raw[at:at + EDGE])
            written.truncate(len(raw))


def whole(path):
    with open(path, 'rb') as file:
        return file.read()


def segments(data):
    return sorted(name for name in os.listdir(data) if name.startswith('log-'))


def flip(path, at, bits):
    with open(path, 'r+b') as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([(byte[0] if byte else 0) ^ bits]))


class Block:
    """One block as docs/journal.md has it."""

    def __init__(self, raw, position):
        (self.magic, _, self.length, self.term, self.number, self.position, self.durable, _, _, _,
         self.records) = struct.unpack_from('<8sIIQQQQQIII', raw)
        self.sound = self.magic == b'HUFFBLK1' and self.position == position
        self.end = position + (self.length + EDGE - 1) // EDGE * EDGE


def read_blocks(data):
    """The blocks of a sound directory, in order: [Block]."""
    with open(os.path.join(data, 'manifest.0'), 'rb') as file:
        block_max, segment_bytes = struct.unpack_from('<IQ', file.read(64), 36)
    log = {}

    def at(position):
        first = position - position % segment_bytes
        if first not in log:
            path = os.path.join(data, f'log-{first:016x}.seg')
            log[first] = whole(path) if os.path.exists(path) else b''
        raw = log[first][position - first:position - first + 128]
        return Block(raw, position) if len(raw) == 128 else None

    found, position = [], 0
    while True:
        for candidate in (position, (position + block_max - 1) // block_max * block_max):
            block = at(candidate)
            if block and block.sound and block.number == len(found):
                break
        else:
            return found
        found.append(block)
        position = block.end


def own_namespace():
    """Runs this program again where its mounts are its own and end with it; False where that is not allowed."""
    if os.environ.get('HF_TORTURE_NAMESPACE'):
        return os.environ['HF_TORTURE_NAMESPACE'] == 'yes'
    for flags in ('-m', '-Urm'):
        if subprocess.run(['unshare', flags, 'true'], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            os.environ['HF_TORTURE_NAMESPACE'] = 'yes'
            os.execvp('unshare', ['unshare', flags, sys.executable, *sys.argv])
    os.environ['HF_TORTURE_NAMESPACE'] = 'no'
    return False


main = harness.main
scaled = harness.scaled
