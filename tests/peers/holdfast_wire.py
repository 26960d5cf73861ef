"""What Holdfast's frames, commands and answers look like, from docs/protocol.md: bytes in and out, no sockets."""

import collections
import enum
import os
import struct

U64 = (1 << 64) - 1
HEADER_BYTES = 64
FRAME_BYTES_MAX = 65536
COMMANDS_MAX = 1000
MAGIC = 0x31464648
VERSION = 1
NO_COOKIE = bytes(16)

HEADER = struct.Struct('<IBBHIIQQHHHHQ16s')
GREETING = struct.Struct('<QQ16s')
WELCOME = struct.Struct('<QIHHIIQQII128s')
COMMAND = struct.Struct('<IHBBQQHHI32s')
LINE = struct.Struct('<16sIIQ')
ANSWER = struct.Struct('<IHHHBBBBHQQQq')
SHORT = struct.Struct('<HHIq')
CELL = struct.Struct('<16sI7iqQI12x')
SKU = struct.Struct('<16s4I2QII40s')
ORDER = struct.Struct('<QQQII2Q3q3sBI')
ORDER_LINE = struct.Struct('<16sIIQII8x')
LOCATION = struct.Struct('<II40s')
FIGURE = struct.Struct('<40sIIQ')
DIGEST = struct.Struct('<QQ')
AUDIT = struct.Struct('<14Q')
RECORD = struct.Struct('<QQI')  # and the rest


class Type(enum.IntEnum):
    HELLO, WELCOME, REQUEST, ANSWER, REFUSED, BYE, COOKIE = range(1, 8)


class Op(enum.IntEnum):
    DEFINE_SKU, DEFINE_LOCATION, DEFINE_POLICY = 0x0101, 0x0102, 0x0103
    RECEIVE, ADJUST, SET = 0x0201, 0x0202, 0x0203
    PLACE, EXTEND, SETTLE, PAYMENT_RESULT, SHIP, CANCEL = range(0x0301, 0x0307)
    GET_ORDER, GET_CELL, GET_SKU, LIST_LOCATIONS = range(0x0401, 0x0405)
    STATUS, DIGEST, AUDIT, FOLLOW = range(0x0501, 0x0505)


class Result(enum.IntEnum):
    OK, BAD_FRAME, BAD_CRC, BAD_VERSION, BAD_LENGTH, UNKNOWN_OPCODE, RESERVED_NOT_ZERO, BAD_LINE_COUNT = range(8)
    BAD_QUANTITY, BAD_EXTENSION, BAD_ARGUMENT, SESSION_EXPIRED, CREDIT_OVERRUN, TOO_LARGE = range(8, 14)
    BUSY, FULL, NO_SPACE, DRAINING = range(20, 24)
    ID_REUSED, ID_TOO_OLD, ID_IN_FUTURE, WRONG_ROUTE, TOO_MANY = range(30, 35)
    UNKNOWN_SKU, UNKNOWN_LOCATION, UNKNOWN_CHANNEL, UNKNOWN_ORDER, NOT_ON_SALE = range(40, 45)
    LIMIT_PER_ORDER, LIMIT_PER_CUSTOMER, SHORT, STOCK_LOST, BAD_STATE, STALE_VERSION, NOT_APPLIED = range(45, 52)
    BELOW_ZERO, OVERFLOW, UNKNOWN_INTENT, AMOUNT_MISMATCH, REFUND_DUE, NOT_FOUND, NOT_RETAINED, LOG_DAMAGED = range(52, 60)


class State(enum.IntEnum):
    NONE, HELD, CONFIRMED, CLOSED, CANCELLED, EXPIRED = range(6)


class Payment(enum.IntEnum):
    NONE, AUTHORISED, CAPTURE_PENDING, CAPTURED, FAILED, VOIDED, REFUND_DUE, REFUNDED, PARTIALLY_REFUNDED, UNKNOWN = range(10)


