"""Readers of Events.Follow who take little: `slow_readers.py HOST PORT STREAMS BYTES_PER_S`, until its input ends.

Frames are made by hand (RFC 9113), so that one process with a handful of connections costs next to nothing: each stream is given window for
so many bytes a second, and what comes is counted and thrown away. Says `ready` when every stream has had its first answer, and at the end
one JSON line: bytes taken, and streams that the server ended.
"""

import json
import select
import socket
import struct
import sys
import time

STREAMS_A_CONNECTION = 100
WINDOW = 1024               # of a stream, at the beginning
ROUND_S = 0.5
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4


def frame(kind, flags, stream, payload=b''):
    return struct.pack('>I', len(payload))[1:] + struct.pack('>BBI', kind, flags, stream) + payload


def literal(name, value):
    """A field of HPACK that no table remembers (RFC 7541, 6.2.2)."""
    return b'\0' + bytes([len(name)]) + name + bytes([len(value)]) + value


def follow(stream, authority):
    """Follow from now on."""
    request = b'\x10\x02'  # FollowRequest.start = FOLLOW_START_NOW
    fields = b''.join(literal(*pair) for pair in (
        (b':method', b'POST'), (b':scheme', b'http'), (b':path', b'/holdfast.v1.Events/Follow'), (b':authority', authority),
        (b'te', b'trailers'), (b'content-type', b'application/grpc')))
    message = b'\0' + struct.pack('>I', len(request)) + request
    return frame(HEADERS, END_HEADERS, stream, fields) + frame(DATA, END_STREAM, stream, message)


class Connection:
    def __init__(self, host, port, streams):
        self.socket = socket.create_connection((host, port))
        self.streams = range(1, 2 * streams + 1, 2)
        self.taken = dict.fromkeys(self.streams, 0)
        self.ended = set()
        self.buffer = b''
        authority = f'{host}:{port}'.encode()
        self.socket.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + frame(SETTINGS, 0, 0, struct.pack('>HI', INITIAL_WINDOW_SIZE, WINDOW)) +
                            b''.join(follow(stream, authority) for stream in self.streams))

    def take(self):
        got = self.socket.recv(1 << 18)
        if not got:
            self.ended.update(self.streams)
            return
        self.buffer += got
        data, at, answer = 0, 0, b''
        while len(self.buffer) - at >= 9:
            length = int.from_bytes(self.buffer[at:at + 3], 'big')
            kind, flags, stream = struct.unpack_from('>BBI', self.buffer, at + 3)
            if len(self.buffer) - at < 9 + length:
                break
            if kind == DATA:
                data += length
                self.taken[stream] += length
            if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
                self.ended.add(stream)
            if kind == GOAWAY:
                self.ended.update(self.streams)
            if kind in (SETTINGS, PING) and not flags & ACK:
                answer += frame(kind, ACK, 0, self.buffer[at + 9:at + 9 + length] if kind == PING else b'')
            at += 9 + length
        self.buffer = self.buffer[at:]
        if data:
            answer += frame(WINDOW_UPDATE, 0, 0, struct.pack('>I', data))
        if answer:
            self.socket.sendall(answer)

    def grant(self, count):
        """Lets every stream send so many bytes more."""
        self.socket.sendall(b''.join(frame(WINDOW_UPDATE, 0, stream, struct.pack('>I', count))
                                     for stream in self.streams if stream not in self.ended))


def turn(connections, until):
    by_socket = {connection.socket: connection for connection in connections if len(connection.ended) < len(connection.streams)}
    while (left := until - time.monotonic()) > 0:
        for ready in select.select([*by_socket, sys.stdin], [], [], left)[0]:
            if ready is sys.stdin:
                return False
            by_socket[ready].take()
    return True


def main():
    host, port, streams, rate = sys.argv[1], *map(int, sys.argv[2:])
    connections = [Connection(host, port, min(STREAMS_A_CONNECTION, streams - first)) for first in range(0, streams, STREAMS_A_CONNECTION)]
    while not all(all(connection.taken.values()) for connection in connections):
        if not turn(connections, time.monotonic() + ROUND_S):
            return
    print('ready', flush=True)
    while turn(connections, time.monotonic() + ROUND_S):
        for connection in connections:
            connection.grant(int(rate * ROUND_S))
    print(json.dumps({'bytes': sum(sum(connection.taken.values()) for connection in connections),
                      'ended': sum(len(connection.ended) for connection in connections)}), flush=True)


if __name__ == '__main__':
    main()
