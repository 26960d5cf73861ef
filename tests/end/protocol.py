"""A second client, written from docs/protocol.md alone: frames, commands and answers in plain Python."""

import hashlib
import itertools
import os
import socket
import struct
import time

MAGIC, VERSION = 0x31464648, 1
HELLO, WELCOME, REQUEST, ANSWER, REFUSED, BYE = range(1, 7)

DEFINE_SKU, DEFINE_LOCATION, DEFINE_POLICY = 0x101, 0x102, 0x103
RECEIVE, ADJUST, SET = 0x201, 0x202, 0x203
PLACE, EXTEND, SETTLE, PAYMENT_RESULT, SHIP, CANCEL = range(0x301, 0x307)
GET_ORDER, GET_CELL, GET_SKU, LIST_LOCATIONS = range(0x401, 0x405)
STATUS, DIGEST, AUDIT, FOLLOW = range(0x501, 0x505)
EXPIRE, MARK, FORGET, PURGE_LIMITS, PURGE_KEYS = range(0x601, 0x606)

FORCE, EXPECT_VERSION, SOURCE, STALE_OK = 1, 2, 4, 8
REPEATED, ASYNC, MORE, KEYED = 1, 2, 4, 8
ACTOR, REASON, REFERENCE, PAYMENT_REFERENCE, IDEMPOTENCY_KEY, TRACE_CONTEXT, NAME = range(1, 8)
CAPTURED, FAILED, REFUNDED, VOIDED = range(1, 5)

RESULTS = {
    0: 'OK', 1: 'BAD_FRAME', 2: 'BAD_CRC', 3: 'BAD_VERSION', 4: 'BAD_LENGTH', 5: 'UNKNOWN_OPCODE', 6: 'RESERVED_NOT_ZERO',
    7: 'BAD_LINE_COUNT', 8: 'BAD_QUANTITY', 9: 'BAD_EXTENSION', 10: 'BAD_ARGUMENT', 11: 'SESSION_EXPIRED', 12: 'CREDIT_OVERRUN',
    13: 'TOO_LARGE', 20: 'BUSY', 21: 'FULL', 22: 'NO_SPACE', 23: 'DRAINING', 30: 'ID_REUSED', 31: 'ID_TOO_OLD', 32: 'ID_IN_FUTURE',
    33: 'WRONG_ROUTE', 34: 'TOO_MANY', 40: 'UNKNOWN_SKU', 41: 'UNKNOWN_LOCATION', 42: 'UNKNOWN_CHANNEL', 43: 'UNKNOWN_ORDER',
    44: 'NOT_ON_SALE', 45: 'LIMIT_PER_ORDER', 46: 'LIMIT_PER_CUSTOMER', 47: 'SHORT', 48: 'STOCK_LOST', 49: 'BAD_STATE',
    50: 'STALE_VERSION', 51: 'NOT_APPLIED', 52: 'BELOW_ZERO', 53: 'OVERFLOW', 54: 'UNKNOWN_INTENT', 55: 'AMOUNT_MISMATCH',
    56: 'REFUND_DUE', 57: 'NOT_FOUND', 58: 'NOT_RETAINED', 59: 'LOG_DAMAGED',
}
TABLES = {1: '--max-skus', 2: '--max-cells', 3: '--max-orders', 4: '--max-lines', 5: '--max-command-ids', 6: '--max-limits',
          8: '--max-request-keys'}
ORDER_STATES = ('NONE', 'HELD', 'CONFIRMED', 'CLOSED', 'CANCELLED', 'EXPIRED')
PAYMENT_STATES = ('NONE', 'AUTHORISED', 'CAPTURE_PENDING', 'CAPTURED', 'FAILED', 'VOIDED', 'REFUND_DUE', 'REFUNDED', 'PARTIALLY_REFUNDED',
                  'UNKNOWN')
FULFILMENT_STATES = ('NONE', 'PARTIAL', 'SHIPPED', 'DELIVERED', 'RETURNED', 'PARTIALLY_RETURNED')

