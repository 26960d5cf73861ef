"""Frames that are cut, wrong, too many or too slow: each has its answer and its counter, and others are served meanwhile."""

import random
import socket
import struct
import threading
import zlib

import harness
import probe_pb2 as pb
import wire as w

ECHO, COUNT, CHAT, SLEEP, SUM, LAZY = ('/probe.v1.Probe/' + name for name in ('Echo', 'Count', 'Chat', 'Sleep', 'Sum', 'Lazy'))
INITIAL_WINDOW, MAX_CONCURRENT = 4, 3


class FramesTest(harness.Case):
    def open(self, server, *pairs, **named):
        wire = w.Wire(server, *pairs, **named)
        self.addCleanup(wire.close)
        return wire

    def served(self, server):
        """Somebody else still is."""
        with w.Wire(server) as wire:
            wire.request(1, ECHO, body=w.message(pb.Note(text='other').SerializeToString()))
            fields, data = wire.answer(1)
            self.assertEqual((fields[':status'], fields['grpc-status'], pb.Note.FromString(data[5:]).text), ('200', '0', 'other'))

    def settled(self, wire):
        """The server's settings are known and acknowledged."""
        wire.until(w.SETTINGS)
        wire.send(w.frame(w.PING, 0, 0, bytes(8)))
        self.assertIsNotNone(wire.until(w.PING))

    def status(self, wire, stream):
        """grpc-status of a stream that is answered."""
        answer = wire.answer(stream)
        self.assertIsNotNone(answer, wire.frames)
        return int(answer[0]['grpc-status'])

    # ---- Requests ----

    def test_a_request_cut_into_single_bytes_is_answered(self):
        wire = self.open(self.serve(), hello=False)
        note = pb.Note(text='cut', data=bytes(100)).SerializeToString()
        whole = w.PREFACE + w.settings() + w.frame(w.HEADERS, w.END_HEADERS, 1, wire.block(ECHO))
        whole += w.frame(w.DATA, w.END_STREAM, 1, w.message(note))
        for at in range(len(whole)):
            wire.send(whole[at:at + 1])
        self.assertEqual(wire.answer(1)[1], w.message(note))

    def test_a_message_cut_into_frames_is_answered_and_frames_may_hold_many(self):
        wire = self.open(self.serve())
        wire.request(1, ECHO, end=False)
        note = w.message(pb.Note(text='cut').SerializeToString())
        for at in range(len(note)):
            wire.send(w.frame(w.DATA, 0, 1, note[at:at + 1]))
        wire.send(w.frame(w.DATA, w.END_STREAM, 1))
        self.assertEqual(wire.answer(1)[1], note)
        wire.request(3, CHAT, body=note * 100)
        self.assertEqual(wire.answer(3)[1], note * 100)

    def test_a_unary_method_takes_one_message(self):
        wire, note = self.open(self.serve()), w.message(pb.Note(text='x').SerializeToString())
        wire.request(1, ECHO, body=note + note)
        self.assertEqual(self.status(wire, 1), 12)
        wire.request(3, ECHO, body=b'')
        self.assertEqual(self.status(wire, 3), 12)
        wire.request(5, ECHO)
        self.assertEqual(self.status(wire, 5), 12)
        wire.request(7, ECHO, body=note[:-1])
        self.assertEqual(self.status(wire, 7), 13)

    def test_flags_and_encodings_must_agree(self):
        wire, note = self.open(self.serve()), pb.Note(text='x').SerializeToString()
        gzip = zlib.compressobj(wbits=31)
        packed = gzip.compress(note) + gzip.flush()
        wire.request(1, ECHO, body=w.message(note, flag=2))
        self.assertEqual(self.status(wire, 1), 13)
        wire.request(3, ECHO, body=w.message(packed, flag=1))
        self.assertEqual(self.status(wire, 3), 13)
        wire.request(5, ECHO, ('grpc-encoding', 'gzip'), body=w.message(packed, flag=1))
        self.assertEqual(wire.answer(5)[1], w.message(note))
        wire.request(7, ECHO, ('grpc-encoding', 'gzip'), body=w.message(packed[:-6], flag=1))
        self.assertEqual(self.status(wire, 7), 13)
        wire.request(9, ECHO, ('grpc-encoding', 'gzip'), body=w.message(note, flag=0))
        self.assertEqual(self.status(wire, 9), 0)
        wire.request(11, ECHO, ('grpc-encoding', 'br'), body=w.message(note))
        fields, _ = wire.answer(11)
        self.assertEqual((fields['grpc-status'], fields['grpc-accept-encoding']), ('12', 'identity,gzip'))

    def test_a_decompression_bomb_stops_at_the_limit(self):
        server = self.serve(message_max=100000)
        gzip = zlib.compressobj(9, wbits=31)
        bomb = b''.join(gzip.compress(bytes(1 << 20)) for _ in range(50)) + gzip.flush()
        wire = self.open(server)
        wire.request(1, ECHO, ('grpc-encoding', 'gzip'), body=w.message(bomb[:10000], flag=1))
        self.assertEqual(self.status(wire, 1), 8)

    def test_content_types_and_methods_are_told_apart(self):
        wire, note = self.open(self.serve()), w.message(b'')
        for stream, kind, method, status in ((1, 'application/grpc+proto', 'POST', '200'), (3, 'application/grpc+json', 'POST', '415'),
                                             (5, 'application/grpc', 'GET', '405'), (7, 'application/grpc', 'PUT', '405'),
                                             (9, 'application/grpc;charset=utf-8', 'POST', '200')):
            wire.request(stream, ECHO, body=note, kind=kind, method=method)
            fields, _ = wire.answer(stream)
            self.assertEqual(fields[':status'], status)
            if status == '200':
                self.assertEqual(fields['content-type'], kind)

    def test_what_is_not_grpc_goes_to_the_http_handler(self):
        wire = self.open(self.serve())
        wire.request(1, '/page?x=1', method='GET', kind=None)
        self.assertEqual(wire.answer(1)[1], b'GET /page?x=1 0 bytes\n')
        wire.request(3, '/form', body=bytes(5000), kind='application/grpc-web')
        self.assertEqual(wire.answer(3)[1], b'POST /form 5000 bytes\n')
        wire.request(5, '/empty', method='DELETE', kind='text/plain')
        self.assertEqual(wire.answer(5)[0][':status'], '204')

    def test_timeouts_must_be_what_the_protocol_says(self):
        wire, note = self.open(self.serve()), w.message(b'')
        for number, value in enumerate(('', 'S', '1', '1s', '-1S', '123456789S', '1 S', 'xS', '1.5S')):
            wire.request(2 * number + 1, ECHO, ('grpc-timeout', value), body=note)
            self.assertEqual(self.status(wire, 2 * number + 1), 13, value)
        for number, value in enumerate(('99999999H', '12345678n', '1M', '60S', '60000m', '60000000u')):
            wire.request(2 * number + 101, SLEEP, ('grpc-timeout', value), body=w.message(b'\x08\x00'))
            self.assertIn(self.status(wire, 2 * number + 101), (0,) if value != '12345678n' else (0, 4), value)
        wire.request(201, SLEEP, ('grpc-timeout', '1m'), body=w.message(pb.SleepRequest(milliseconds=50).SerializeToString()))
        self.assertEqual(self.status(wire, 201), 4)

    def test_an_error_is_one_head_and_a_stream_ends_without_empty_data(self):
        wire = self.open(self.serve())
        wire.request(1, '/none/none', body=w.message(b''))
        wire.answer(1)
        self.assertEqual([found[0] for found in wire.frames if found[2] == 1], [w.HEADERS])
        note = w.message(pb.Note(text='x').SerializeToString())
        wire.request(3, ECHO, body=note)
        wire.answer(3)
        self.assertEqual([found[0] for found in wire.frames if found[2] == 3], [w.HEADERS, w.DATA, w.HEADERS])
        wire.request(5, CHAT, body=note, end=False)
        wire.until(w.DATA, 5)
        wire.send(w.frame(w.DATA, w.END_STREAM, 5))
        wire.answer(5)
        self.assertEqual([len(found[3]) for found in wire.frames if found[0] == w.DATA and found[2] == 5], [len(note)])

    def test_an_early_answer_asks_to_stop_sending(self):
        wire = self.open(self.serve())
        wire.request(1, '/none/none', end=False)
        self.assertEqual(self.status(wire, 1), 12)
        self.assertEqual(wire.until(w.RST_STREAM, 1)[3], struct.pack('>I', w.NO_ERROR))
        wire.request(3, ECHO, body=w.message(b''))
        self.assertEqual(self.status(wire, 3), 0)

    # ---- Windows ----

    def test_no_more_is_sent_than_the_window_allows(self):
        wire = self.open(self.serve(), (INITIAL_WINDOW, 1000))
        wire.request(1, COUNT, body=w.message(pb.CountRequest(count=3, size=900).SerializeToString()))
        self.assertEqual(len(wire.until(w.DATA, 1)[3]), 1000)
        wire.send(w.frame(w.PING, 0, 0, bytes(8)))
        self.assertEqual(wire.next()[0], w.PING)
        wire.send(w.frame(w.WINDOW_UPDATE, 0, 1, struct.pack('>I', 10000)))
        fields, data = wire.answer(1)
        self.assertEqual((fields['grpc-status'], len(data)), ('0', 3 * (900 + 5 + 3) - 1000))

    def test_a_paused_stream_stops_only_itself(self):
        wire = self.open(self.serve())
        self.settled(wire)
        wire.request(1, LAZY, end=False)
        note = w.message(pb.Note(data=bytes(1000)).SerializeToString())
        sent = note * 250
        for at in range(0, len(sent), 16000):
            wire.send(w.frame(w.DATA, 0, 1, sent[at:at + 16000]))
        wire.request(3, ECHO, body=w.message(b''))
        self.assertEqual(self.status(wire, 3), 0)
        wire.send(w.frame(w.DATA, w.END_STREAM, 1))
        _, data = wire.answer(1)
        self.assertEqual(pb.SumResponse.FromString(data[5:]).count, 250)

    # ---- Connections that are wrong ----

    def test_another_protocol_is_closed(self):
        server = self.serve()
        for words in (b'GET / HTTP/1.1\r\n\r\n', b'\x16\x03\x01\x02\x00', bytes(100), w.PREFACE[:20] + b'xxxx'):
            wire = self.open(server, hello=False)
            wire.send(words)
            self.assertTrue(wire.drained())
        self.assertEqual(server.counters()['bad_preface'], 4)
        self.served(server)

    def test_wrong_frames_end_the_connection_and_no_other(self):
        server = self.serve()
        for wrong in (w.frame(w.DATA, 0, 0, b'x'), w.frame(w.HEADERS, w.END_HEADERS, 2, b'\x82'), w.frame(w.PING, 0, 0, b'short'),
                      w.frame(w.WINDOW_UPDATE, 0, 0, bytes(4)), w.frame(w.SETTINGS, 0, 1), w.frame(w.CONTINUATION, 4, 1, b''),
                      w.frame(w.PUSH_PROMISE, 4, 1, bytes(4)), w.frame(w.HEADERS, w.END_HEADERS, 1, b'\xff\xff\xff\xff\xff\xff'),
                      w.frame(w.RST_STREAM, 0, 9, bytes(4)), b'\xff\xff\xff' + bytes(6)):
            wire = self.open(server)
            wire.send(wrong)
            self.assertNotEqual(wire.goaway(), (w.NO_ERROR, ''))
            self.assertTrue(wire.drained())
        self.served(server)
        server.wait_gone()

    def test_noise_and_bent_sessions_do_no_harm(self):
        server, seed = self.serve(receive_timeout=2000), random.randrange(1 << 32)
        noise = random.Random(seed)
        for _ in range(150):
            wire = w.Wire(server)
            session = b''.join(w.frame(noise.randrange(11), noise.randrange(256), noise.choice((0, 1, 1, 3, 5)),
                                       noise.randbytes(noise.randrange(40))) for _ in range(20))
            valid = w.frame(w.HEADERS, w.END_HEADERS, 1, wire.block(CHAT))
            valid += w.frame(w.DATA, 0, 1, w.message(pb.Note(data=bytes(300)).SerializeToString()) * 5)
            bent = bytearray(valid)
            for _ in range(noise.randrange(4)):
                bent[noise.randrange(len(bent))] = noise.randrange(256)
            wire.send(bytes(bent) + session)
            wire.close()
        self.served(server)
        server.wait_gone()
        self.assertIsNone(server.process.poll(), f'seed {seed}')

    def test_streams_beyond_the_limit_are_refused_and_end_the_connection_of_one_who_knew(self):
        server = self.serve(streams_max=5)
        sleep = w.message(pb.SleepRequest(milliseconds=100).SerializeToString())
        for knows in (False, True):
            wire = self.open(server)
            if knows:
                self.settled(wire)
                self.assertIn(struct.pack('>HI', MAX_CONCURRENT, 5), [found for found in wire.frames if found[0] == w.SETTINGS][0][3])
            wire.send(b''.join(w.frame(w.HEADERS, w.END_HEADERS, stream, wire.block(SLEEP)) + w.frame(w.DATA, w.END_STREAM, stream, sleep)
                               for stream in range(1, 15, 2)))
            if knows:
                self.assertEqual(wire.goaway()[0], w.PROTOCOL_ERROR)
            else:
                self.assertEqual([wire.until(w.RST_STREAM)[2:] for _ in range(2)],
                                 [(stream, struct.pack('>I', w.REFUSED_STREAM)) for stream in (11, 13)])
        self.served(server)

    def test_too_many_connections_are_closed_at_once(self):
        server = self.serve(connections_max=3)
        held = [self.open(server) for _ in range(3)]
        for wire in held:
            wire.until(w.SETTINGS)
        self.assertTrue(self.open(server).drained())
        self.assertEqual(server.counters()['connections_refused'], 1)
        held[0].close()
        while server.counters()['connections'] == 3:
            pass
        self.served(server)

    def test_a_server_out_of_descriptors_goes_on_when_it_has_some(self):
        server = self.serve(files_max=40, idle_timeout=60000, handshake_timeout=60000, header_timeout=100)
        held = [self.open(server) for _ in range(60)]
        server.wait_counter('accept_errors', 1)
        for wire in held:
            wire.close()
        self.served(server)
        self.assertEqual(server.counters()['connections_refused'], 0)

    # ---- Floods ----

    def flood(self, server, counter, send, why):
        """`send` until the server says enough; by name, and nobody else suffers."""
        wire = self.open(server)
        wire.until(w.SETTINGS)
        enough, reader = threading.Event(), []

        def read():
            reader.append(wire.goaway())
            wire.drained()
            enough.set()
        thread = threading.Thread(target=read)
        thread.start()
        for round_ in range(100000):
            if enough.is_set() or not send(wire, round_):
                break
        thread.join(harness.WAIT_S)
        self.assertEqual(server.counters()[counter], 1)
        # A client that sends on after GOAWAY may lose it to the reset of its own making.
        self.assertIn(reader[0], (None, (w.ENHANCE_YOUR_CALM, why)))
        wire.close()
        self.served(server)
        server.wait_gone()

    def test_rapid_resets_end_the_connection(self):
        def reset(wire, number):
            stream = 2 * number + 1
            return wire.send(w.frame(w.HEADERS, w.END_HEADERS, stream, wire.block(SLEEP)) + w.frame(w.RST_STREAM, 0, stream, bytes(4)))
        self.flood(self.serve(), 'reset_floods', reset, 'too many resets')

    def test_provoked_resets_end_the_connection(self):
        server = self.serve()
        wire = self.open(server)
        self.settled(wire)
        found, stream = (w.RST_STREAM,), 1
        while found is not None and found[0] != w.GOAWAY:
            wire.send(w.frame(w.HEADERS, w.END_HEADERS, stream, wire.block(SLEEP)))
            wire.send(w.frame(w.WINDOW_UPDATE, 0, stream, b'\x7f\xff\xff\xff'))
            found, stream = wire.next(), stream + 2
        self.assertEqual(found[3][8:], b'too many resets provoked')
        self.assertEqual(server.counters()['reset_floods'], 1)
        wire.close()
        self.served(server)

    def test_settings_floods_end_the_connection(self):
        self.flood(self.serve(), 'settings_floods', lambda wire, _: wire.send(w.settings((INITIAL_WINDOW, 70000))), 'too many settings')

    def test_too_many_pings_end_the_connection(self):
        self.flood(self.serve(), 'ping_floods', lambda wire, _: wire.send(w.frame(w.PING, 0, 0, bytes(8))), 'too_many_pings')

    def test_empty_data_floods_end_the_connection(self):
        def empty(wire, number):
            if number == 0:
                wire.request(1, SUM, end=False)
            return wire.send(w.frame(w.DATA, 0, 1) * 10)
        self.flood(self.serve(), 'frame_floods', empty, 'too many empty frames')

    def test_priority_floods_end_the_connection(self):
        def priority(wire, number):
            return wire.send(w.frame(w.PRIORITY, 0, 2 * number + 1, bytes(4) + b'\x10') * 10)
        self.flood(self.serve(), 'frame_floods', priority, 'too many priorities')

    def test_continuation_floods_end_the_connection(self):
        def more(wire, number):
            if number == 0:
                return wire.send(w.frame(w.HEADERS, 0, 1, wire.block(ECHO)))
            return wire.send(w.frame(w.CONTINUATION, 0, 1, b''))
        self.flood(self.serve(), 'continuation_floods', more, 'too many continuations')

    def test_header_lists_are_bounded(self):
        server = self.serve(header_list_max=4096)
        wire = self.open(server)
        wire.request(1, ECHO, ('x-large', 'y' * 5000), body=w.message(b''))
        fields, _ = wire.answer(1)
        self.assertEqual((fields[':status'], fields['grpc-status']), ('431', '8'))
        wire.request(3, ECHO, ('x-large', 'y' * 3000), body=w.message(b''))
        self.assertEqual(self.status(wire, 3), 0)
        # HPACK makes a short block of a long list: each byte repeats a field of the table.
        block = wire.block(ECHO, ('x-bomb', 'z' * 3900))
        wire.send(w.frame(w.HEADERS, w.END_HEADERS, 5, block + b'\xbe' * 10000))
        answer = wire.answer(5)
        self.assertTrue(answer is None or answer[0][':status'] == '431')
        self.assertGreaterEqual(server.counters()['headers_too_large'], 1)
        self.served(server)

    # ---- Slowness ----

    def test_a_preface_that_does_not_come_is_not_waited_for(self):
        server = self.serve(handshake_timeout=100)
        silent, half = self.open(server, hello=False), self.open(server, hello=False)
        half.send(w.PREFACE[:10])
        self.assertTrue(silent.drained() and half.drained())
        self.assertEqual(server.counters()['handshake_timeouts'], 2)

    def test_a_header_block_that_does_not_end_is_not_waited_for(self):
        server = self.serve(header_timeout=100)
        wire = self.open(server)
        self.settled(wire)
        wire.send(w.frame(w.HEADERS, 0, 1, wire.block(ECHO)))
        self.assertEqual(wire.goaway(), (w.NO_ERROR, 'headers too slow'))
        self.assertTrue(wire.drained())
        self.assertEqual(server.counters()['header_timeouts'], 1)

    def test_a_message_that_drips_is_not_waited_for(self):
        server = self.serve(receive_timeout=200)
        wire = self.open(server)
        wire.request(1, SUM, body=w.message(b'') + b'\x00\x00\x00\x00\x7f', end=False)
        wire.request(3, ECHO, end=False)
        wire.request(5, SUM, body=w.message(b''), end=False)
        ended, stop = [], threading.Event()

        def drip():
            while not stop.wait(0.02):
                wire.send(w.frame(w.DATA, 0, 1, b'x'))
        thread = threading.Thread(target=drip)
        thread.start()
        while len(ended) < 2:
            found = wire.until(w.HEADERS)
            ended.append((found[2], found[3]['grpc-status']))
        stop.set()
        thread.join()
        self.assertEqual(sorted(ended), [(1, '4'), (3, '4')])
        # A stream that merely waits between messages may.
        wire.send(w.frame(w.DATA, w.END_STREAM, 5))
        self.assertEqual(self.status(wire, 5), 0)
        self.assertEqual(server.counters()['receive_timeouts'], 2)

    def test_a_stream_whose_reader_is_slow_is_dropped(self):
        server = self.serve(send_timeout=200)
        wire = self.open(server)
        wire.request(1, COUNT, body=w.message(pb.CountRequest(count=1000, size=1000).SerializeToString()))
        self.assertEqual(wire.until(w.RST_STREAM, 1)[3], struct.pack('>I', w.CANCEL))
        self.assertEqual(server.counters()['send_timeouts'], 1)
        wire.send(w.frame(w.WINDOW_UPDATE, 0, 0, struct.pack('>I', 100000)))
        wire.request(3, ECHO, body=w.message(b''))
        self.assertEqual(self.status(wire, 3), 0)

    def test_a_connection_whose_reader_is_slow_is_dropped(self):
        server = self.serve(send_timeout=200)
        wire = self.open(server, (INITIAL_WINDOW, 0x7fffffff), hello=False)
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.send(w.PREFACE + w.settings((INITIAL_WINDOW, 0x7fffffff)) + w.frame(w.WINDOW_UPDATE, 0, 0, struct.pack('>I', 0x7fff0000)))
        for stream in range(1, 40, 2):
            wire.request(stream, COUNT, body=w.message(pb.CountRequest(count=100000, size=100000).SerializeToString()))
        server.wait_counter('connections_closed', 1)
        self.assertGreaterEqual(server.counters()['send_timeouts'], 1)
        self.served(server)

    def test_a_connection_without_streams_is_closed_in_the_end(self):
        server = self.serve(idle_timeout=200)
        wire, busy = self.open(server), self.open(server)
        busy.request(1, SUM, end=False)
        self.assertEqual(wire.goaway(), (w.NO_ERROR, 'idle'))
        self.assertTrue(wire.drained())
        busy.send(w.frame(w.DATA, w.END_STREAM, 1))
        self.assertEqual(self.status(busy, 1), 0)

    def test_a_connection_that_does_not_answer_pings_is_closed(self):
        server = self.serve(keepalive_time=100, keepalive_timeout=3000)
        answering, silent = self.open(server), self.open(server)
        silent.until(w.PING)
        stop = threading.Event()

        def answer():
            while not stop.is_set():
                found = answering.until(w.PING)
                if found is None:
                    return
                answering.send(w.frame(w.PING, w.ACK, 0, found[3]))
        thread = threading.Thread(target=answer)
        thread.start()
        self.assertTrue(silent.drained())
        self.assertEqual(server.counters()['keepalive_timeouts'], 1)
        stop.set()
        thread.join(harness.WAIT_S)
        answering.request(1, ECHO, body=w.message(b''))
        self.assertEqual(self.status(answering, 1), 0)

    def test_a_stop_with_everything_open_leaves_nothing(self):
        server = self.serve()
        for number in range(20):
            wire = self.open(server)
            sleep = number % 3 == 2
            wire.request(1, (CHAT, SUM, SLEEP)[number % 3], body=w.message(b'\x08\xff\xff\x03' if sleep else b''), end=sleep)
        server.wait_counter('calls', 20)


if __name__ == '__main__':
    harness.main()
