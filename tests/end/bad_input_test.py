"""Bad input on the wire: each has its documented answer, changes nothing, and the engine goes on serving."""

import socket
import struct

import harness
import protocol as p

MANY = [('GOOD', 1, 1)] * 256


class BadInput(harness.EndTest):
    def setUp(self):
        super().setUp()
        self.engine = self.start('--retention', '600')
        self.client = self.connect(self.engine)
        self.client.provide('GOOD', 1, 1000)
        self.before = self.digest(self.engine)

    def tearDown(self):
        # Whatever was sent: the state is as it was, and good orders still go through.
        self.unchanged(self.engine, self.before)
        good = self.connect(self.engine)
        self.assertEqual(good.place([('GOOD', 1, 1)])[1].result, 'OK')
        self.audit_clean(self.engine)
        super().tearDown()

    def net(self, name):
        return sum(shard['net'][name] for shard in self.status(self.engine)['shards'])

    def refused_frame(self, raw, result, closes, numbered=None):
        """A frame on a connection of its own gets REFUSED with `result`; the connection ends or goes on."""
        client = self.connect(self.engine)
        client.send_raw(raw(client) if callable(raw) else raw)
        got = client.receive()
        self.assertEqual((got.kind, got.result, got.request), (p.REFUSED, result, numbered or 0))
        if closes:
            with self.assertRaises(ConnectionError):
                client.receive()
        else:
            self.assertEqual(client.one(p.get_cell('GOOD', 1)).result, 'OK')
        return client

    def refused_command(self, raw, result, detail=0):
        """A command gets this answer, and the same session goes on."""
        answer = self.client.one(raw)
        self.assertEqual((answer.result, answer.detail), (result, detail))
        self.assertEqual(answer.length, 48, 'a refusal of the form has no items')
        self.assertEqual(answer.position, 0, 'it rests on nothing')
        self.assertEqual(self.client.one(p.get_cell('GOOD', 1)).result, 'OK')

    # ---- frames ----

    def test_a_frame_without_the_magic_ends_the_connection(self):
        before = self.net('bad_frame')
        self.refused_frame(p.frame(p.HELLO, payload=bytes(32), magic=0x50545448), 'BAD_FRAME', True)
        self.assertEqual(self.net('bad_frame'), before + 1)

    def test_garbage_ends_the_connection(self):
        self.refused_frame(b'GET / HTTP/1.1\r\n' * 64, 'BAD_FRAME', True)

    def test_a_frame_of_another_version_is_named(self):
        before = self.net('bad_version')
        self.refused_frame(p.frame(p.HELLO, payload=bytes(32), version=2), 'BAD_VERSION', True)
        self.assertEqual(self.net('bad_version'), before + 1)

    def test_a_frame_shorter_than_its_header_is_refused(self):
        self.refused_frame(p.frame(p.HELLO, length=56), 'BAD_FRAME', True)
        self.refused_frame(p.frame(p.HELLO, length=65), 'BAD_FRAME', True)

    def test_an_oversized_frame_is_refused_from_its_header(self):
        before = self.net('too_large')
        self.refused_frame(p.frame(p.REQUEST, length=65544), 'TOO_LARGE', True)
        self.refused_frame(p.frame(p.REQUEST, length=0xfffffff8), 'TOO_LARGE', True)
        self.assertEqual(self.net('too_large'), before + 2)

    def test_a_frame_with_a_wrong_checksum_is_refused(self):
        before = self.net('bad_crc')
        self.refused_frame(lambda c: p.frame(p.REQUEST, c.session, 1, count=1, payload=p.get_cell('GOOD', 1), crc=1), 'BAD_CRC', True)
        self.assertEqual(self.net('bad_crc'), before + 1)

    def test_every_flipped_bit_of_a_request_is_found(self):
        client = self.connect(self.engine)
        raw = p.frame(p.REQUEST, client.session, 1, count=1, payload=p.place(client.fresh('GOOD'), [('GOOD', 1, 1)]))
        for bit in range(0, len(raw) * 8, 8 * len(raw) // harness.scaled(24, 400) | 1):
            other = self.connect(self.engine)
            spoilt = bytearray(raw)
            spoilt[bit // 8] ^= 1 << bit % 8
            other.send_raw(bytes(spoilt))
            other.socket.shutdown(socket.SHUT_WR)
            try:
                got = other.receive()
                self.assertEqual(got.kind, p.REFUSED, f'bit {bit}')
                self.assertIn(got.result, ('BAD_FRAME', 'BAD_VERSION', 'BAD_CRC', 'TOO_LARGE'), f'bit {bit}')
            except ConnectionError:
                pass  # the length grew: a half frame, and then the end

    def test_half_a_frame_and_a_closed_connection_change_nothing(self):
        raw = p.frame(p.REQUEST, self.client.session, 1, count=1, payload=p.place(self.client.fresh('GOOD'), [('GOOD', 1, 1)]))
        for keep in (1, 12, 63, 64, 65, len(raw) - 1):
            other = self.connect(self.engine)
            other.send_raw(raw[:keep])
            other.close()

    def test_a_frame_in_single_bytes_is_taken(self):
        raw = p.frame(p.REQUEST, self.client.session, next(self.client.numbers), count=1, payload=p.get_cell('GOOD', 1))
        for at in range(len(raw)):
            self.client.send_raw(raw[at:at + 1])
        self.assertEqual(self.client.receive().answers()[0].result, 'OK')

    def test_reserved_bytes_of_a_frame_are_refused_and_the_session_goes_on(self):
        for spoilt in ({'flags': 1}, {'reserved': 1}, {'nonce': 1}, {'tag': bytes(15) + b'\1'}, {'result': 1}):
            with self.subTest(**spoilt):
                raw = lambda c, spoilt=spoilt: p.frame(p.REQUEST, c.session, next(c.numbers), count=1, payload=p.get_cell('GOOD', 1),
                                                       **spoilt)
                self.refused_frame(raw, 'BAD_FRAME', False, numbered=1)

    def test_an_unknown_frame_type_is_refused_and_the_session_goes_on(self):
        for kind in (0, p.WELCOME, p.ANSWER, p.REFUSED, 7, 255):
            with self.subTest(kind=kind):
                self.refused_frame(lambda c, kind=kind: p.frame(kind, c.session), 'BAD_FRAME', False)

    def test_a_count_that_is_not_the_commands_is_refused(self):
        for count in (0, 2, 1001):
            with self.subTest(count=count):
                raw = lambda c, count=count: p.frame(p.REQUEST, c.session, next(c.numbers), count=count, payload=p.get_cell('GOOD', 1))
                self.refused_frame(raw, 'BAD_FRAME', False, numbered=1)

    def test_more_answers_than_a_frame_holds_are_refused(self):
        raw = lambda c: p.frame(p.REQUEST, c.session, next(c.numbers), count=6, payload=p.get_order((0, 1)) * 6)
        self.refused_frame(raw, 'TOO_LARGE', False, numbered=1)

    def test_a_session_that_never_was_is_expired(self):
        before = self.net('session_expired')
        self.refused_frame(lambda c: p.frame(p.REQUEST, c.session ^ 1, 1, count=1, payload=p.get_cell('GOOD', 1)), 'SESSION_EXPIRED', False,
                           numbered=1)
        self.assertEqual(self.net('session_expired'), before + 1)

    def test_a_session_that_said_bye_is_expired(self):
        client = self.connect(self.engine)
        session = client.session
        client.send_raw(p.frame(p.BYE, session))
        with self.assertRaises(ConnectionError):
            client.receive()
        again = self.connect(self.engine, session=session)
        self.assertNotEqual(again.session, session, 'another session than asked for says that the old one is gone')

    def test_a_request_before_hello_is_expired(self):
        client = self.connect(self.engine, hello=False)
        client.send_raw(p.frame(p.REQUEST, 0, 1, count=1, payload=p.get_cell('GOOD', 1)))
        got = client.receive()
        self.assertEqual((got.kind, got.result), (p.REFUSED, 'SESSION_EXPIRED'))

    def test_more_requests_than_credits_are_refused_one_by_one(self):
        before = self.net('credit_overrun')
        client = self.connect(self.engine, credits=2)
        self.assertEqual(client.credits, 2)
        # A digest is slow enough to be still waiting when the third comes in the same packet.
        frames = [p.frame(p.REQUEST, client.session, number, count=1, payload=p.command(p.DIGEST)) for number in (1, 2, 3)]
        client.send_raw(b''.join(frames))
        kinds = {got.request: (got.kind, got.result) for got in (client.receive() for _ in range(3))}
        self.assertEqual(kinds, {1: (p.ANSWER, 'OK'), 2: (p.ANSWER, 'OK'), 3: (p.REFUSED, 'CREDIT_OVERRUN')})
        self.assertEqual(self.net('credit_overrun'), before + 1)
        # Refused is not used up.
        self.assertEqual(client.send(p.get_cell('GOOD', 1), request=3), 3)
        self.assertEqual(client.receive().answers()[0].result, 'OK')

    def test_a_number_out_of_turn_is_an_overrun(self):
        for number in (0, 2, 1 << 63):
            with self.subTest(number=number):
                client = self.connect(self.engine)
                client.send(p.get_cell('GOOD', 1), request=number)
                got = client.receive()
                self.assertEqual((got.kind, got.result), (p.REFUSED, 'CREDIT_OVERRUN'))

    # ---- commands ----

    def test_an_unknown_opcode(self):
        for opcode in (0, 0x100, 0x104, 0x307, 0x405, 0x505, 0x601, 0x602, 0x603, 0x604, 0x605, 0xffff):
            with self.subTest(opcode=hex(opcode)):
                self.refused_command(p.command(opcode, self.client.fresh('GOOD')), 'UNKNOWN_OPCODE')

    def test_a_wrong_version_of_a_command(self):
        for version in (0, 2, 255):
            self.refused_command(p.command(p.GET_CELL, lines=[p.line('GOOD', 1)], version=version), 'BAD_VERSION')

    def test_a_command_length_that_is_not_its_parts(self):
        # 8 bytes more than header and line, so that frame and command still agree.
        raw = p.command(p.GET_CELL, lines=[p.line('GOOD', 1)], length=104) + bytes(8)
        self.refused_command(raw, 'BAD_LENGTH')

    def test_a_command_that_leaves_its_frame_is_a_bad_frame(self):
        for length in (0, 56, 63, 104, 0xfffffff8):
            with self.subTest(length=length):
                raw = lambda c, length=length: p.frame(p.REQUEST, c.session, next(c.numbers), count=1,
                                                       payload=p.command(p.GET_CELL, lines=[p.line('GOOD', 1)], length=length))
                self.refused_frame(raw, 'BAD_FRAME', False, numbered=1)

    def test_no_lines(self):
        self.refused_command(p.place(self.client.fresh('GOOD'), []), 'BAD_LINE_COUNT')

    def test_257_lines(self):
        self.refused_command(p.place(self.client.fresh('GOOD'), MANY + MANY[:1]), 'BAD_LINE_COUNT')

    def test_65535_lines_that_are_not_there(self):
        raw = p.command(p.PLACE, self.client.fresh('GOOD'), [p.line('GOOD', 1, 1)], struct.pack('<QI', 7, 1), 1000, line_count=65535)
        self.refused_command(raw, 'BAD_LINE_COUNT')

    def test_a_quantity_of_zero_or_beyond_31_bits_names_its_line(self):
        for quantity in (0, 1 << 31, (1 << 32) - 1):
            lines = [('GOOD', 1, 1), ('GOOD', 1, quantity)]
            self.refused_command(p.place(self.client.fresh('GOOD'), lines), 'BAD_QUANTITY', 1)
            self.refused_command(p.stock(p.RECEIVE, self.client.fresh('GOOD'), 'GOOD', 1, quantity), 'BAD_QUANTITY')

    def test_the_largest_quantity_is_short_not_bad(self):
        _, answer = self.client.place([('GOOD', 1, (1 << 31) - 1), ('GOOD', 1, (1 << 31) - 1)])
        self.assertEqual(answer.result, 'SHORT')
        self.assertEqual({asked for _, asked, _ in answer.short()}, {(1 << 32) - 2})

    def test_reserved_bytes_of_a_command(self):
        place = bytearray(p.place(self.client.fresh('GOOD'), [('GOOD', 1, 1)]))
        for at in range(32 + 13, 64):
            spoilt = place.copy()
            spoilt[at] = 1
            self.refused_command(bytes(spoilt), 'RESERVED_NOT_ZERO')
        for bit in range(8):
            spoilt = place.copy()
            spoilt[7] = 1 << bit
            self.refused_command(bytes(spoilt), 'RESERVED_NOT_ZERO')
        self.refused_command(p.command(p.STATUS, (0, 5)), 'RESERVED_NOT_ZERO')
        self.refused_command(p.command(p.GET_CELL, lines=[p.line('GOOD', 1, price=1)]), 'RESERVED_NOT_ZERO')

    def test_extensions_that_do_not_add_up(self):
        for raw in (b'\7\0\7\0aaa\0', b'\0\0\4\0aaaa', b'\7\0\1\0a\1\0\0', b'\7\0\xff\xffaaaa'):
            with self.subTest(raw=raw):
                self.refused_command(p.command(p.DEFINE_SKU, self.client.fresh('GOOD'), [p.line('GOOD')], extensions=raw), 'BAD_EXTENSION')
        long = p.extension(p.NAME, 'x' * 516)
        self.refused_command(p.command(p.DEFINE_SKU, self.client.fresh('GOOD'), [p.line('GOOD')], extensions=long), 'BAD_EXTENSION')

    def test_an_unknown_sku_and_an_unknown_location_name_the_line(self):
        fresh = self.client.fresh
        for lines, result in (([('GOOD', 1, 1), ('NONE', 1, 1)], 'UNKNOWN_SKU'), ([('GOOD', 1, 1), ('GOOD', 9, 1)], 'UNKNOWN_LOCATION')):
            answer = self.client.one(p.place(fresh('GOOD'), lines))
            self.assertEqual((answer.result, answer.detail), (result, 1))
        self.assertEqual(self.client.receive_stock('NONE', 1, 1).result, 'UNKNOWN_SKU')
        self.assertEqual(self.client.receive_stock('GOOD', 9, 1).result, 'UNKNOWN_LOCATION')

    def test_an_unknown_channel(self):
        self.assertEqual(self.client.place([('GOOD', 1, 1)], channel=99)[1].result, 'UNKNOWN_CHANNEL')

    def test_wrong_route_bits(self):
        client = self.client
        wrong = p.make_id(p.route('GOOD') ^ 1, client.now_ms())
        self.assertEqual(client.place([('GOOD', 1, 1)], wrong)[1].result, 'WRONG_ROUTE')
        self.assertEqual(client.one(p.stock(p.RECEIVE, wrong, 'GOOD', 1, 5)).result, 'WRONG_ROUTE')
        # All 16 bits count, not only those that name the partition.
        wrong = p.make_id(p.route('GOOD') ^ 0x8000, client.now_ms())
        self.assertEqual(client.place([('GOOD', 1, 1)], wrong)[1].result, 'WRONG_ROUTE')

    def test_an_id_of_the_future(self):
        client = self.client
        self.assertEqual(client.place([('GOOD', 1, 1)], p.make_id(p.route('GOOD'), client.now_ms() + 3700000))[1].result, 'ID_IN_FUTURE')

    def test_an_id_too_old(self):
        client = self.client
        old = p.make_id(p.route('GOOD'), client.now_ms() - 3600 * 1000)
        self.eventually(lambda: self.status(self.engine)['shards'][0]['marks'] > 0, 'a mark')
        self.assertEqual(client.place([('GOOD', 1, 1)], old)[1].result, 'ID_TOO_OLD')

    def test_no_id_and_no_arguments(self):
        client = self.client
        self.assertIn(client.place([('GOOD', 1, 1)], (0, 0))[1].result, ('ID_TOO_OLD', 'WRONG_ROUTE', 'BAD_ARGUMENT'))
        self.assertEqual(client.place([('GOOD', 1, 1)], ttl_ms=0)[1].result, 'BAD_ARGUMENT')
        self.assertEqual(client.place([('GOOD', 1, 1)], mode=9)[1].result, 'BAD_ARGUMENT')
        self.assertEqual(client.place([(b'\0', 1, 1)])[1].result, 'BAD_ARGUMENT')
        self.assertEqual(client.one(p.stock(p.RECEIVE, client.fresh('GOOD'), 'GOOD', 1, 5, bucket=3)).result, 'BAD_ARGUMENT')
        self.assertIn(client.place([('GOOD', 0, 1)])[1].result, ('BAD_ARGUMENT', 'UNKNOWN_LOCATION'))

    def test_an_order_that_is_not_there(self):
        unknown = self.client.fresh('GOOD')
        self.assertEqual(self.client.get(unknown).result, 'UNKNOWN_ORDER')
        for opcode in (p.CANCEL, p.SHIP):
            self.assertEqual(self.client.verb(opcode, unknown).result, 'UNKNOWN_ORDER')
        self.assertEqual(self.client.verb(p.EXTEND, unknown, arg=1000).result, 'UNKNOWN_ORDER')
        self.assertEqual(self.client.settle(unknown, amount=0, currency=bytes(3), reference=None).result, 'UNKNOWN_ORDER')

    def test_a_flood_of_garbage_leaves_other_sessions_alone(self):
        others = [self.connect(self.engine, hello=False) for _ in range(harness.scaled(40, 400))]
        for number, other in enumerate(others):
            other.send_raw(bytes([number & 0xff]) * 100)
        self.assertEqual(self.client.one(p.get_cell('GOOD', 1)).result, 'OK')


if __name__ == '__main__':
    harness.main()