M64 = (1 << 64) - 1


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc32c(data, crc=0):
    """CRC-32C, RFC 3720 appendix B.4, continued from `crc`."""
    crc ^= 0xffffffff
    table = _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xff] ^ crc >> 8
    return crc ^ 0xffffffff


def rotl(x, bits):
    return (x << bits | x >> 64 - bits) & M64


def route(sku):
    """The low 16 bits of XXH64 (seed 0) of the SKU's 16 bytes."""
    p1, p2, p3, p4, p5 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
    h = p5 + 16
    for word in struct.unpack('<2Q', sku_bytes(sku)):
        h ^= rotl(word * p2 & M64, 31) * p1 & M64
        h = (rotl(h, 27) * p1 + p4) & M64
    h = (h ^ h >> 33) * p2 & M64
    h = (h ^ h >> 29) * p3 & M64
    return (h ^ h >> 32) & 0xffff


def sku_bytes(sku):
    raw = sku if isinstance(sku, bytes) else sku.encode('ascii')
    return raw.ljust(16, b'\0')


def make_id(of_route, ms, random=None):
    """(high, low) of a fresh id."""
    low = struct.unpack('<Q', os.urandom(8))[0] if random is None else random
    return of_route << 48 | ms & (1 << 48) - 1, low


def id_text(identity):
    return '%016x%016x' % identity


def extension(kind, text):
    raw = text if isinstance(text, bytes) else text.encode()
    item = struct.pack('<HH', kind, len(raw)) + raw
    return item + bytes(-len(item) % 8)


def line(sku, location=0, quantity=0, price=0):
    return sku_bytes(sku) + struct.pack('<IIQ', location, quantity, price)


def command(opcode, identity=(0, 0), lines=(), body=b'', arg=0, flags=0, extensions=b'', version=1, line_count=None, length=None):
    """One command's bytes; what is wrong in it is wrong on purpose."""
    raw = b''.join(lines)
    head = struct.pack('<IHBBQQHHI', 64 + len(raw) + len(extensions) if length is None else length, opcode, version, flags, *identity,
                       len(lines) if line_count is None else line_count, len(extensions), arg)
    return head + body.ljust(32, b'\0') + raw + extensions


def request_key(text):
    """The extension of a write that a client calls `text`."""
    return extension(IDEMPOTENCY_KEY, hashlib.sha256(text.encode()).digest()[:16])


def place(identity, lines, ttl_ms=900000, customer=7, channel=1, mode=0, key=None):
    """lines: (sku, location, quantity[, price])"""
    return command(PLACE, identity, [line(*one) for one in lines], struct.pack('<QIB', customer, channel, mode), ttl_ms,
                   extensions=request_key(key) if key else b'')


def verb(opcode, identity, order, arg=0, amount=0, currency=b'\0\0\0', status=0, reference=None):
    body = struct.pack('<QQq3sB', *order, amount, currency, status)
    return command(opcode, identity, (), body, arg, extensions=extension(PAYMENT_REFERENCE, reference) if reference else b'')


def settle(identity, order, amount=100, currency=b'EUR', reference='pay-1'):
    return verb(SETTLE, identity, order, amount=amount, currency=currency, reference=reference)


def stock(opcode, identity, sku, location, quantity=0, value=0, version=0, source=0, sequence=0, bucket=0, flags=0, reason=None):
    body = b'' if opcode == RECEIVE else struct.pack('<qQQQ', value, version, source, sequence)
    return command(opcode, identity, [line(sku, location, quantity)], body, bucket, flags, extension(REASON, reason) if reason else b'')


def policy(identity, sku, location=0, per_order=0, per_customer=0, window_s=0, safety_stock=0, opens_ms=0, closes_ms=0):
    body = struct.pack('<IIIIQQ', per_order, per_customer, window_s, safety_stock, opens_ms, closes_ms)
    return command(DEFINE_POLICY, identity, [line(sku, location)], body)


