"""Clients that want to harm: many at once, each kind with its counter. The server's memory stays bounded and somebody else is served.

The peak of the server's resident memory is read before and after each attack and stated; under a sanitizer, whose own memory hides it, it
is not judged. Counts are small unless HF_TEST_SCALE is `full`.
"""

import contextlib
import gzip
import os
import random
import resource
import struct
import threading
import time

import h2.config
import h2.connection
import h2.errors

import harness
import probe_pb2 as pb
import wire as w

ECHO, COUNT, CHAT, SLEEP, SUM = ('/probe.v1.Probe/' + name for name in ('Echo', 'Count', 'Chat', 'Sleep', 'Sum'))
INITIAL_WINDOW = 4
FULL = os.environ.get('HF_TEST_SCALE') == 'full'
MIB = 1 << 20
DRIPS = 40  # fewer than the bytes of a header block that is begun
WITNESSED = 5  # calls that somebody else has answered while an attack runs


def scaled(default, full):
    return full if FULL else default


def status_kib(server, name):
    with open(f'/proc/{server.process.pid}/status', encoding='ascii') as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name + ':'))


def is_sanitized(server):
    """Shadow memory takes terabytes of addresses."""
    return status_kib(server, 'VmSize') > 1 << 30


class Witness:
    """Somebody else: one connection that calls and calls."""

    def __init__(self, server):
        self.wire, self.stream, self.answered, self.failed, self.stop = w.Wire(server), -1, 0, None, threading.Event()
        self.wire.send(w.frame(w.WINDOW_UPDATE, 0, 0, struct.pack('>I', 0x7fff0000)))
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while not self.stop.is_set():
                self.call()
                self.answered += 1
        except Exception as error:  # told by the test
            self.failed = repr(error)

    def call(self):
        text, answer = f'call {self.answered}', None
        while answer is None:
            self.stream += 2
            self.wire.request(self.stream, ECHO, body=w.message(pb.Note(text=text).SerializeToString()))
            answer = self.wire.answer(self.stream)
            # Nothing of a stream that is refused has run: gRPC's clients send it again.
            if answer is None and self.wire.reset != w.REFUSED_STREAM:
                raise AssertionError('cut or reset')
        fields, data = answer
        self.wire.frames.clear()
        if fields['grpc-status'] != '0' or pb.Note.FromString(data[5:]).text != text:
            raise AssertionError(fields)
        time.sleep(0.001)

    def seen(self, more):
        """Until that many more calls were answered."""
        wanted, deadline = self.answered + more, time.monotonic() + harness.WAIT_S
        while self.answered < wanted and self.failed is None and time.monotonic() < deadline:
            time.sleep(0.001)
        if self.failed or self.answered < wanted:
            raise AssertionError(f'somebody else was not served: {self.failed}')

    def end(self):
        self.stop.set()
        self.thread.join(harness.WAIT_S)
        self.wire.close()


