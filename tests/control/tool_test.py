"""Every operator command of `holdfast` does over the control socket what it does at the data port, with the same words and exit status."""

import concurrent.futures
import json
import os
import re
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'end'))

import grpc

import harness
from holdfast.v1 import admin_pb2

HOLDFAST, WAIT_S = harness.HOLDFAST, harness.WAIT_S
ID = re.compile(r'\b[0-9a-f]{32}\b')
COUNTING = ('status', 'shards', 'stalls', 'log')
# What differs from engine to engine, or from one moment to the next.
OF_THE_MOMENT = re.compile(r'position|time|digest|_ms$|seconds|_per_s|^records$')


def shape(value):
    """The names alone: numbers of a running engine never stand still."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items() if not key.startswith('le_') and key not in ('more', 'results')}
    return [shape(one) for one in value] if isinstance(value, list) else None


def masked(value, ids):
    """The value with ids by their order of appearance and without what is of the moment."""
    if isinstance(value, dict):
        return {key: '...' if OF_THE_MOMENT.search(key) else masked(one, ids) for key, one in value.items()}
    if isinstance(value, list):
        return [masked(one, ids) for one in value]
    if isinstance(value, str):
        return ID.sub(lambda found: ids.setdefault(found.group(), f'id {len(ids)}'), value)
    return value


class Way:
    """An engine of its own, and one of the two ways to it."""

    def __init__(self, test, option):
        self.engine = test.start(shards=2, data=os.path.join(test.directory, option[2:]))
        self.address = [option, self.engine.address if option == '--server' else self.engine.data]
        self.ids, self.order = {}, None

    def run(self, *words, text=False):
        """(exit status, what was printed, what was said), masked."""
        words = [self.order if word == '$ORDER' else str(word) for word in words]
        for _ in range(100):
            done = subprocess.run([HOLDFAST, *self.address, *([] if text else ['--json']), *words], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=WAIT_S, text=True, env={'PATH': os.environ['PATH']})
            if '"answers_status":0' not in done.stdout.replace(' ', ''):
                break  # no shard was late
        lines = done.stdout.splitlines()
        if text:
            return done.returncode, [line.split()[0] for line in lines], done.stderr
        objects = [json.loads(line) for line in lines]
        if words[0] in COUNTING:
            return done.returncode, shape(objects), done.stderr
        if words[:2] == ['order', 'place'] and done.returncode == 0:
            self.order = objects[0]['id']
        return done.returncode, masked(objects, self.ids), masked(done.stderr, self.ids)


class ToolTest(harness.EndTest):
    def both(self):
        return Way(self, '--server'), Way(self, '--control')

    def same(self, ways, *words, status=0, **more):
        ends = [way.run(*words, **more) for way in ways]
        self.assertEqual(ends[0], ends[1], words)
        self.assertEqual(ends[0][0], status, (words, ends))
        return ends[0][1]

    def test_every_command_says_the_same_both_ways(self):
        ways = self.both()
        rows = ''.join(f'S{number},{1 + number % 3},{number}\n' for number in range(300))
        stock = self.write('stock.csv', 'sku,location,quantity\n' + rows)
        same = lambda *words, **more: self.same(ways, *words, **more)
        same('location', 'define', 7, '--name', 'Seven')
        same('sku', 'define', 'apple', '--name', 'An apple', '--per-order', 5, '--safety-stock', 1)
        same('stock', 'receive', 'apple', 7, 20, '--reason', 'came in', '--actor', 'me')
        same('stock', 'adjust', 'apple', 7, '-2', '--reason', 'broken')
        same('stock', 'adjust', 'apple', 7, '-200', '--reason', 'broken', status=1)
        same('stock', 'set', 'apple', 7, 15, '--source', 3, '--sequence', 9)
        same('stock', 'set', 'apple', 7, 99, '--source', 3, '--sequence', 8, status=1)
        imported = same('stock', 'import', stock)
        self.assertEqual((imported[0]['applied'], imported[0]['locations_defined']), (300, 3))
        self.assertEqual(same('stock', 'import', stock)[0]['unchanged'], 300)
        same('stock', 'get', 'apple', 7)
        same('stock', 'get', 'apple', 8, status=1)
        same('sku', 'get', 'apple')
        same('location', 'list')
        same('order', 'place', 'apple:7:2:199', 'S9:1:1', '--customer', 42, '--ttl', 60000)
        same('order', 'place', 'apple:7:3', 'S9:1:100', status=1)
        same('order', 'place', 'apple:7:6', status=1)
        same('order', 'get', '$ORDER')
        same('order', 'extend', '$ORDER', '--ttl', 90000)
        same('order', 'settle', '$ORDER', '--amount', 398, '--currency', 'EUR', '--payment', 'pi_1')
        same('order', 'result', '$ORDER', '--intent', 1, '--status', 'captured', '--amount', 398, '--currency', 'EUR')
        same('order', 'ship', '$ORDER')
        same('order', 'cancel', '$ORDER', status=1)
        same('order', 'get', '0' * 31 + '1', status=1)
        same('order', 'get', 'none', status=2)
        for command in (*COUNTING, 'digest', 'audit'):
            self.assertEqual(len(same(command)), 1)
            same(command, text=command in ('log', 'digest'))
        outcomes = [[record for record in way.run('follow', '--from', 0, '--until-end')[1] if record['command'] != 'MARK'] for way in ways]
        self.assertEqual(len(outcomes[0]), len(outcomes[1]))
        self.assertGreater(len(outcomes[0]), 600)
        kinds = [sorted(json.dumps([record['command'], record['result']]) for record in way) for way in outcomes]
        self.assertEqual(kinds[0], kinds[1])
        for way in ways:
            self.assertEqual(way.engine.stop(), 0, way.engine.text())
            self.assertEqual(way.run('status')[0], 3)

    def test_drain_and_log_level_need_the_control_plane(self):
        engine = self.start('--control', 'tcp://127.0.0.1:0', f'--control=unix://{self.directory}/own')
        tcp, unix = [line['address'] for line in engine.messages() if line['msg'] == 'control listening']
        run = lambda *words: harness.run_tool(None, *words)
        self.assertEqual(run('--server', engine.address, 'drain').status, 2)
        self.assertEqual(run('--server', engine.address, 'log-level').status, 2)
        self.assertEqual(run('--control', unix, 'log-level', 'loud').status, 2)
        self.assertEqual(run('--control', unix, 'load', '--orders', '1').status, 2)
        self.assertEqual(run('--control', unix, 'log-level', 'debug').json, {'level': 'debug', 'previous': 'info'})
        self.assertEqual(run('--control', tcp, 'log-level').json, {'level': 'debug', 'previous': 'debug'})
        self.assertEqual(run('--control', tcp, 'drain').json, {'draining': True})
        self.assertEqual(engine.wait_end(), 0, engine.text())
        for address in (tcp, unix, self.directory):
            self.assertEqual(run('--control', address, 'digest').status, 3)
        for address in ('tcp://127.0.0.1', 'http://127.0.0.1:1', 'unix://', ''):
            self.assertEqual(run('--control', address, 'digest').status, 2)

    def test_what_is_no_control_plane_is_unreachable(self):
        """A listener that closes, and one that talks nonsense."""
        for words in (b'', b'HTTP/1.1 400 Bad Request\r\n\r\n', bytes(64)):
            listener = socket.create_server(('127.0.0.1', 0))
            self.addCleanup(listener.close)
            tool = subprocess.Popen([HOLDFAST, '--control', 'tcp://127.0.0.1:%u' % listener.getsockname()[1], 'status'],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            listener.settimeout(WAIT_S)
            peer, _ = listener.accept()
            peer.sendall(words)
            peer.shutdown(socket.SHUT_WR)
            _, said = tool.communicate(timeout=WAIT_S)
            peer.close()
            self.assertEqual(tool.returncode, 3, said)
            self.assertIn(b'has no answer', said)

    def test_a_refusal_without_a_results_name_is_told_from_an_answer_that_never_came(self):
        answers = [(grpc.StatusCode.RESOURCE_EXHAUSTED, 1), (grpc.StatusCode.UNIMPLEMENTED, 1), (grpc.StatusCode.UNAVAILABLE, 1),
                        (grpc.StatusCode.DEADLINE_EXCEEDED, 3), (grpc.StatusCode.CANCELLED, 3), (grpc.StatusCode.UNKNOWN, 3)]
        codes = []

        def welcome(request, context):
            return admin_pb2.WelcomeResponse(time_ms=1, partitions=1)

        def execute(request, context):
            context.abort(codes[-1], 'not here')

        methods = {name: grpc.unary_unary_rpc_method_handler(handler, request_deserializer=getattr(admin_pb2, name + 'Request').FromString,
                                                             response_serializer=getattr(admin_pb2, name + 'Response').SerializeToString)
                   for name, handler in (('Welcome', welcome), ('Execute', execute))}
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('holdfast.v1.Admin', methods),))
        port = server.add_insecure_port('127.0.0.1:0')
        server.start()
        self.addCleanup(lambda: server.stop(0).wait())
        for code, status in answers:
            codes.append(code)
            done = subprocess.run([HOLDFAST, '--control', f'tcp://127.0.0.1:{port}', 'order', 'cancel', '0' * 31 + '1'],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=WAIT_S, text=True)
            self.assertEqual(done.returncode, status, (code, done.stderr))
            self.assertIn('not here' if status == 1 else 'whether it was done is not known', done.stderr)


if __name__ == '__main__':
    harness.main()
