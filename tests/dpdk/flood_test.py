"""Hostile packets on a device's link: spoofed, mutated, random, in fragments, floods of HELLO. Others are served meanwhile, memory stays
flat, each packet is counted once, and the engine sends less than it gets. Latencies of the same run without and with the flood are
printed."""

import json
import os
import random
import socket
import struct
import sys
import threading
import time

from namespace import enter_namespace, run
from packets_kit import DATAGRAM_DROPS, MINE, PORT, TAKEN, Kinds, Wire, hello, request
from peers_kit import ADDRESSES, FOUR, Tap
from harness import EndTest, main, scaled
from hostile_test import memory_kib

SEED = int(os.environ.get('HF_TEST_SEED', '20261126'))
SECONDS = scaled(2, 600)
IDLE_SECONDS = scaled(1, 30)


def summed(header):
    """An IPv4 header with its checksum."""
    total = sum(struct.unpack('>10H', header[:10] + bytes(2) + header[12:]))
    total = (total & 0xffff) + (total >> 16)
    return header[:10] + struct.pack('>H', ~(total + (total >> 16)) & 0xffff) + header[12:]


class Flood(threading.Thread):
    """Sends from a socket of its own until told to stop."""

    def __init__(self, mac, seed):
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.stopping = threading.Event()
        self.sent = 0
        self.error = None
        kinds = Kinds(mac)
        whole = [kinds.good()[name] for name in kinds.good()] + [getattr(kinds, name)() for name in
                 ('not_ours', 'malformed', 'bad_checksum', 'fragments', 'unserved')]
        self.bases = [bytes(packet) for packets in whole for packet in packets]
        self.bases += [bytes(network / kinds.udp / payload) for network in (kinds.four, kinds.six)
                       for payload in (hello(), request(), hello((5, 5), 1400))]
        self.ether = bytes.fromhex((mac + MINE).replace(':', '')) + b'\x08\x00'
        self.payloads = [hello(), hello((int(time.time() * 1000), 9), 1472), request()]

    def spoofed(self):
        """A datagram from anybody, whole and without a UDP checksum."""
        payload = self.random.choice(self.payloads)
        udp = struct.pack('>HHHH', self.random.randrange(1, 65536), PORT, 8 + len(payload), 0) + payload
        source = self.random.choice((bytes((10, 9, 0, self.random.randrange(3, 255))), self.random.randbytes(4)))
        header = struct.pack('>BBHHHBBH', 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0) + source + bytes((10, 9, 0, 2))
        return self.ether + summed(header) + udp

    def mutated(self):
        raw = bytearray(self.random.choice(self.bases))
        for _ in range(self.random.randrange(4)):
            raw[self.random.randrange(12, len(raw))] ^= 1 << self.random.randrange(8)
        if self.random.random() < 0.2:
            del raw[self.random.randrange(14, len(raw)):]
        return raw

    def run(self):
        try:
            os.setpriority(os.PRIO_PROCESS, 0, 10)  # this thread's: attackers have processors of their own
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
                out.bind(('hf0', 0))
                while not self.stopping.is_set():
                    for _ in range(50):
                        kind = self.random.random()
                        raw = self.spoofed() if kind < 0.4 else self.mutated() if kind < 0.9 else self.ether + self.random.randbytes(200)
                        try:
                            out.send(raw)
                            self.sent += 1
                        except OSError:
                            continue  # the queue is full
                    time.sleep(0.005)
        except Exception as error:  # a thread's failure is the test's
            self.error = error


class Floods(EndTest):
    def counts(self, engine):
        shard = self.status(engine)['shards'][0]
        return shard['packets'] | {name: shard['net'][name] for name in ('datagrams_in', 'sessions', 'connections', *DATAGRAM_DROPS)}

    def carried(self):
        """What Linux says that the link took from it and gave to it: packets and bytes."""
        stats = json.loads(run('ip', '-s', '-json', 'link', 'show', 'hf0'))[0]['stats64']
        return stats['tx'], stats['rx']

    def test_others_are_served_and_memory_is_flat_under_hostile_packets(self):
        link = Tap()
        engine = self.start('--listen', f'dpdk://{link.needs}?{ADDRESSES}', '--insecure-listen')
        link.after()
        self.stock(engine, 4, 1000000)
        device = f'udp://{FOUR}:{PORT}'
        idle = {address: self.load_granted(address, IDLE_SECONDS) for address in (engine.address, device)}
        mac = run('ip', 'neighbour', 'show', 'to', FOUR).split('lladdr ')[1].split()[0]
        floods = [Flood(mac, SEED + i) for i in range(2)]
        for flood in floods:
            flood.start()
        time.sleep(min(SECONDS / 4, 20))
        # What a flood takes once, it has taken by now.
        self.eventually(lambda: self.counts(engine)['in'] >= 20000, 'a flood')
        before = memory_kib(engine)
        time.sleep(SECONDS / 4)
        self.assertLess(memory_kib(engine) - before, 8 * 1024)
        acked = [os.path.join(self.directory, name) for name in ('acked', 'acked too')]
        flooded = {engine.address: self.load_granted(engine.address, SECONDS * 3 / 8, '--acked', acked[0]),
                   device: self.load_granted(device, SECONDS * 3 / 8, '--acked', acked[1])}
        after = memory_kib(engine)
        for flood in floods:
            flood.stopping.set()
            flood.join()
            self.assertIsNone(flood.error)
        sent = sum(flood.sent for flood in floods)
        self.report(sent, before, after, idle, flooded)
        self.assertLess(after - before, 32 * 1024 + sum(found['orders'] for found in flooded.values()))  # orders stay in memory
        self.add_up(engine, sent)
        for name in acked:
            self.audit_clean(engine, name)
        self.assertEqual(engine.stop(), 0)

    def add_up(self, engine, sent):
        """Each packet that Linux handed over is in one counter, each datagram too; what came back is less."""
        wire = Wire()
        self.addCleanup(wire.close)

        def all_in():
            wire.nudge()  # Linux counts it like any other
            counts, (given, got) = self.counts(engine), self.carried()
            return counts['in'] == given['packets'] and (counts, given, got)
        counts, given, got = self.eventually(all_in, 'every packet counted in')
        self.assertGreaterEqual(given['packets'] + given['dropped'], sent)
        self.assertEqual(counts['in'], sum(counts[name] for name in TAKEN), counts)
        self.assertEqual(counts['datagrams'], counts['datagrams_in'])
        self.assertEqual(counts['sessions'], counts['connections'])
        self.assertLess(got['bytes'], given['bytes'])
        for name in ('not_ours', 'malformed', 'bad_checksum', 'fragments', 'unserved', 'addresses_asked', 'session_expired'):
            self.assertGreater(counts[name], 0, counts)

    def report(self, sent, before, after, idle, flooded):
        figures = ', '.join(f'{address.split(":")[0]} p{name[1:]} {idle[address]["response_us"][name]:.0f} -> '
                            f'{flooded[address]["response_us"][name]:.0f} us' for address in idle for name in ('p50', 'p99', 'p999'))
        print(f'{sent} hostile packets, memory {before} -> {after} KiB; idle -> flooded: {figures}', file=sys.stderr)


if __name__ == '__main__':
    enter_namespace()
    main()
