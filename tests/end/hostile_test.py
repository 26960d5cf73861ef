"""Hostile datagrams: garbage, mutated captures, floods of HELLO and of requests for sessions that are none. Others are served meanwhile,
memory stays flat, nothing is answered with more than was sent, and the counters add up to what was sent. Latencies of the same run without
and with the flood are printed."""

import os
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter

from harness import EndTest, main, scaled
from protocol import HELLO, REQUEST, command, frame, line

SEED = int(os.environ.get('HF_TEST_SEED', '20261123'))
SECONDS = scaled(2, 600)
WARM_DATAGRAMS = 20000  # until then memory is touched for the first time
IDLE_SECONDS = scaled(1, 30)


class Flood(threading.Thread):
    """Sends from sockets of its own until told to stop, and counts what it got back."""

    def __init__(self, address, seed):
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.address = address
        self.stopping = threading.Event()
        self.sent = Counter()
        self.datagrams = self.bytes_sent = self.bytes_back = 0
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
            os.setpriority(os.PRIO_PROCESS, 0, 10)  # this thread's: attackers have processors of their own
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
                        self.datagrams += 1
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
        for shard in self.status(engine)['shards']:
            counts.update(shard['net'])
        return counts

    def test_others_are_served_and_memory_is_flat_under_hostile_datagrams(self):
        engine = self.start('--listen', 'udp://127.0.0.1:0')
        self.stock(engine, 4, 1000000)
        self.eventually(lambda: len(engine.addresses) == 2, 'a second address in the log')
        host, port = engine.addresses[1][len('udp://'):].rsplit(':', 1)
        acked = os.path.join(self.directory, 'acked')
        idle = self.load_granted(engine.addresses[1], IDLE_SECONDS)
        floods = [Flood((host, int(port)), SEED + i) for i in range(2)]
        for flood in floods:
            flood.start()
        time.sleep(min(SECONDS / 4, 20))
        self.eventually(lambda: sum(flood.datagrams for flood in floods) >= WARM_DATAGRAMS, 'floods that flow')
        before = memory_kib(engine)
        time.sleep(SECONDS / 4)
        self.assertLess(memory_kib(engine) - before, 8 * 1024)
        found = self.load_granted(engine.addresses[1], SECONDS * 3 / 4, '--acked', acked)
        after = memory_kib(engine)
        for flood in floods:
            flood.stopping.set()
            flood.join()
            self.assertIsNone(flood.error)
        self.assertLess(after - before, 32 * 1024 + found['orders'])  # orders stay in memory
        sent = sum((flood.sent for flood in floods), Counter())
        self.assertLessEqual(sum(flood.bytes_back for flood in floods), sum(flood.bytes_sent for flood in floods))
        figures = ', '.join(f'{name} {idle["response_us"][name]:.0f} -> {found["response_us"][name]:.0f} us'
                            for name in ('p50', 'p99', 'p999'))
        print(f'{sum(sent.values())} hostile datagrams, memory {before} -> {after} KiB; idle -> flooded: {figures}', file=sys.stderr)
        self.added_up(engine, sent, idle, found)
        self.audit_clean(engine, acked)

    def added_up(self, engine, sent, *loads):
        """Every hostile datagram is in one counter; beside them are the loads' greetings."""
        def judge():
            counts = self.counts(engine)
            seen = sum(counts[name] for name in ('bad_frame', 'bad_crc', 'bad_version', 'too_large', 'addresses_asked', 'session_expired',
                                                 'datagrams_overrun'))
            return counts if seen >= sum(sent.values()) else None
        counts = self.eventually(judge, 'the sum of what was sent')
        self.assertEqual(counts['sessions'], counts['connections'])
        total = counts['datagrams_in'] + counts['datagrams_overrun']
        own = total - sum(sent.values())
        frames = sum(found['frames'] for found in loads)
        self.assertGreaterEqual(own, frames)
        self.assertLess(own, frames + sum(found['frames_resent'] for found in loads) + 100)


if __name__ == '__main__':
    main()