def get_order(order, stale_ok=False):
    return command(GET_ORDER, body=struct.pack('<QQ', *order), flags=STALE_OK if stale_ok else 0)


def get_cell(sku, location):
    return command(GET_CELL, lines=[line(sku, location)])


def frame(kind, session=0, request=0, credits=0, count=0, payload=b'', version=VERSION, magic=MAGIC, flags=0, reserved=0, crc=None,
          length=None,
          result=0, nonce=0, tag=bytes(16)):
    length = 64 + len(payload) if length is None else length
    head = lambda sum32: struct.pack('<IBBHIIQQHHHHQ', magic, version, kind, flags, length, sum32, session, request, credits, count, result,
                                     reserved, nonce) + tag
    return head(crc32c(head(0) + payload) if crc is None else crc) + payload


class Frame:
    def __init__(self, head, payload):
        (self.magic, self.version, self.kind, self.flags, self.length, self.crc, self.session, self.request, self.credits, self.count,
         self.result_code, self.reserved, self.nonce) = struct.unpack('<IBBHIIQQHHHHQ', head[:48])
        self.payload = payload
        self.result = RESULTS[self.result_code]
        assert self.magic == MAGIC and self.version == VERSION and self.flags == 0 and self.reserved == 0
        assert self.length == 64 + len(payload)
        assert crc32c(head[:12] + bytes(4) + head[16:] + payload) == self.crc, 'a frame of the engine has a wrong checksum'

    def answers(self):
        found, at = [], 0
        while at < len(self.payload):
            one = Answer(self.payload[at:])
            found.append(one)
            at += one.length
        assert len(found) == self.count
        return found


class Answer:
    def __init__(self, raw):
        (self.length, self.opcode, self.result_code, self.detail, self.flags, self.order_code, self.payment_code, self.fulfilment_code,
         self.item_count, self.position, self.version, self.due_ns, self.value) = struct.unpack('<IHHHBBBBHQQQQ', raw[:48])
        self.raw = raw[:self.length]
        self.first_id = struct.unpack('<QQ', self.raw[-16:]) if self.flags & KEYED else None  # of its request key
        self.items = raw[48:self.length - (16 if self.first_id else 0)]
        self.result = RESULTS[self.result_code]
        self.order, self.payment = ORDER_STATES[self.order_code], PAYMENT_STATES[self.payment_code]
        self.fulfilment = FULFILMENT_STATES[self.fulfilment_code]
        self.repeated = bool(self.flags & REPEATED)

    @property
    def states(self):
        return self.order, self.payment, self.fulfilment

    @property
    def table(self):
        return TABLES.get(self.detail)

    def short(self):
        """[(line, asked, available)]"""
        return [(n, asked, available) for n, _, asked, available in struct.iter_unpack('<HHIq', self.items)]

    def cell(self, at=0):
        names = ('location', 'sellable', 'damaged', 'quality_control', 'reserved', 'allocated', 'safety_stock', 'incoming', 'available',
                 'version', 'oversold')
        return dict(zip(names, struct.unpack('<I7iqQI', self.items[at + 16:at + 68])))

    def order_lines(self):
        """Of GET_ORDER: [(sku, location, quantity, price, shipped)]"""
        return [(sku.rstrip(b'\0').decode(), location, quantity, price, shipped)
                for sku, location, quantity, price, shipped, _, _ in struct.iter_unpack('<16sIIQIIQ', self.items[80:])]

    def order_money(self):
        """Of GET_ORDER: (authorised, captured, refunded)"""
        return struct.unpack('<qqq', self.items[48:72])

    def __repr__(self):
        return f'<{self.result} detail {self.detail} flags {self.flags} {self.states} version {self.version} value {self.value}>'