class Fulfilment(enum.IntEnum):
    NONE, PARTIAL, SHIPPED, DELIVERED, RETURNED, PARTIALLY_RETURNED = range(6)


class Outcome(enum.IntEnum):
    """What a payment provider said of an intent."""
    CAPTURED, FAILED, REFUNDED, VOIDED = range(1, 5)


class Extension(enum.IntEnum):
    ACTOR, REASON, REFERENCE, PAYMENT_REFERENCE, IDEMPOTENCY_KEY, TRACE_CONTEXT, NAME = range(1, 8)


class Bucket(enum.IntEnum):
    SELLABLE, DAMAGED, QUALITY_CONTROL = range(3)


class Flag(enum.IntFlag):
    """Of a command."""
    FORCE, EXPECT_VERSION, SOURCE, STALE_OK = 1, 2, 4, 8


class Mark(enum.IntFlag):
    """Of an answer."""
    REPEATED, ASYNC, MORE, KEYED = 1, 2, 4, 8


class Refused(Exception):
    """None of the request's commands ran."""

    def __init__(self, result, number):
        super().__init__(f'request {number} was refused: {result!r}')
        self.result = result
        self.number = number


class ProtocolError(ConnectionError):
    """The other side does not keep to the protocol."""


# Checksums and routes


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = _crc_table()


