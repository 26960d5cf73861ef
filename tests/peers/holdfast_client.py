"""A client of Holdfast in Python's standard library alone, written from docs/protocol.md and nothing else.

    with connect('tcp://127.0.0.1:7420') as shop:
        held = shop.place([Line('apple', 7, quantity=2, price=199)], customer=42, ttl_ms=900000)
        if held.result == Result.OK:
            shop.settle(held.id, 398, 'EUR', reference='payment-1')

A command gives an Answer whatever came of it; its `result` says. A request that the engine refused whole raises Refused.
One Session is for one thread.
"""

import collections
import random
import select
import socket
import statistics
import struct
import time
import urllib.parse

from holdfast_wire import *  # what a caller needs of it: Line, Result, State and their like

HELLO_DATAGRAM_BYTES = 240  # the least that the engine takes
DATAGRAM_SIZES = (1472, 1448, 1232, HELLO_DATAGRAM_BYTES)  # Ethernet over IPv4, over IPv6, any path of IPv6, the least
GREETING_S = 0.02
RESEND_MAX_S = 1.0
SILENCE_S = 15.0
MEASURED_LAST = 31


# What carries frames


class StreamLink:
    """A TCP or unix connection; ConnectionError (or OSError) when it is broken."""

    def __init__(self, address, timeout_s):
        scheme, where = split_address(address)
        if scheme == 'unix':
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout_s)
            try:
                self.socket.connect(where)
            except OSError:
                self.socket.close()
                raise
        else:
            self.socket = socket.create_connection(where, timeout_s)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.incoming = bytearray()
        self.outgoing = bytearray()

    def send(self, data):
        self.outgoing += data
        self._flush()

    def _flush(self):
        try:
            while self.outgoing:
                del self.outgoing[:self.socket.send(self.outgoing)]
        except BlockingIOError:
            pass

    def _cut(self):
        """The next whole frame's bytes, or None."""
        if len(self.incoming) < HEADER_BYTES:
            return None
        magic, length = struct.unpack_from('<I4xI', self.incoming)
        if magic != MAGIC or not HEADER_BYTES <= length <= FRAME_BYTES_MAX:
            raise ProtocolError('the stream is out of step')
        if len(self.incoming) < length:
            return None
        data = bytes(self.incoming[:length])
        del self.incoming[:length]
        return data

    def receive(self, until):
        """The next frame, or None at the time `until` (time.monotonic)."""
        while (data := self._cut()) is None:
            left_s = max(0.0, until - time.monotonic())
            readable, writable, _ = select.select([self.socket], [self.socket] if self.outgoing else [], [], left_s)
            if not readable and not writable:
                return None
            if writable:
                self._flush()
            if readable:
                received = self.socket.recv(FRAME_BYTES_MAX)
                if not received:
                    raise ConnectionResetError('the engine closed the connection')
                self.incoming += received
        return unpack_frame(data)

    def close(self):
        self.socket.close()


class DatagramLink:
    """A UDP socket that knows one engine; what is no frame is as if it never came."""

    def __init__(self, address):
        family, kind, protocol, _, where = socket.getaddrinfo(*split_address(address)[1], type=socket.SOCK_DGRAM)[0]
        self.socket = socket.socket(family, kind, protocol)
        if family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, 23, 2)  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO of linux/in6.h
        else:
            self.socket.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO of linux/in.h
        self.socket.connect(where)
        self.socket.setblocking(False)

    def send(self, data):
        """Lost, like any other, when it can't be sent: a later resend decides."""
        try:
            self.socket.send(data)
        except OSError:
            pass

    def receive(self, until):
        """The next frame, or None at the time `until`."""
        while select.select([self.socket], [], [], max(0.0, until - time.monotonic()))[0]:
            try:
                return unpack_frame(self.socket.recv(FRAME_BYTES_MAX))
            except (OSError, ValueError):  # no frame, or word that nobody listens there
                continue
        return None

    def close(self):
        self.socket.close()


