"""HTTP/1.1 on the server of control/grpc, good and malformed: raw sockets, http.client and curl."""

import http.client
import socket
import subprocess

import harness

HOST = b'host: 127.0.0.1\r\n'


class Raw:
    """A socket that speaks bytes."""

    def __init__(self, server):
        self.socket = socket.create_connection(('127.0.0.1', server.port), timeout=harness.WAIT_S)
        self.bytes = b''

    def send(self, *pieces):
        for piece in pieces:
            self.socket.sendall(piece)

    def until(self, marker):
        """What came up to and with the marker."""
        while marker not in self.bytes:
            more = self.socket.recv(65536)
            if not more:
                raise AssertionError(f'closed after {self.bytes!r}')
            self.bytes += more
        at = self.bytes.index(marker) + len(marker)
        found, self.bytes = self.bytes[:at], self.bytes[at:]
        return found

    def answer(self):
        """(status, fields, body) of one answer with a content-length."""
        head = self.until(b'\r\n\r\n').decode().split('\r\n')
        fields = dict(line.split(': ', 1) for line in head[1:] if line)
        body, length = b'', int(fields['content-length'])
        while len(self.bytes) < length:
            self.bytes += self.socket.recv(65536)
        body, self.bytes = self.bytes[:length], self.bytes[length:]
        return int(head[0].split(' ')[1]), fields, body

    def rest(self):
        """All that comes until the server closes."""
        while True:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b''
            if not more:
                return self.bytes
            self.bytes += more

    def close(self):
        self.socket.close()


