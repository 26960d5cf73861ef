"""The test vectors of docs/protocol.md, checked by a second writing of its rules. Argument: the page."""

import re
import struct
import sys
import unittest

with open(sys.argv[1], encoding='utf-8') as page:
    PAGE = page.read()

MASK = (1 << 64) - 1
SESSION = 0x1122334455667788
P1, P2, P3, P4, P5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)


def rotate(x, bits):
    return (x << bits | x >> (64 - bits)) & MASK


def xxh64_16(key):
    h = P5 + 16
    for word in struct.unpack('<2Q', key):
        h ^= rotate(word * P2 & MASK, 31) * P1 & MASK
        h = (rotate(h, 27) * P1 + P4) & MASK
    h = (h ^ h >> 33) * P2 & MASK
    h = (h ^ h >> 29) * P3 & MASK
    return h ^ h >> 32


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def sealed(frame):
    return frame[:12] + struct.pack('<I', crc32c(frame[:12] + bytes(4) + frame[16:])) + frame[16:]


class Vectors(unittest.TestCase):
    def test_routes(self):
        rows = re.findall(r'^\| (?:`(\w+)`|bytes 01 02 … 10) \| ([0-9a-f]{16}) \| ([0-9a-f]{4}) \| (\d+) \|$', PAGE, re.M)
        self.assertEqual(len(rows), 4)
        for name, digest, route, partition in rows:
            key = name.encode().ljust(16, b'\0') if name else bytes(range(1, 17))
            self.assertEqual(f'{xxh64_16(key):016x}', digest)
            self.assertEqual(digest[-4:], route)
            self.assertEqual(int(route, 16) % 256, int(partition))

    def test_checksums(self):
        self.assertIn(f'of `123456789` {crc32c(b"123456789"):08x}', PAGE)
        self.assertIn(f'of 32 zero bytes {crc32c(bytes(32)):08x}', PAGE)

    def frame_after(self, words):
        """The frame that is dumped behind these words."""
        rows = PAGE[PAGE.index(words):].split('```\n', 2)[1].splitlines()
        self.assertEqual([int(row[:3]) for row in rows], list(range(0, 16 * len(rows), 16)))
        return bytes.fromhex(''.join(row[3:] for row in rows))

    @staticmethod
    def head(kind, length, session=0, request=0, credits=0, count=0, result=0):
        return struct.pack('<IBBHIIQQHHHHQ16s', 0x31464648, 1, kind, 0, length, 0, session, request, credits, count, result, 0, 0,
                           bytes(16))

    def test_a_request_with_one_place(self):
        sku = b'apple'.ljust(16, b'\0')
        id_high = (xxh64_16(sku) & 0xffff) << 48 | 1700000000000
        command = struct.pack('<IHBBQQHHI', 96, 0x0301, 1, 0, id_high, 0x0123456789abcdef, 1, 0, 900000)
        command += struct.pack('<QIB19s', 42, 1, 0, bytes(19)) + struct.pack('<16sIIQ', sku, 7, 2, 199)
        self.assertEqual(sealed(self.head(3, 160, SESSION, 1, count=1) + command), self.frame_after('Frames. The REQUEST:'))
        self.assertIn(f'`{id_high:016x}0123456789abcdef`', PAGE)

    def test_its_answer(self):
        answer = struct.pack('<IHHHBBBBHQQQQ', 48, 0x0301, 0, 0, 0, 1, 0, 0, 0, 4096, 1, 1700000900000000000, 0)
        self.assertEqual(sealed(self.head(4, 112, SESSION, 1, credits=64, count=1) + answer), self.frame_after('Its ANSWER:'))

    def test_hello_and_cookie(self):
        cookie = bytes(range(1, 17))
        hello = sealed(self.head(1, 96, credits=64) + struct.pack('<QQ16s', 7, 0, bytes(16)))
        self.assertEqual(hello, self.frame_after('session 0, on a stream:'))
        padded = sealed(self.head(1, 240, credits=64) + struct.pack('<QQ16s', 7, (1 << 64) - 1, cookie) + bytes(144))
        self.assertEqual(padded, self.frame_after('144 zeros follow:') + bytes(144))
        brought = sealed(self.head(7, 96) + struct.pack('<QQ16s', 0, 0, cookie))
        self.assertEqual(brought, self.frame_after('The COOKIE that brought it:'))

    def test_refused(self):
        refused = sealed(self.head(5, 64, SESSION, (1 << 64) - 1, result=11))
        self.assertEqual(refused, self.frame_after('REFUSED with SESSION_EXPIRED, to number'))


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0], '-v'])
