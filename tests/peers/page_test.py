"""What docs/protocol.md writes out, against what the client that was written from it makes and reads."""

import os
import re
import struct
import unittest

from holdfast_client import *

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../docs/protocol.md')
SESSION = 0x1122334455667788
PLACE_ID = 0xcab3018bcfe568000123456789abcdef


def first_place():
    """The page's example."""
    body = struct.pack('<QIB', 42, 1, 0)
    return Command(Op.PLACE, PLACE_ID, [Line('apple', 7, 2, 199)], 900000, body)


class Page(unittest.TestCase):
    """What the page writes out and what this client makes are the same."""

    @classmethod
    def setUpClass(cls):
        with open(PAGE, encoding='utf-8') as page:
            cls.page = page.read()
        rows = r'(?:^ {0,3}\d+(?:  (?:[0-9a-f]{2} ?){16})\n)+'
        cls.frames = [bytes.fromhex(''.join(line.split('  ', 1)[1] if not line.startswith(' ') else line.strip().split('  ', 1)[1]
                                            for line in block.splitlines())) for block in re.findall(rows, cls.page, re.M)]

    def test_routes_of_the_page(self):
        rows = re.findall(r'^\| (?:`(\w+)`|bytes 01 02 … 10) \| ([0-9a-f]{16}) \| ([0-9a-f]{4}) \| (\d+) \|$', self.page, re.M)
        self.assertGreaterEqual(len(rows), 4)
        for text, whole, route, partition in rows:
            sku = text or bytes(range(1, 17))
            self.assertEqual((xxh64(sku_bytes(sku)), route_of(sku), route_of(sku) % 256),
                             (int(whole, 16), int(route, 16), int(partition)), text)

    def test_checksums_of_the_page(self):
        checked, zeros = re.search(r'of `123456789` ([0-9a-f]{8}); of 32 zero bytes ([0-9a-f]{8})', self.page).groups()
        self.assertEqual((crc32c(b'123456789'), crc32c(bytes(32)), crc32c(b'')), (int(checked, 16), int(zeros, 16), 0))

    def test_frames_made_by_this_client_are_those_of_the_page(self):
        answer = ANSWER.pack(48, Op.PLACE, 0, 0, 0, State.HELD, 0, 0, 0, 4096, 1, 1700000900000000000, 0)
        cookie = bytes(range(1, 17))
        made = {
            'REQUEST': pack_frame(Type.REQUEST, SESSION, 1, first_place().bytes, count=1),
            'ANSWER': pack_frame(Type.ANSWER, SESSION, 1, answer, count=1, credits=64),
            'HELLO': pack_hello(7, wanted=64),
            'HELLO in a datagram': pack_hello(7, wanted=64, first=U64, cookie=cookie, size=240),
            'COOKIE': pack_frame(Type.COOKIE, payload=GREETING.pack(0, 0, cookie)),
            'REFUSED': pack_frame(Type.REFUSED, SESSION, U64, result=Result.SESSION_EXPIRED),
        }
        written = {frame.ljust(struct.unpack_from('<I', frame, 8)[0], b'\0') for frame in self.frames}
        for name, frame in made.items():
            self.assertIn(frame, written, name)

    def test_every_frame_of_the_page_is_read(self):
        self.assertGreaterEqual(len(self.frames), 6)
        read = [unpack_frame(frame.ljust(struct.unpack_from('<I', frame, 8)[0], b'\0')) for frame in self.frames]
        answers = [parse_answers(frame, [first_place()])[0] for frame in read if frame.type == Type.ANSWER]
        self.assertIn((PLACE_ID, Result.OK, State.HELD, 4096, 1, 1700000900000000000),
                      [(answer.id, answer.result, answer.order, answer.position, answer.version, answer.due_ns) for answer in answers])

    def test_results_and_opcodes_are_those_of_the_page(self):
        results = {name: int(code) for code, name in re.findall(r'^\| (\d+) \| ([A-Z_]+) \| [A-Z]', self.page, re.M)}
        self.assertEqual(results, {result.name: result.value for result in Result})
        opcodes = {name: int(code, 16) for code, name in re.findall(r'^\| (0x[0-9a-f]{4}) \| ([A-Z_]+) \|', self.page, re.M)}
        self.assertEqual(opcodes, {opcode.name: opcode.value for opcode in Op})

    def test_a_damaged_frame_is_not_read(self):
        frame = pack_hello(7)
        for at in range(0, len(frame), 5):
            with self.assertRaises(ProtocolError):
                unpack_frame(frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1:])


if __name__ == '__main__':
    unittest.main()
