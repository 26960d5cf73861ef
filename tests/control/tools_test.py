"""curl, nghttp, h2load and python3-h2 as they come from Debian."""

import re
import socket
import subprocess

import h2.config
import h2.connection
import h2.events

import harness
import probe_pb2 as pb
import wire as w


def run(*words, data=None):
    return subprocess.run(words, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=harness.WAIT_S, check=False)


class ToolsTest(harness.Case):
    def test_curl_calls_a_method(self):
        server = self.serve()
        note = w.message(pb.Note(text='from curl').SerializeToString())
        done = run('curl', '-sS', '--http2-prior-knowledge', '-H', 'content-type: application/grpc', '-H', 'te: trailers',
                   '--data-binary', '@-', '-w', '\n%{http_code} %{content_type}',
                   f'http://127.0.0.1:{server.port}/probe.v1.Probe/Echo', data=note)
        self.assertEqual(done.stdout, note + b'\n200 application/grpc')

    def test_curl_reaches_the_http_handler_by_tcp_and_by_unix_socket(self):
        path = self.directory + '/s'
        server = self.serve('tcp://127.0.0.1:0', 'unix://' + path)
        done = run('curl', '-sS', '--http2-prior-knowledge', f'http://127.0.0.1:{server.port}/a?b=c')
        self.assertEqual(done.stdout, b'GET /a?b=c 0 bytes\n')
        done = run('curl', '-sS', '--http2-prior-knowledge', '--unix-socket', path, '-d', 'x' * 50000, 'http://here/form')
        self.assertEqual(done.stdout, b'POST /form 50000 bytes\n')
        done = run('curl', '-sS', '-I', '--http2-prior-knowledge', f'http://127.0.0.1:{server.port}/empty')
        self.assertIn(b'HTTP/2 204', done.stdout)
        self.assertNotIn(b'content-length', done.stdout)
        done = run('curl', '-sS', '-I', '--http2-prior-knowledge', f'http://127.0.0.1:{server.port}/page')
        self.assertIn(b'content-length: 19', done.stdout)

    def test_nghttp_sees_a_call_with_trailers(self):
        server, path = self.serve(), self.directory + '/body'
        with open(path, 'wb') as file:
            file.write(w.message(pb.CountRequest(count=3, size=10).SerializeToString()))
        done = run('nghttp', '-v', '-H', 'content-type: application/grpc', '-H', 'te: trailers', '-d', path,
                   f'http://127.0.0.1:{server.port}/probe.v1.Probe/Count')
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout.decode(errors='replace'), r'grpc-status: 0')

    def test_h2load_gets_an_answer_to_everything(self):
        server, path = self.serve(loops=2), self.directory + '/body'
        with open(path, 'wb') as file:
            file.write(w.message(pb.Note(text='load').SerializeToString()))
        done = run('h2load', '-n', '4000', '-c', '8', '-m', '50', '-d', path, '-H', 'content-type: application/grpc', '-H', 'te: trailers',
                   f'http://127.0.0.1:{server.port}/probe.v1.Probe/Echo')
        found = re.search(r'(\d+) succeeded, (\d+) failed, (\d+) errored', done.stdout.decode())
        self.assertIsNotNone(found, done.stdout)
        self.assertEqual(found.groups(), ('4000', '0', '0'))
        self.assertEqual(server.counters()['ended_OK'], 4000)

    def test_a_taken_port_and_an_address_that_is_none_are_refused(self):
        with socket.socket() as taken:
            taken.bind(('127.0.0.1', 0))
            taken.listen()
            for address in (f'tcp://127.0.0.1:{taken.getsockname()[1]}', 'tcp://127.0.0.1', 'unix://', 'tcp://:x', 'http://127.0.0.1:0',
                            'unix://' + 'x' * 200):
                done = run(harness.PROBE_SERVER, address)
                self.assertEqual(done.returncode, 1, address)

    def test_a_socket_file_left_by_a_killed_server_is_replaced(self):
        path = self.directory + '/s'
        first = harness.Server('unix://' + path)
        first.process.kill()
        first.process.wait(harness.WAIT_S)
        first.stop()
        self.serve('unix://' + path)
        self.assertEqual(run('curl', '-sS', '--http2-prior-knowledge', '--unix-socket', path, 'http://here/x').stdout, b'GET /x 0 bytes\n')
        self.assertEqual(run(harness.PROBE_SERVER, 'unix://' + path).returncode, 1)

    def test_h2_agrees_with_every_frame(self):
        server = self.serve()
        with socket.create_connection(('127.0.0.1', server.port), timeout=harness.WAIT_S) as link:
            peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding='utf-8'))
            peer.initiate_connection()
            headers = [(':method', 'POST'), (':scheme', 'http'), (':path', '/probe.v1.Probe/Count'), (':authority', 'x'),
                       ('te', 'trailers'), ('content-type', 'application/grpc')]
            peer.send_headers(1, headers)
            peer.send_data(1, w.message(pb.CountRequest(count=50, size=5000).SerializeToString()), end_stream=True)
            link.sendall(peer.data_to_send())
            total, trailers, ended = 0, {}, False
            while not ended:
                for event in peer.receive_data(link.recv(65536)):
                    if isinstance(event, h2.events.DataReceived):
                        total += len(event.data)
                        peer.acknowledge_received_data(event.flow_controlled_length, 1)
                    elif isinstance(event, h2.events.TrailersReceived):
                        trailers = dict(event.headers)
                    ended = ended or isinstance(event, h2.events.StreamEnded)
                link.sendall(peer.data_to_send())
            self.assertEqual((total, trailers['grpc-status']), (50 * (5000 + 5 + 3), '0'))


if __name__ == '__main__':
    harness.main()