class Client:
    """One session on one connection; a blocking one."""

    def __init__(self, address, credits=64, session=0, hello=True, timeout_s=120):
        self.socket = socket.create_connection(address, timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.numbers = itertools.count(1)
        self.session, self.credits = session, credits
        if hello:
            self.hello()

    def hello(self):
        self.socket.sendall(frame(HELLO, self.session, credits=self.credits, payload=struct.pack('<Q24x', 4711)))
        welcome = self.receive()
        assert welcome.kind == WELCOME, (welcome.kind, welcome.result)
        self.session, self.credits = welcome.session, welcome.credits
        (engine_ns, self.partitions, self.shard_count, self.shard, self.frame_max, self.answer_max, self.retention_ms, self.term,
         self.welcome_flags, _) = struct.unpack('<QIHHIIQQII', welcome.payload[:48])
        self.ports = struct.unpack('<64H', welcome.payload[48:176])
        self.engine_ms_at_zero = engine_ns // 1000000 - time.monotonic_ns() // 1000000

    def now_ms(self):
        """Engine time, carried on by this machine's monotonic clock."""
        return self.engine_ms_at_zero + time.monotonic_ns() // 1000000

    def fresh(self, sku=None, of_route=None):
        """A new id for an order of this SKU, or of a given route."""
        return make_id(route(sku) if sku is not None else of_route or 0, self.now_ms())

    def fresh_for(self, order):
        """A new command id for an order's verb."""
        return make_id(order[0] >> 48, self.now_ms())

    def send_raw(self, raw):
        self.socket.sendall(raw)

    def send(self, *commands, request=None):
        """One REQUEST; its number."""
        number = next(self.numbers) if request is None else request
        self.send_raw(frame(REQUEST, self.session, number, count=len(commands), payload=b''.join(commands)))
        return number

    def _exactly(self, count):
        parts = b''
        while len(parts) < count:
            part = self.socket.recv(count - len(parts))
            if not part:
                raise ConnectionError('the engine closed the connection')
            parts += part
        return parts

    def receive(self):
        head = self._exactly(64)
        return Frame(head, self._exactly(struct.unpack_from('<I', head, 8)[0] - 64))

    def ask(self, *commands):
        """Answers of one frame."""
        number = self.send(*commands)
        got = self.receive()
        assert got.kind == ANSWER and got.request == number, (got.kind, got.result, got.request, number)
        return got.answers()

    def one(self, raw):
        return self.ask(raw)[0]

    def patiently(self, raw):
        """The answer, asked again under the same id while it is BUSY: nothing changed by that."""
        answer = self.one(raw)
        while answer.result == 'BUSY':
            time.sleep(0.01)
            answer = self.one(raw)
        return answer

    def define(self, sku):
        return self.patiently(command(DEFINE_SKU, self.fresh(sku), [line(sku)], extensions=extension(NAME, 'a thing')))

    def define_location(self, location):
        return self.patiently(command(DEFINE_LOCATION, self.fresh(of_route=0), arg=location, extensions=extension(NAME, 'a store')))

    def provide(self, sku, location, quantity):
        """Defines what is missing and receives `quantity`; the answer."""
        for answer in (self.define(sku), self.define_location(location)):
            assert answer.result == 'OK', answer
        answer = self.receive_stock(sku, location, quantity)
        assert answer.result == 'OK', answer
        return answer

    def receive_stock(self, sku, location, quantity):
        return self.patiently(stock(RECEIVE, self.fresh(sku), sku, location, quantity))

    def place(self, lines, identity=None, **more):
        """(id, answer) of a new order."""
        identity = identity or self.fresh(lines[0][0])
        return identity, self.one(place(identity, lines, **more))

    def verb(self, opcode, order, **more):
        return self.one(verb(opcode, more.pop('identity', None) or self.fresh_for(order), order, **more))

    def settle(self, order, **more):
        return self.one(settle(more.pop('identity', None) or self.fresh_for(order), order, **more))

    def get(self, order):
        return self.one(get_order(order))

    def cell(self, sku, location):
        return self.one(get_cell(sku, location)).cell()

    def close(self):
        self.socket.close()