class HostileHttpTest(harness.Case):
    @contextlib.contextmanager
    def attacked(self, server, mib, name):
        """Somebody else is served during the body and after it; the server's peak grows by at most `mib`."""
        witness = Witness(server)
        try:
            witness.seen(WITNESSED)
            with open(f'/proc/{server.process.pid}/clear_refs', 'w', encoding='ascii') as peak:
                peak.write('5')
            before = status_kib(server, 'VmHWM')
            yield witness
            witness.seen(WITNESSED)
            grown = (status_kib(server, 'VmHWM') - before) / 1024
        finally:
            witness.end()
        judged = not is_sanitized(server)
        print(f'note: {name}: the peak of resident memory grew from {before / 1024:.1f} MiB by {grown:.1f} MiB, {mib} allowed'
              f'{"" if judged else ", not judged under a sanitizer"}')
        if judged:
            self.assertLessEqual(grown, mib)

    def wires(self, server, count, *pairs, **named):
        made = [w.Wire(server, *pairs, **named) for _ in range(count)]
        for wire in made:
            self.addCleanup(wire.close)
        return made

    def until_closed(self, attackers, attack, rounds):
        """Each attacker in a thread of its own: `attack(wire, round)` until the server closes, or rounds are over."""
        def run(wire):
            for number in range(rounds):
                if not attack(wire, number):
                    break
            wire.drained()
        threads = [threading.Thread(target=run, args=(wire,)) for wire in attackers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(harness.WAIT_S)
            self.assertFalse(thread.is_alive())

    def goes_on(self, server, witness):
        witness.seen(WITNESSED)
        self.assertIsNone(server.process.poll())

    # ---- Malformed ----

    def test_malformed_frames_from_many(self):
        server, seed = self.serve(receive_timeout=2000), random.randrange(1 << 32)
        noise = random.Random(seed)
        with self.attacked(server, 16, f'malformed frames, seed {seed}') as witness:
            for number in range(scaled(400, 20000)):
                wire = w.Wire(server)
                good = w.frame(w.HEADERS, w.END_HEADERS, 1, wire.block(CHAT)) + w.frame(w.DATA, 0, 1, w.message(bytes(200)))
                bent = bytearray(good * 3)
                for _ in range(noise.randrange(1, 8)):
                    bent[noise.randrange(len(bent))] = noise.randrange(256)
                wire.send(bytes(bent) + noise.randbytes(noise.randrange(500)))
                wire.close()
                if number % 100 == 0:
                    self.goes_on(server, witness)
        self.assertGreater(server.counters()['protocol_errors'], 0)
        server.wait_gone()

    def test_other_protocols_and_half_prefaces(self):
        server, count = self.serve(handshake_timeout=2000, connections_max=20000), scaled(200, 5000)
        with self.attacked(server, 16 + count / 128, 'other protocols'):
            for words in (b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', bytes(64), w.PREFACE[:20] + b'xxxx'):
                for _ in range(count // 4):
                    self.wires(server, 1, hello=False)[0].send(words)
            for wire in self.wires(server, count // 4, hello=False):
                wire.send(w.PREFACE[:10])
            server.wait_counter('bad_preface', 2 * (count // 4))
            server.wait_counter('handshake_timeouts', count // 4)

    # ---- Headers ----

    def test_header_bombs(self):
        """HPACK lets one byte repeat four kilobytes."""
        server, count = self.serve(), scaled(40, 300)
        with self.attacked(server, 24, 'header bombs'):
            for _ in range(count):
                with w.Wire(server) as wire:
                    block = wire.block(ECHO, ('x-bomb', 'z' * 3900)) + b'\xbe' * 12000
                    wire.send(w.frame(w.HEADERS, w.END_HEADERS, 1, block))
                    answer = wire.answer(1)
                    self.assertTrue(answer is None or answer[0][':status'] == '431')
        self.assertGreaterEqual(server.counters()['headers_too_large'] + server.counters()['protocol_errors'], count)

    def test_continuation_floods(self):
        server, count = self.serve(), scaled(8, 64)

        def more(wire, number):
            if number == 0:
                return wire.send(w.frame(w.HEADERS, 0, 1, wire.block(ECHO)))
            return wire.send(w.frame(w.CONTINUATION, 0, 1, b'\x00\x01a\x01b' * 100) * 10)
        with self.attacked(server, 16, 'continuation floods'):
            self.until_closed(self.wires(server, count), more, 10000)
            self.assertEqual(server.wait_counter('continuation_floods', count), count)

    def test_headers_that_drip(self):
        """Slowloris: as many connections as one may open, each a byte at a time, none ever whole."""
        server, count = self.serve(header_timeout=1500, connections_max=20000, receive_timeout=1500), scaled(300, 3000)
        with self.attacked(server, 8 + count / 32, 'headers and messages that drip') as witness:
            attackers, rests = self.wires(server, count), []
            for number, wire in enumerate(attackers):
                head = w.frame(w.HEADERS, w.END_HEADERS, 1, wire.block(ECHO if number % 2 else SUM))
                message = w.frame(w.DATA, 0, 1, w.message(bytes(500)))
                begun = 20 if number % 2 else len(head) + 20
                wire.send((head + message)[:begun])
                rests.append((head + message)[begun:][:DRIPS])
            for at in range(DRIPS):
                for wire, rest in zip(attackers, rests):
                    wire.send(rest[at:at + 1])
                self.goes_on(server, witness)
            server.wait_counter('header_timeouts', count // 2)
            server.wait_counter('receive_timeouts', count // 2)

    # ---- Floods ----

    def test_rapid_resets(self):
        """CVE-2023-44487, by a client whose every frame is right."""
        server, count = self.serve(), scaled(4, 32)

        def reset(wire, number):
            if number == 0:
                wire.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
                wire.h2.initiate_connection()
            for _ in range(20):
                stream = wire.h2.get_next_available_stream_id()
                wire.h2.send_headers(stream, [(':method', 'POST'), (':scheme', 'http'), (':path', SLEEP), (':authority', 'x'),
                                              ('te', 'trailers'), ('content-type', 'application/grpc')])
                wire.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
            return wire.send(wire.h2.data_to_send())
        with self.attacked(server, 24, 'rapid resets'):
            self.until_closed(self.wires(server, count, hello=False), reset, 5000)
            self.assertEqual(server.wait_counter('reset_floods', count), count)
        server.wait_gone()

    def test_settings_and_ping_floods(self):
        server, count = self.serve(), scaled(6, 48)
        with self.attacked(server, 16, 'settings and ping floods'):
            self.until_closed(self.wires(server, count), lambda wire, _: wire.send(w.settings((INITIAL_WINDOW, 70000)) * 50), 5000)
            self.until_closed(self.wires(server, count), lambda wire, _: wire.send(w.frame(w.PING, 0, 0, bytes(8)) * 50), 5000)
            self.assertEqual(server.wait_counter('settings_floods', count), count)
            self.assertEqual(server.wait_counter('ping_floods', count), count)

    def test_a_client_that_asks_and_never_reads(self):
        """What it makes the server say stays bounded, since it is not read from once the socket is full."""
        server, count = self.serve(send_timeout=1000, memory_max=48 * MIB), scaled(10, 100)
        with self.attacked(server, 72, 'clients that never read'):
            attackers = self.wires(server, count, (INITIAL_WINDOW, 0x7fffffff))
            asked = pb.CountRequest(count=1000000, size=50000).SerializeToString()
            for wire in attackers:
                wire.send(w.frame(w.WINDOW_UPDATE, 0, 0, struct.pack('>I', 0x7fff0000)))
                for stream in range(1, 40, 2):
                    wire.request(stream, COUNT, body=w.message(asked))
            # Those that found no memory left have ended before.
            server.wait_counter('send_timeouts', min(count, 10))
            for wire in attackers:
                wire.close()
        server.wait_gone()

    # ---- Windows ----

    def test_windows_of_nothing_and_of_one_byte(self):
        server, count = self.serve(send_timeout=1500, memory_max=48 * MIB), scaled(6, 40)
        asked = w.message(pb.CountRequest(count=100000, size=1000).SerializeToString())
        with self.attacked(server, 72, 'windows of nothing and of one byte') as witness:
            attackers = self.wires(server, count, (INITIAL_WINDOW, 0))
            for wire in attackers:
                for stream in range(1, 200, 2):
                    wire.request(stream, COUNT, body=asked)
            for _ in range(5):
                for wire in attackers[::2]:
                    wire.send(b''.join(w.frame(w.WINDOW_UPDATE, 0, stream, b'\0\0\0\1') for stream in range(1, 200, 2)))
                self.goes_on(server, witness)
            # Half of them never take a byte.
            server.wait_counter('send_timeouts', 100)
            for wire in attackers:
                wire.close()
        server.wait_gone()

    # ---- Messages ----

    def test_oversized_messages(self):
        server, count = self.serve(memory_max=48 * MIB), scaled(20, 200)
        with self.attacked(server, 72, 'oversized messages'):
            for number in range(count):
                with w.Wire(server) as wire:
                    wire.request(1, ECHO, body=b'\x00\xff\xff\xff\xff' + bytes(1000), end=False)
                    self.assertEqual(wire.answer(1)[0]['grpc-status'], '8', number)
            self.assertEqual(server.counters()['messages_too_large'], count)
            # Many that are as large as may be, none ever whole: the memory of all has its own bound.
            attackers, part = self.wires(server, 10), w.frame(w.DATA, 0, 1, bytes(16000))
            for wire in attackers:
                for stream in range(1, 60, 2):
                    wire.request(stream, SUM, body=b'\x00\x00\x3f\xff\xff', end=False)
                for _ in range(15):
                    wire.send(b''.join(part[:5] + struct.pack('>I', stream) + part[9:] for stream in range(1, 60, 2)))
            server.wait_counter('memory_full', 1)

    def test_gzip_bombs(self):
        server, count = self.serve(), scaled(20, 300)
        bomb = gzip.compress(bytes(256 * MIB), 9)
        with self.attacked(server, 40, f'gzip bombs of {len(bomb)} bytes for 256 MiB'):
            for _ in range(count):
                with w.Wire(server) as wire:
                    wire.until(w.SETTINGS)
                    wire.request(1, ECHO, ('grpc-encoding', 'gzip'), end=False)
                    whole = w.message(bomb, 1)
                    for at in range(0, len(whole), 16000):
                        wire.send(w.frame(w.DATA, 0 if at + 16000 < len(whole) else w.END_STREAM, 1, whole[at:at + 16000]))
                    self.assertEqual(wire.answer(1)[0]['grpc-status'], '8')
            self.assertEqual(server.counters()['messages_too_large'], count)

    # ---- Many ----

    def test_idle_connections(self):
        count = scaled(1000, 10000)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(hard, count + 200) if hard != resource.RLIM_INFINITY else count + 200
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        count = min(count, wanted - 200)
        server = self.serve(connections_max=count + 1, files_max=max(soft, wanted))
        # 13 KiB of the server's own, and what malloc makes of it.
        with self.attacked(server, count * 20 / 1024 + 8, f'{count} idle connections') as witness:
            idle = self.wires(server, count)
            for wire in idle:
                wire.until(w.SETTINGS)
            self.assertEqual(server.counters()['connections'], count + 1)
            refused = self.wires(server, 10)
            for wire in refused:
                self.assertTrue(wire.drained())
            self.assertEqual(server.counters()['connections_refused'], 10)
            self.goes_on(server, witness)
            for wire in idle:
                wire.close()
        server.wait_gone()


if __name__ == '__main__':
    harness.main()