def split_address(address):
    """(scheme, path or (host, port))."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme == 'unix':
        return parts.scheme, address[len('unix://'):]
    if parts.scheme not in ('tcp', 'udp') or not parts.hostname or not parts.port:
        raise ValueError(f'not an address: {address}')
    return parts.scheme, (parts.hostname, parts.port)


# Sessions


class Request:
    """Commands that travel together; `answers` in their order when it is done, or `refused`."""

    def __init__(self, commands):
        self.commands = list(commands)
        self.payload = b''.join(command.bytes for command in self.commands)
        self.number = self.serial = 0
        self.frame = b''
        self.answers = None
        self.refused = None
        self.sent_at = self.resend_at = self.wait_s = 0.0
        self.resends = 0

    @property
    def done(self):
        return self.answers is not None or self.refused is not None


class Session:
    """Requests in, answers out, over whatever breaks below. Use connect()."""

    def __init__(self, address, wanted=0, first=0, client=None, timeout_s=20.0):
        """`wanted` credits, 0: as many as there are; `first`: number of the first request; `timeout_s`: the longest wait for an answer."""
        self.address = address
        self.wanted = wanted
        self.client = random.getrandbits(64) if client is None else client
        self.timeout_s = timeout_s
        self.link = None
        self.welcome = None
        self.unsent = collections.deque()
        self.waiting = {}  # by number, in order of sending
        self.reopened = 0  # times that the engine knew the session no more
        self.resumed = 0
        self._open(0, first, time.monotonic() + timeout_s)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the session for good."""
        if self.link:
            try:
                self.link.send(pack_frame(Type.BYE, self.welcome.session if self.welcome else 0))
            except OSError:
                pass
            self.link.close()
            self.link = None

    # The way of a request

    def submit(self, commands):
        """Sends them, or keeps them until a credit is free; wait() brings what came of it."""
        request = Request(commands)
        if not 1 <= len(request.commands) <= COMMANDS_MAX or HEADER_BYTES + len(request.payload) > self.welcome.frame_bytes_max or \
                len(request.payload) % 8:
            raise ValueError(f'{len(request.commands)} commands of {len(request.payload)} bytes are no request')
        self.unsent.append(request)
        self._push()
        return request

    def wait(self, request):
        """Its answers; Refused, or TimeoutError when none came in time (it goes on waiting then)."""
        deadline = time.monotonic() + self.timeout_s
        while not request.done:
            if time.monotonic() >= deadline:
                raise TimeoutError(f'no answer to request {request.number}')
            self._push()
            self._turn(deadline)
        if request.refused is not None:
            raise Refused(request.refused, request.number)
        return request.answers

    def call(self, commands):
        """Sends the commands in one frame, again while the engine is too busy to take them, and brings their answers."""
        deadline = time.monotonic() + self.timeout_s
        pause_s = GREETING_S
        while True:
            try:
                return self.wait(self.submit(commands))
            except Refused as refused:
                if refused.result != Result.BUSY or time.monotonic() + pause_s > deadline:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, RESEND_MAX_S)

    def _push(self):
        """Sends what credits allow. A slot is free when none of the waiting has it."""
        taken = {request.serial % self.welcome.credits for request in self.waiting.values()}
        while self.unsent and (self.serial + 1) % self.welcome.credits not in taken:
            self.serial += 1
            request = self.unsent.popleft()
            request.serial = self.serial
            request.number = (self.first - 1 + self.serial - 1) % U64 + 1
            request.frame = pack_frame(Type.REQUEST, self.welcome.session, request.number, request.payload, count=len(request.commands))
            request.sent_at = time.monotonic()
            request.resends = 0
            taken.add(self.serial % self.welcome.credits)
            self.waiting[request.number] = request
            self._send(request)

    def _take(self, frame):
        """An ANSWER, or a REFUSED with a number."""
        request = self.waiting.get(frame.request)
        if request is None or frame.session != self.welcome.session:
            return
        if frame.type == Type.ANSWER:
            request.answers = parse_answers(frame, request.commands)
        else:
            request.refused = Result(frame.result)
        del self.waiting[request.number]

    def _give_up(self, result):
        """A frame is not what the engine knows, and sending it again would not mend that: which one it was is not said."""
        for request in self.waiting.values():
            request.refused = result
        self.waiting = {}
        raise Refused(result, 0)

    def _begin(self, welcome, first):
        """Goes on with the same session, or takes all that is unanswered over to another, in the order it was first sent."""
        self.engine_ns_at_0 = welcome.engine_time_ns - time.monotonic_ns()
        same = self.welcome is not None and self.welcome.session == welcome.session
        if not same:
            self.reopened += self.welcome is not None
            self.first = first or 1
            self.serial = 0
            self.unsent.extendleft(reversed(self.waiting.values()))
            self.waiting = {}
        self.welcome = welcome
        if same:
            self.resumed += 1
            for request in self.waiting.values():
                self._send(request)
        self._push()

    # Ids and shards

    def now_ms(self):
        """Time of the engine."""
        return (self.engine_ns_at_0 + time.monotonic_ns()) // 1000000

    def fresh_id(self, route):
        return make_id(route, self.now_ms())

    def shard_of(self, route):
        return route % self.welcome.partitions % self.welcome.shard_count

    def address_of(self, shard):
        """Where that shard's own sessions go; this one's address if it has no port of its own."""
        scheme, where = split_address(self.address)
        port = self.welcome.ports[shard]
        if scheme == 'unix':
            base = where.removesuffix(f'.{self.welcome.shard}') if self.welcome.shard else where
            return f'unix://{base}.{shard}' if port else f'unix://{base}'
        if not port:
            return self.address
        return f'{scheme}://[{where[0]}]:{port}' if ':' in where[0] else f'{scheme}://{where[0]}:{port}'


