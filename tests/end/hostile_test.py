"""Hostile datagrams: garbage, mutated captures, floods of HELLO and of requests for sessions that are none. Others are served meanwhile,
memory stays flat, nothing is answered with more than was sent, and the counters add up to what was sent."""

import json
import os
import random
import socket
import struct
import threading
import time
from collections import Counter

from harness import EndTest, main, scaled, start_tool
from protocol import HELLO, REQUEST, command, frame, line

SEED = int(os.environ.get('HF_TEST_SEED', '20261123'))
SECONDS = scaled(2, 600)


class Flood(threading.Thread):
    """Sends from sockets of its own until told to stop, and counts what it got back."""

    def __init__(self, address, seed):
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.address = address
        self.stopping = threading.Event()
        self.sent = Counter()
        self.bytes_sent = self.bytes_back = 0
        self.error = None
        place = command(0x301, (5, seed), [line('SKU000001', 1, 1, 1)], struct.pack('<QIB', 1, 1, 0), 1000)
        self.good = {
            'hello': frame(HELLO, credits=64, payload=struct.pack('<QQQQ', 7, 0, 0, 0) + bytes(144)),
            'cookie': frame(HELLO, credits=64, payload=struct.pack('<QQQQ', 7, 0, time.time_ns() // 1000000, 1) + bytes(1376)),
            'request': frame(REQUEST, 0x1234567800000000 + seed, 1, count=1, payload=place),
        }

    def next(self):
        kind = self.random.choice(('garbage', 'mutated', 'hello', 'cookie', 'request'))
        if kind == 'garbage':
            return kind, self.random.randbytes(self.random.randrange(1, 1400))
        if kind == 'mutated':
            raw = bytearray(self.random.choice(list(self.good.values())))
            for _ in range(self.random.randrange(1, 4)):
                raw[self.random.randrange(len(raw))] ^= 1 << self.random.randrange(8)
            return kind, bytes(raw[:self.random.choice((len(raw), len(raw), self.random.randrange(1, len(raw))))])
        return kind, self.good[kind]

    def read(self, one):
        while True:
            try:
                self.bytes_back += len(one.recv(65536))
            except OSError:
                return

    def run(self):
        try:
            while not self.stopping.is_set():
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                    one.setblocking(False)
                    one.connect(self.address)
                    for _ in range(200):
                        kind, raw = self.next()
                        try:
                            one.send(raw)
                        except OSError:
                            continue
                        self.sent[kind] += 1
                        self.bytes_sent += len(raw)
                        self.read(one)
                    time.sleep(0.005)
                    self.read(one)
        except Exception as error:  # a thread's failure is the test's
            self.error = error


def memory_kib(engine):
    with open(f'/proc/{engine.process.pid}/status', encoding='ascii') as lines:
        return next(int(row.split()[1]) for row in lines if row.startswith('VmRSS'))


class Hostile(EndTest):
    def counts(self, engine):
        counts = Counter()
        for shard in self.tool(engine, 'status')['shards']:
            counts.update(shard['net'])
        return counts

    def test_others_are_served_and_memory_is_flat_under_hostile_datagrams(self):
        engine = self.start('--listen', 'udp://127.0.0.1:0')
        self.stock(engine, 4, 1000000)
        self.eventually(lambda: len(engine.addresses) == 2, 'a second address in the log')
        host, port = engine.addresses[1][len('udp://'):].rsplit(':', 1)
        acked = os.path.join(self.directory, 'acked')
        floods = [Flood((host, int(port)), SEED + i) for i in range(2)]
        for flood in floods:
            flood.start()
        time.sleep(SECONDS / 4)
        before = memory_kib(engine)
        load = start_tool(engine.addresses[1], 'load', '--skus', 4, '--connections', 2, '--rate', 200, '--seconds', SECONDS,
                          '--acked', acked)
        out, err = load.communicate(timeout=SECONDS + 60)
        after = memory_kib(engine)
        for flood in floods:
            flood.stopping.set()
            flood.join()
            self.assertIsNone(flood.error)
        self.assertEqual(load.returncode, 0, err)
        found = json.loads(out)
        self.assertEqual((found['granted'], found['unanswered'], found['errors']), (found['orders'], 0, 0), found)
        self.assertGreater(found['orders'], 100 * SECONDS)
        self.assertLess(after - before, 32 * 1024)
        sent = sum((flood.sent for flood in floods), Counter())
        self.assertLessEqual(sum(flood.bytes_back for flood in floods), sum(flood.bytes_sent for flood in floods))
        self.added_up(engine, sent, found)
        self.audit_clean(engine, acked)

    def added_up(self, engine, sent, found):
        """Every hostile datagram is in one counter; beside them are the load's greetings."""
        def judge():
            counts = self.counts(engine)
            seen = sum(counts[name] for name in ('bad_frame', 'bad_crc', 'bad_version', 'too_large', 'addresses_asked', 'session_expired',
                                                 'datagrams_overrun'))
            return counts if seen >= sum(sent.values()) else None
        counts = self.eventually(judge, 'the sum of what was sent')
        self.assertEqual(counts['sessions'], counts['connections'])
        total = counts['datagrams_in'] + counts['datagrams_overrun']
        own = total - sum(sent.values())
        self.assertGreaterEqual(own, found['frames'])
        self.assertLess(own, found['frames'] + found['frames_resent'] + 100)


if __name__ == '__main__':
    main()
