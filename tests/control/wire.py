"""HTTP/2 frames made by hand, so that they can be wrong; header blocks by Debian's python3-hpack."""

import socket
import struct

import hpack

import harness

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 7, 8, 11
PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'


def frame(kind, flags=0, stream=0, payload=b''):
    return struct.pack('>I', len(payload))[1:] + struct.pack('>BBI', kind, flags, stream) + payload


def message(data, flag=0):
    """A gRPC message with its prefix."""
    return struct.pack('>BI', flag, len(data)) + data


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b''.join(struct.pack('>HI', key, value) for key, value in pairs))


class Wire:
    """One connection: sends frames, keeps what came by stream."""

    def __init__(self, server, *pairs, preface=PREFACE, hello=True):
        self.socket = socket.create_connection(('127.0.0.1', server.port), timeout=harness.WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.raw, self.frames, self.reset, self.closed = b'', [], None, False
        if hello:
            self.send(preface + settings(*pairs))

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        """False: the server has closed."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def block(self, path, *more, method='POST', kind='application/grpc'):
        fields = [(':method', method), (':scheme', 'http'), (':path', path), (':authority', 'test'), ('te', 'trailers')]
        if kind:
            fields.append(('content-type', kind))
        return self.encoder.encode(fields + list(more), huffman=False)

    def request(self, stream, path, *more, body=None, end=True, **named):
        """Headers and, with `body`, one DATA frame."""
        only = END_STREAM if end and body is None else 0
        data = frame(HEADERS, END_HEADERS | only, stream, self.block(path, *more, **named))
        if body is not None:
            data += frame(DATA, END_STREAM if end else 0, stream, body)
        return self.send(data)

    def next(self):
        """The next frame as (kind, flags, stream, payload); None when the server has closed."""
        while len(self.raw) < 9 or len(self.raw) < 9 + int.from_bytes(self.raw[:3], 'big'):
            try:
                got = self.socket.recv(65536)
            except ConnectionError:
                got = b''
            if not got:
                self.closed = True
                return None
            self.raw += got
        length = int.from_bytes(self.raw[:3], 'big')
        kind, flags, stream = struct.unpack('>BBI', self.raw[3:9])
        payload, self.raw = self.raw[9:9 + length], self.raw[9 + length:]
        if kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK))
        if kind == HEADERS:
            payload = dict(self.decoder.decode(payload))
        self.frames.append((kind, flags, stream, payload))
        return self.frames[-1]

    def until(self, kind, stream=None):
        """The next frame of that kind (and stream); None when the server closed before."""
        while True:
            found = self.next()
            if found is None or (found[0] == kind and stream in (None, found[2])):
                return found

    def answer(self, stream):
        """(header fields of head and trailers in one, data) of a stream; None if it was reset (with which code: in reset) or cut."""
        fields, data = {}, b''
        while True:
            found = self.next()
            if found is None or (found[0] == RST_STREAM and found[2] == stream):
                self.reset = found and int.from_bytes(found[3], 'big')
                return None
            if found[2] != stream:
                continue
            if found[0] == HEADERS:
                fields.update(found[3])
            elif found[0] == DATA:
                data += found[3]
            if found[0] in (HEADERS, DATA) and found[1] & END_STREAM:
                return fields, data

    def goaway(self):
        """(error, why) of the server's GOAWAY; None if it closed without one."""
        found = self.until(GOAWAY)
        return None if found is None else (int.from_bytes(found[3][4:8], 'big'), found[3][8:].decode())

    def drained(self):
        """Reads until the server closes."""
        while self.next() is not None:
            pass
        return True