class StreamSession(Session):
    """Over TCP or a unix socket."""

    def _open(self, session, first, deadline):
        """Connects and greets until it succeeds, first where the session is known; OSError or Refused of the last try when time is up."""
        pause_s = GREETING_S
        own = self.address_of(self.welcome.shard) if session else self.address
        while True:
            try:
                return self._greet(own, session, first, deadline)
            except (OSError, Refused) as problem:
                if self.link:
                    self.link.close()
                    self.link = None
                if isinstance(problem, Refused) and problem.result not in (Result.BUSY, Result.DRAINING):
                    raise
                if time.monotonic() + pause_s > deadline:
                    raise
            own = self.address  # an engine that started again may have other ports of its shards
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, RESEND_MAX_S)

    def _greet(self, address, session, first, deadline):
        self.link = StreamLink(address, max(0.001, deadline - time.monotonic()))
        self.link.send(pack_hello(self.client, session, self.wanted, first))
        frame = self.link.receive(deadline)
        if frame is None:
            raise TimeoutError('no answer to HELLO')
        if frame.type == Type.REFUSED:
            raise Refused(Result(frame.result), 0)
        if frame.type != Type.WELCOME:
            raise ProtocolError(f'{frame.type!r} to HELLO')
        self._begin(parse_welcome(frame), first)

    def _send(self, request):
        try:
            if self.link:
                self.link.send(request.frame)
        except OSError:
            pass  # the next turn finds the connection broken, and sends again

    def _turn(self, deadline):
        """Takes the next frame, connecting anew when the connection is gone."""
        session = self.welcome.session
        try:
            if self.link is None:
                raise ConnectionResetError('no connection')
            frame = self.link.receive(deadline)
            if frame is None:
                return
            if frame.type == Type.REFUSED and frame.result == Result.SESSION_EXPIRED:
                session = 0
            if frame.type == Type.REFUSED and frame.request == 0 and frame.result not in (Result.BAD_CRC, Result.DRAINING):
                return self._give_up(Result(frame.result))
            if frame.type == Type.BYE or frame.request == 0 or session == 0:
                raise ConnectionResetError('the engine ended the connection')
            self._take(frame)
        except OSError:
            if self.link:
                self.link.close()
            self._open(session, 0, deadline)