def crc32c(data):
    """RFC 3720, appendix B.4."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


PRIMES = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def _rotated(value, bits):
    return (value << bits | value >> 64 - bits) & U64


def xxh64(data):
    """XXH64 of exactly 16 bytes with seed 0, by the xxHash specification 0.1.1: too short for the striped part."""
    first, second, third, fourth, fifth = PRIMES
    value = fifth + len(data)
    for lane in struct.unpack('<QQ', data):
        value ^= _rotated(lane * second & U64, 31) * first & U64
        value = _rotated(value, 27) * first + fourth & U64
    value = (value ^ value >> 33) * second & U64
    value = (value ^ value >> 29) * third & U64
    return value ^ value >> 32


def sku_bytes(sku):
    """16 bytes of a text, or of bytes that are a SKU already."""
    raw = sku.encode() if isinstance(sku, str) else bytes(sku)
    if not 0 < len(raw) <= 16:
        raise ValueError(f'a SKU has 1 to 16 bytes: {sku!r}')
    return raw.ljust(16, b'\0')


def route_of(sku):
    return xxh64(sku_bytes(sku)) & 0xFFFF


def route_of_order(order):
    return order >> 112


def make_id(route, milliseconds, low=None):
    """An id as one number of 128 bits; '%032x' prints it."""
    return route << 112 | (milliseconds & (1 << 48) - 1) << 64 | (int.from_bytes(os.urandom(8), 'little') if low is None else low)


def id_text(number):
    return f'{number:032x}'


# Frames


Frame = collections.namedtuple('Frame', 'type session request credits count result payload')
Welcome = collections.namedtuple('Welcome', 'session credits engine_time_ns partitions shard_count shard frame_bytes_max answer_bytes_max '
                                            'retention_ms term flags resend_us ports')


def pack_frame(kind, session=0, request=0, payload=b'', **more):
    """`more`: credits, count, result; version, length and magic to be at fault on purpose."""
    length = more.get('length', HEADER_BYTES + len(payload))
    head = HEADER.pack(more.get('magic', MAGIC), more.get('version', VERSION), kind, 0, length, 0, session, request, more.get('credits', 0),
                       more.get('count', 0), more.get('result', 0), 0, 0, bytes(16))
    crc = crc32c(head + payload)
    return head[:12] + struct.pack('<I', crc) + head[16:] + payload


def unpack_frame(data):
    """Of one whole frame; ProtocolError if it is none."""
    if len(data) < HEADER_BYTES:
        raise ProtocolError(f'{len(data)} bytes are no frame')
    magic, version, kind, flags, length, crc, session, request, credit, count, result, reserved, nonce, tag = HEADER.unpack_from(data)
    if (magic, version, flags, length, reserved, nonce, tag) != (MAGIC, VERSION, 0, len(data), 0, 0, bytes(16)) or length % 8:
        raise ProtocolError(f'not a frame of version {VERSION}: {data[:HEADER_BYTES].hex()}')
    if crc32c(data[:12] + bytes(4) + data[16:]) != crc:
        raise ProtocolError('wrong checksum')
    return Frame(Type(kind), session, request, credit, count, result, data[HEADER_BYTES:])


def pack_hello(client, session=0, wanted=0, first=0, cookie=NO_COOKIE, size=96):
    """`size` of a datagram: zeros up to it."""
    payload = GREETING.pack(client, first, cookie)
    return pack_frame(Type.HELLO, session, payload=payload.ljust(size - HEADER_BYTES, b'\0'), credits=wanted)


def parse_welcome(frame):
    *fields, ports = WELCOME.unpack_from(frame.payload)
    return Welcome(frame.session, frame.credits, *fields, struct.unpack('<64H', ports)[:fields[2]])


# Commands


class Line(collections.namedtuple('Line', 'sku location quantity price', defaults=(0, 0, 0))):
    """What is meant by one line: a SKU, a cell, so many of it, and for how much each in minor units."""
    __slots__ = ()

    def __bytes__(self):
        return LINE.pack(sku_bytes(self.sku), self.location, self.quantity, self.price)


def pack_extension(kind, text):
    raw = text.encode() if isinstance(text, str) else text
    return (struct.pack('<HH', kind, len(raw)) + raw).ljust((4 + len(raw) + 7) // 8 * 8, b'\0')


class Command:
    """One command with the bytes that every sending of it has."""

    def __init__(self, opcode, number=0, lines=(), arg=0, body=b'', extensions=(), flags=0):
        """`number`: its id; `extensions`: (type, text) each."""
        self.opcode = opcode
        self.id = number
        lines = [bytes(line) for line in lines]
        extra = b''.join(pack_extension(kind, text) for kind, text in extensions)
        self.bytes = COMMAND.pack(COMMAND.size + LINE.size * len(lines) + len(extra), opcode, VERSION, flags, number >> 64, number & U64,
                                  len(lines), len(extra), arg, body.ljust(32, b'\0')) + b''.join(lines) + extra


def pack_texts(**given):
    return [(Extension[name.upper()], text) for name, text in given.items() if text is not None]


def pack_verb(order, amount=0, currency='', status=0):
    return struct.pack('<QQq3sB', order >> 64, order & U64, amount, currency.encode(), status)


# Answers


Short = collections.namedtuple('Short', 'line asked available')
Cell = collections.namedtuple('Cell', 'sku location sellable damaged quality_control reserved allocated safety_stock incoming available '
                                      'version oversold')
Sku = collections.namedtuple('Sku', 'sku per_order per_customer window_s safety_stock opens_ms closes_ms cells name')
Order = collections.namedtuple('Order', 'id customer channel line_count placed_ns changed_ns authorised captured refunded currency mode '
                                        'intents')
OrderLine = collections.namedtuple('OrderLine', 'sku location quantity price shipped returned')
Location = collections.namedtuple('Location', 'location name')
Figure = collections.namedtuple('Figure', 'name shard value')  # shard None: of the node
Digest = collections.namedtuple('Digest', 'digest held_ns')
Record = collections.namedtuple('Record', 'end_position term raw')  # the form of `raw` stands in docs/journal.md
Audit = collections.namedtuple('Audit', 'digest held_ns violations oversold_cells cells orders by_invariant')


def _read_short(raw):
    line, _, asked, available = SHORT.unpack(raw)
    return Short(line, asked, available)


def _read_sku(raw):
    *fields, name_bytes, name = SKU.unpack(raw)
    return Sku(*fields, name[:name_bytes].decode(errors='replace'))


def _read_order(raw):
    high, low, *fields, currency, mode, intents = ORDER.unpack(raw)
    return Order(high << 64 | low, *fields, currency.rstrip(b'\0').decode(), mode, intents)


def _read_location(raw):
    location, name_bytes, name = LOCATION.unpack(raw)
    return Location(location, name[:name_bytes].decode(errors='replace'))


def _read_figure(raw):
    name, shard, _, value = FIGURE.unpack(raw)
    return Figure(name.rstrip(b'\0').decode(), None if shard == 0xFFFFFFFF else shard, value)


def _read_audit(raw):
    fields = AUDIT.unpack(raw)
    return Audit(*fields[:6], fields[6:])


def _read_cell(raw):
    return Cell._make(CELL.unpack(raw))


# Form of the first item and of those behind it.
ITEMS = {
    Op.PLACE: ((SHORT, _read_short),) * 2,
    Op.RECEIVE: ((CELL, _read_cell),) * 2,
    Op.ADJUST: ((CELL, _read_cell),) * 2,
    Op.SET: ((CELL, _read_cell),) * 2,
    Op.GET_CELL: ((CELL, _read_cell),) * 2,
    Op.GET_SKU: ((SKU, _read_sku), (CELL, _read_cell)),
    Op.GET_ORDER: ((ORDER, _read_order), (ORDER_LINE, lambda raw: OrderLine._make(ORDER_LINE.unpack(raw)))),
    Op.LIST_LOCATIONS: ((LOCATION, _read_location),) * 2,
    Op.STATUS: ((FIGURE, _read_figure),) * 2,
    Op.DIGEST: ((DIGEST, lambda raw: Digest._make(DIGEST.unpack(raw))),) * 2,
    Op.AUDIT: ((AUDIT, _read_audit),) * 2,
}


def _read_records(raw):
    """What FOLLOW brings: records of any size, each with its own size first."""
    records = []
    offset = 0
    while offset < len(raw):
        end_position, term, length = RECORD.unpack_from(raw, offset)
        offset += 16
        if length < 4 or offset + length > len(raw):
            raise ProtocolError('a record that is longer than its answer')
        records.append(Record(end_position, term, raw[offset:offset + length]))
        offset += length
    return records


class Answer(collections.namedtuple('Answer', 'id opcode result detail flags order payment fulfilment position version due_ns value items '
                                              'raw')):
    """What came of one command; `id` is the command's, `raw` its bytes."""
    __slots__ = ()

    @property
    def item_count(self):
        return len(self.items)

    @property
    def repeated(self):
        return bool(self.flags & Mark.REPEATED)

    @property
    def more(self):
        return bool(self.flags & Mark.MORE)