class Http1Test(harness.Case):
    def serve1(self, **options):
        return self.serve(http1=1, **options)

    def open(self, server):
        raw = Raw(server)
        self.addCleanup(raw.close)
        return raw

    def served(self, server):
        """The server still answers somebody else."""
        connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=harness.WAIT_S)
        connection.request('GET', '/served')
        self.assertEqual(connection.getresponse().read(), b'GET /served 0 bytes\n')
        connection.close()

    def refuses(self, server, status, *pieces):
        raw = self.open(server)
        raw.send(*pieces)
        got = raw.rest()
        self.assertTrue(got.startswith(b'HTTP/1.1 %d ' % status), (pieces, got))
        self.assertIn(b'connection: close\r\n', got)
        self.assertEqual(got.count(b'HTTP/1.1'), 1, got)

    def test_requests_follow_each_other_on_one_connection(self):
        server = self.serve1()
        connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=harness.WAIT_S)
        for number in range(20):
            connection.request('POST', f'/a{number}', body=b'x' * number)
            answer = connection.getresponse()
            self.assertEqual((answer.status, answer.version, answer.read()), (200, 11, b'POST /a%d %d bytes\n' % (number, number)))
        connection.request('GET', '/empty')
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.read(), answer.headers['content-length']), (204, b'', None))
        connection.close()
        self.assertEqual(server.counters()['http1_connections'], 1)
        server.wait_gone()

    def test_http2_and_http1_share_the_port(self):
        server = self.serve1()
        for option, version in (('--http2-prior-knowledge', '2'), ('--http1.1', '1.1'), ('--http2', '1.1'), ('--http1.0', '1.1')):
            done = subprocess.run(['curl', '-sS', option, '-w', '%{http_version}', f'http://127.0.0.1:{server.port}/x'],
                                  stdout=subprocess.PIPE, timeout=harness.WAIT_S, check=True)
            self.assertEqual(done.stdout, b'GET /x 0 bytes\n' + version.encode())

    def test_bodies_come_chunked_and_cut_anywhere(self):
        server = self.serve1()
        request = (b'POST /c HTTP/1.1\r\n' + HOST + b'transfer-encoding: chunked\r\n\r\n'
                   b'5;ext=1\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nx-trailer: 1\r\n\r\n')
        raw = self.open(server)
        for at in range(0, len(request)):
            raw.send(request[at:at + 1])
        self.assertEqual(raw.answer()[2], b'POST /c 21 bytes\n')
        raw.send(request)
        self.assertEqual(raw.answer()[2], b'POST /c 21 bytes\n')

    def test_pipelined_requests_are_answered_in_order(self):
        server = self.serve1()
        raw = self.open(server)
        raw.send(b''.join(b'GET /%d HTTP/1.1\r\n%s\r\n' % (number, HOST) for number in range(3000)))
        for number in range(3000):
            self.assertEqual(raw.answer()[2], b'GET /%d 0 bytes\n' % number)

    def test_a_client_that_has_finished_sending_gets_its_answers(self):
        server = self.serve1()
        raw = self.open(server)
        raw.send(b'GET /1 HTTP/1.1\r\n' + HOST + b'\r\nGET /2 HTTP/1.1\r\n' + HOST + b'\r\n')
        raw.socket.shutdown(socket.SHUT_WR)
        got = raw.rest()
        self.assertIn(b'GET /1 0 bytes\n', got)
        self.assertIn(b'GET /2 0 bytes\n', got)
        server.wait_gone()

    def test_continue_is_said_before_a_body_that_waits_for_it(self):
        server = self.serve1()
        raw = self.open(server)
        raw.send(b'POST /e HTTP/1.1\r\n' + HOST + b'expect: 100-continue\r\ncontent-length: 3\r\n\r\n')
        self.assertEqual(raw.until(b'\r\n\r\n'), b'HTTP/1.1 100 Continue\r\n\r\n')
        raw.send(b'abc')
        self.assertEqual(raw.answer()[2], b'POST /e 3 bytes\n')
        self.refuses(server, 417, b'POST /e HTTP/1.1\r\n' + HOST + b'expect: a-miracle\r\ncontent-length: 3\r\n\r\n')

    def test_an_old_client_is_closed_after_its_answer_unless_it_asks(self):
        server = self.serve1()
        raw = self.open(server)
        raw.send(b'GET /old HTTP/1.0\r\n\r\n')
        self.assertIn(b'connection: close', raw.rest())
        raw = self.open(server)
        raw.send(b'GET /old HTTP/1.0\r\nconnection: keep-alive\r\n\r\n')
        self.assertEqual(raw.answer()[1]['connection'], 'keep-alive')
        raw.send(b'GET http://elsewhere/whole HTTP/1.1\r\nconnection: close\r\n' + HOST + b'\r\n')
        self.assertIn(b'GET /whole 0 bytes\n', raw.rest())

    def test_what_is_malformed_or_ambiguous_ends_its_connection(self):
        server = self.serve1()
        post = b'POST /x HTTP/1.1\r\n' + HOST
        wrong = [b'NONSENSE\r\n\r\n', b'GET /x HTTP/1.1\r\n\r\n', b'GET /x HTTP/1.1\r\n' + HOST + HOST + b'\r\n',
                 b'\x16\x03\x01\x02\x00\x01',
                 b'GET x HTTP/1.1\r\n' + HOST + b'\r\n', b'CONNECT a:1 HTTP/1.1\r\n' + HOST + b'\r\n',
                 b'GET /\x01 HTTP/1.1\r\n' + HOST + b'\r\n',
                 b'GET /x HTTP/1.1\r\n' + HOST + b'a b: c\r\n\r\n', b'GET /x HTTP/1.1\r\n' + HOST + b': c\r\n\r\n',
                 b'GET /x HTTP/1.1\r\n' + HOST + b'x: a\x00b\r\n\r\n', b'GET /x HTTP/1.1\r\n' + HOST + b'x: a\rb: c\r\n\r\n',
                 b'GET /x HTTP/1.1\r\n' + HOST + b'x : a\r\n\r\n', b'GET /x HTTP/3.7\r\n' + HOST + b'\r\n',
                 post + b'content-length: 1\r\ncontent-length: 2\r\n\r\nab', post + b'content-length: -1\r\n\r\n',
                 post + b'content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n',
                 post + b'transfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n1\r\na\r\n0\r\n\r\n',
                 post + b'transfer-encoding: chunked, gzip\r\n\r\n1\r\na\r\n0\r\n\r\n',
                 post + b'content-length: 99999999999999999999\r\n\r\n',
                 post + b'transfer-encoding: chunked\r\n\r\nzz\r\n', post + b'transfer-encoding: chunked\r\n\r\n1\r\nabc\r\n',
                 b'POST /x HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n']
        for words in wrong:
            raw = self.open(server)
            raw.send(words)
            got = raw.rest()
            self.assertRegex(got, rb'^HTTP/1\.1 (400|505) ', words)
            self.assertEqual(got.count(b'HTTP/1.1'), 1, (words, got))
        self.assertEqual(server.counters()['http1_errors'], len(wrong))
        self.served(server)
        server.wait_gone()

    def test_a_head_too_large_is_refused_however_it_is_made(self):
        server = self.serve1(header_list_max=4000)
        self.refuses(server, 431, b'GET /' + b'x' * 5000 + b' HTTP/1.1\r\n')
        self.refuses(server, 431, b'GET / HTTP/1.1\r\n' + HOST + b'x: ' + b'y' * 5000)
        self.refuses(server, 431, b'GET / HTTP/1.1\r\n' + HOST + b'y' * 5000)
        self.refuses(server, 431, b'GET / HTTP/1.1\r\n' + HOST + b'a: b\r\n' * 1000)
        self.assertEqual(server.counters()['headers_too_large'], 4)
        self.served(server)

    def test_a_body_of_nothing_but_chunk_headers_is_refused(self):
        server = self.serve1(header_list_max=4000)
        head = b'POST /x HTTP/1.1\r\n' + HOST + b'transfer-encoding: chunked\r\n\r\n'
        raw = self.open(server)
        raw.send(head)
        try:
            for _ in range(100):
                raw.send(b'1;' + b'x' * 10000 + b'\r\na\r\n')
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.assertIn(b'HTTP/1.1 413 ', raw.rest())
        self.assertEqual(server.counters()['http1_errors'], 1)

    def test_slow_heads_and_bodies_are_not_waited_for(self):
        begun = b'POST / HTTP/1.1\r\n' + HOST + b'content-length: 10\r\n\r\n12'
        for timeout, sent, begins, has in (('header', b'GET / HTTP/1.1\r\nx: ', b'HTTP/1.1 408 ', b''),
                                           ('receive', begun, b'HTTP/1.1 408 ', b''), ('handshake', b'', b'', b''),
                                           ('idle', b'GET / HTTP/1.1\r\n' + HOST + b'\r\n', b'HTTP/1.1 200 ', b'GET / 0 bytes')):
            with self.subTest(timeout=timeout):
                # The others are so long that however slow the machine is they do not come first.
                limits = {f'{name}_timeout': 3600000 for name in ('header', 'receive', 'handshake', 'idle')} | {f'{timeout}_timeout': 100}
                server = self.serve1(**limits)
                raw = self.open(server)
                raw.send(sent)
                found = raw.rest()
                self.assertTrue(found.startswith(begins) and has in found, found)
                self.assertEqual(bool(found), bool(begins))
                counters = server.counters()
                self.assertEqual([counters[f'{name}_timeouts'] for name in ('header', 'receive', 'handshake', 'idle')],
                                 [int(name == timeout) for name in ('header', 'receive', 'handshake', 'idle')], counters)
                server.wait_gone()

    def test_many_slow_and_idle_connections_leave_others_served(self):
        server = self.serve1(connections_max=700)
        idle = [self.open(server) for _ in range(500)]
        for number, raw in enumerate(idle):
            raw.send((b'', b'G', b'GET / HTTP/1.1\r\nx: ', b'GET / HTTP/1.1\r\n' + HOST + b'\r\n')[number % 4])
        for _ in range(20):
            self.served(server)
        for raw in idle:
            raw.close()
        server.wait_gone()

    def test_a_connection_that_is_drained_ends_after_its_answer(self):
        server = self.serve1()
        raw = self.open(server)
        raw.send(b'GET /1 HTTP/1.1\r\n' + HOST + b'\r\n')
        raw.answer()
        server.order('drain 5000')
        self.assertEqual(raw.rest(), b'')
        server.wait_gone()

    def test_grpc_is_not_spoken_over_http1(self):
        server = self.serve1()
        raw = self.open(server)
        raw.send(b'POST /probe.v1.Probe/Echo HTTP/1.1\r\n' + HOST + b'content-type: application/grpc\r\ncontent-length: 5\r\n\r\n',
                 bytes(5))
        self.assertEqual(raw.answer()[2], b'POST /probe.v1.Probe/Echo 5 bytes\n')
        self.assertEqual(server.counters()['calls'], 0)


if __name__ == '__main__':
    harness.main()