class DatagramSession(Session):
    """Over UDP. `datagram_bytes`: the one size to use; None: the largest that the path is found to carry."""

    def __init__(self, address, datagram_bytes=None, **more):
        self.sizes = [datagram_bytes] if datagram_bytes else list(DATAGRAM_SIZES)
        self.cookie = NO_COOKIE
        self.took_s = collections.deque(maxlen=MEASURED_LAST)  # from the first sending of a request to its answer
        self.heard_at = 0.0
        super().__init__(address, **more)

    def _open(self, session, first, deadline):
        if self.link is None:
            self.link = self._make_link()
        self.cookie = NO_COOKIE
        self._greet(session, first, deadline)

    def _make_link(self):
        return DatagramLink(self.address)

    def _greet(self, session, first, deadline):
        """HELLO without a cookie until one comes, then with it until WELCOME comes, ever more slowly."""
        wait_s = GREETING_S
        unheard = 0  # HELLOs of the size wanted
        while time.monotonic() < deadline:
            size = self.sizes[0] if self.cookie != NO_COOKIE else HELLO_DATAGRAM_BYTES
            self.link.send(pack_hello(self.client, session, self.wanted, first, self.cookie, size))
            frame = self._greeting_answer(min(deadline, time.monotonic() + wait_s))
            if frame is None:
                wait_s = min(2 * wait_s, RESEND_MAX_S)
                unheard += self.cookie != NO_COOKIE
                if unheard == 3 and len(self.sizes) > 1:
                    self.sizes.pop(0)
                    unheard, wait_s = 0, GREETING_S
            elif frame.type == Type.WELCOME:
                self.heard_at = time.monotonic()
                return self._begin(parse_welcome(frame), first)
            elif frame.type == Type.COOKIE:
                self.cookie = GREETING.unpack_from(frame.payload)[2]
                wait_s = GREETING_S
            else:
                if frame.result not in (Result.BUSY, Result.DRAINING):
                    raise Refused(Result(frame.result), 0)
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, RESEND_MAX_S)
        raise TimeoutError('no answer to HELLO')

    def _greeting_answer(self, until):
        while (frame := self.link.receive(until)) is not None:
            if frame.type in (Type.WELCOME, Type.COOKIE) or frame.type == Type.REFUSED and frame.request == 0:
                return frame
            if self.welcome is not None:
                self._take_known(frame)
        return None

    def _take_known(self, frame):
        """True if the session goes on after it."""
        if frame.session != self.welcome.session or frame.request not in self.waiting:
            return True
        if frame.type == Type.REFUSED and frame.result == Result.SESSION_EXPIRED:
            return False
        if frame.type == Type.ANSWER or frame.type == Type.REFUSED and frame.result != Result.CREDIT_OVERRUN:
            self.took_s.append(time.monotonic() - self.waiting[frame.request].sent_at)
            self._take(frame)
        return True

    def _first_wait_s(self):
        """Three times the median of what answers took, but as long at least as the engine asks for."""
        own_s = 3 * statistics.median(self.took_s) if self.took_s else 0.0
        return min(RESEND_MAX_S, max(self.welcome.resend_us / 1e6, own_s))

    def _send(self, request):
        self.link.send(request.frame)
        request.wait_s = min(RESEND_MAX_S, 2 * request.wait_s) if request.resends else self._first_wait_s()
        request.resends += 1
        request.resend_at = time.monotonic() + request.wait_s * (1 + random.random() / 8)

    def _turn(self, deadline):
        """Takes what comes until the next resend is due, and sends that."""
        frame = self.link.receive(min([deadline] + [request.resend_at for request in self.waiting.values()]))
        if frame is None:
            now = time.monotonic()
            for request in [request for request in self.waiting.values() if request.resend_at <= now]:
                self._send(request)
            return
        self.heard_at = time.monotonic()
        if frame.type == Type.COOKIE:
            self.cookie = GREETING.unpack_from(frame.payload)[2]
            self._greet(self.welcome.session, 0, deadline)
        elif not self._take_known(frame):
            self._open(0, 0, deadline)

    def keep(self):
        """To be called now and then by who may be silent for long: the engine forgets a session that it does not hear."""
        if time.monotonic() - self.heard_at >= SILENCE_S:
            self._greet(self.welcome.session, 0, time.monotonic() + self.timeout_s)


# The shop