def parse_answer(raw, number=0):
    """Of one whole answer to the command of this id."""
    length, opcode, result, detail, flags, order, payment, fulfilment, count, position, version, due_ns, value = ANSWER.unpack_from(raw)
    if length != len(raw):
        raise ProtocolError('an answer that is not as long as it says')
    items = []
    offset = ANSWER.size
    if opcode in ITEMS:
        while len(items) < count:
            form, read = ITEMS[opcode][min(len(items), 1)]
            items.append(read(raw[offset:offset + form.size]))
            offset += form.size
    if opcode == Op.FOLLOW:
        items = _read_records(raw[ANSWER.size:])
    return Answer(number, Op(opcode) if opcode in Op._value2member_map_ else opcode, Result(result), detail, Mark(flags), State(order),
                  Payment(payment), Fulfilment(fulfilment), position, version, due_ns, value, items, raw)


def parse_answers(frame, commands):
    answers = []
    offset = 0
    for command in commands:
        if offset + ANSWER.size > len(frame.payload):
            raise ProtocolError('fewer answers than commands')
        length = struct.unpack_from('<I', frame.payload, offset)[0]
        answers.append(parse_answer(frame.payload[offset:offset + length], command.id))
        offset += length
    if offset != len(frame.payload) or frame.count != len(commands):
        raise ProtocolError('more answers than commands')
    return answers