class Shop:
    """The commands and queries, one request each. Those with `number` take an id to send again; without one they make a fresh id."""

    def __init__(self, session):
        self.session = session

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session.close()

    def run(self, command):
        return self.session.call([command])[0]

    def _write(self, opcode, route, number, **fields):
        return self.run(Command(opcode, self.session.fresh_id(route) if number is None else number, **fields))

    def define_location(self, location, name=None, number=None):
        return self._write(Op.DEFINE_LOCATION, 0, number, arg=location, extensions=pack_texts(name=name))

    def define_sku(self, sku, name=None, number=None):
        return self._write(Op.DEFINE_SKU, route_of(sku), number, lines=[Line(sku)], extensions=pack_texts(name=name))

    def define_policy(self, sku, location=0, number=None, **limits):
        """`limits`: per_order, per_customer, window_s, safety_stock, opens_ms, closes_ms."""
        names = 'per_order', 'per_customer', 'window_s', 'safety_stock', 'opens_ms', 'closes_ms'
        unknown = set(limits) - set(names)
        if unknown:
            raise TypeError(f'a policy has no {unknown}')
        body = struct.pack('<4I2Q', *(limits.get(name, 0) for name in names))
        return self._write(Op.DEFINE_POLICY, route_of(sku), number, lines=[Line(sku, location)], body=body)

    def receive(self, sku, location, quantity, bucket=Bucket.SELLABLE, number=None, **texts):
        """`texts`: actor, reason, reference and so on, as every write takes."""
        return self._write(Op.RECEIVE, route_of(sku), number, lines=[Line(sku, location, quantity)], arg=bucket,
                           extensions=pack_texts(**texts))

    def adjust(self, sku, location, delta, reason, bucket=Bucket.SELLABLE, force=False, number=None, **texts):
        return self._write(Op.ADJUST, route_of(sku), number, lines=[Line(sku, location)], arg=bucket, body=struct.pack('<q', delta),
                           extensions=pack_texts(reason=reason, **texts), flags=Flag.FORCE if force else 0)

    def set(self, sku, location, value, bucket=Bucket.SELLABLE, force=False, version=None, source=None, number=None, **texts):
        """`version`: that the cell is expected to have; `source`: (source, sequence)."""
        flags = (Flag.FORCE if force else 0) | (Flag.EXPECT_VERSION if version is not None else 0) | (Flag.SOURCE if source else 0)
        body = struct.pack('<qQQQ', value, version or 0, *(source or (0, 0)))
        return self._write(Op.SET, route_of(sku), number, lines=[Line(sku, location)], arg=bucket, body=body, flags=flags,
                           extensions=pack_texts(**texts))

    def place(self, lines, customer, ttl_ms, channel=1, number=None, **texts):
        body = struct.pack('<QIB', customer, channel, 0)
        return self._write(Op.PLACE, route_of(lines[0].sku), number, lines=lines, arg=ttl_ms, body=body, extensions=pack_texts(**texts))

    def _change(self, opcode, order, number, arg=0, body=None, **texts):
        return self._write(opcode, route_of_order(order), number, arg=arg, body=body or pack_verb(order), extensions=pack_texts(**texts))

    def extend(self, order, ttl_ms, number=None, **texts):
        return self._change(Op.EXTEND, order, number, ttl_ms, **texts)

    def settle(self, order, amount, currency, reference=None, number=None, **texts):
        return self._change(Op.SETTLE, order, number, body=pack_verb(order, amount, currency), payment_reference=reference, **texts)

    def payment_result(self, order, intent, outcome, amount, currency, number=None, **texts):
        return self._change(Op.PAYMENT_RESULT, order, number, intent, pack_verb(order, amount, currency, outcome), **texts)

    def ship(self, order, number=None, **texts):
        return self._change(Op.SHIP, order, number, **texts)

    def cancel(self, order, number=None, **texts):
        return self._change(Op.CANCEL, order, number, **texts)

    def get_order(self, order, stale=False, first_line=0):
        return self.run(Command(Op.GET_ORDER, arg=first_line, body=pack_verb(order), flags=Flag.STALE_OK if stale else 0))

    def get_cell(self, sku, location, stale=False):
        return self.run(Command(Op.GET_CELL, lines=[Line(sku, location)], flags=Flag.STALE_OK if stale else 0))

    def get_sku(self, sku, first_cell=0, stale=False):
        return self.run(Command(Op.GET_SKU, lines=[Line(sku)], arg=first_cell, flags=Flag.STALE_OK if stale else 0))

    def list_locations(self, first=0, stale=False):
        """One page; `more` of the answer says that there are others behind the last."""
        return self.run(Command(Op.LIST_LOCATIONS, arg=first, flags=Flag.STALE_OK if stale else 0))

    def status(self):
        return self.run(Command(Op.STATUS))

    def digest(self):
        return self.run(Command(Op.DIGEST))

    def audit(self):
        return self.run(Command(Op.AUDIT))

    def follow(self, position=0, most_bytes=0):
        """Durable records that end beyond `position`: Record items, and `value` of the answer is the position to ask from next."""
        if not most_bytes and isinstance(self.session, DatagramSession):
            most_bytes = self.session.welcome.answer_bytes_max - HEADER_BYTES - ANSWER.size
        return self.run(Command(Op.FOLLOW, arg=most_bytes, body=struct.pack('<Q', position)))

    # All pages of what comes in pages

    def locations(self):
        first = 0
        while True:
            page = self.list_locations(first)
            yield from page.items
            if not page.more:
                return
            first = page.items[-1].location + 1

    def cells(self, sku):
        """Of a SKU that is defined."""
        first = 0
        while True:
            page = self.get_sku(sku, first)
            yield from page.items[1:]
            if not page.more:
                return
            first += len(page.items) - 1

    def lines(self, order):
        """Of an order that is there."""
        first = 0
        while True:
            page = self.get_order(order, first_line=first)
            yield from page.items[1:]
            if not page.more:
                return
            first += len(page.items) - 1

    def records(self, position=0):
        """All that are durable now."""
        while (page := self.follow(position)).items:
            yield from page.items
            position = page.value


def connect(address, **more):
    """A Shop at tcp://HOST:PORT, unix://PATH or udp://HOST:PORT; `more` as of the session's class."""
    return Shop((DatagramSession if address.startswith('udp:') else StreamSession)(address, **more))
