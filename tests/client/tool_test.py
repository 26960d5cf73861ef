"""The holdfast tool as a person calls it: usage, reach, JSON. Arguments: the tool, and peers that answer every command with OK, over
streams and over datagrams."""

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'end'))

import protocol  # noqa: E402  (it stands in the folder beside)

TOOL, PEER, DATAGRAM_PEER = sys.argv[1:4]
ID = '0123456789abcdef0123456789abcdef'
LATENCIES = {'p50', 'p90', 'p99', 'p999', 'max'}


def call(*arguments, server=None):
    environment = dict(os.environ)
    environment.pop('HOLDFAST_SERVER', None)
    if server:
        environment['HOLDFAST_SERVER'] = server
    return subprocess.run([TOOL, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)


def free_address(test):
    """An address where nobody listens, nor can while the test runs."""
    probe = socket.socket()
    test.addCleanup(probe.close)
    probe.bind(('127.0.0.1', 0))
    return 'tcp://127.0.0.1:%d' % probe.getsockname()[1]


class Usage(unittest.TestCase):
    WRONG = f"""
        nonsense
        sku
        sku nonsense
        sku get
        sku get xxxxxxxxxxxxxxxxx
        sku get a b
        sku define a --per-order -1
        location define 0
        location define x
        stock get apple
        stock adjust apple 1 5
        stock receive apple 1 0
        stock set apple 1 5 --source 1
        stock receive apple 1 5 --bucket lost
        stock import /nonexistent.csv
        order place
        order place apple
        order place apple:0:1
        order place apple:1:0
        order get abc
        order settle {ID}
        order extend {ID}
        order cancel {ID} --what
        load
        load --rate 0
        load --rate fast --seconds 1
        load --rate 0 --orders 1 --batch 1001
        load --rate 0 --orders 1 --lines 5 --skus 4
        load --trace /nonexistent.csv
        status more
        version more
        --server nowhere status
    """

    def test_wrong_arguments_exit_with_2_and_a_sentence(self):
        for arguments in [[]] + [line.split() for line in self.WRONG.strip().splitlines()]:
            with self.subTest(arguments=arguments):
                done = call(*arguments)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertTrue(done.stderr)
                self.assertEqual(done.stdout, '')

    def test_help_goes_to_stdout_and_exits_with_0(self):
        for words in ('', 'sku', 'sku define', 'location list', 'stock import', 'order place', 'load', 'follow', 'status'):
            with self.subTest(words=words):
                done = call(*words.split(), '--help')
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn('usage:', done.stdout)

    def test_version_needs_no_server(self):
        self.assertIn('version', json.loads(call('version', '--json').stdout))


class Reach(unittest.TestCase):
    def test_nobody_listening_exits_with_3(self):
        address = free_address(self)
        for arguments in (['status'], ['digest'], ['follow'], ['sku', 'get', 'apple'], ['order', 'place', 'apple:1:1'],
                          ['load', '--rate', '0', '--orders', '1']):
            with self.subTest(arguments=arguments):
                done = call('--server', address, *arguments)
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertIn('cannot be reached', done.stderr)

    def test_the_servers_address_comes_from_the_environment_too(self):
        address = free_address(self)
        self.assertIn(address, call('status', server=address).stderr)


class AgainstPeer(unittest.TestCase):
    COMMANDS = f"""
        sku define apple --name Apple --per-order 3
        location define 7
        location list
        stock receive apple 7 5
        stock adjust apple 7 -5 --reason broken
        stock set apple 7 5 --expect-version 3
        order ship {ID}
        order extend {ID} --ttl 5
        order settle {ID} --amount 5 --currency EUR --payment p
        order result {ID} --intent 1 --status captured --amount 5 --currency EUR
        order cancel {ID}
        order get {ID}
    """

    @classmethod
    def words(cls):
        """What starts the peer."""
        return [PEER]

    @classmethod
    def setUpClass(cls):
        cls.peer = subprocess.Popen(cls.words(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cls.server = cls.peer.stdout.readline().strip()

    @classmethod
    def tearDownClass(cls):
        cls.peer.stdin.close()
        cls.peer.stdout.close()
        cls.peer.wait(timeout=30)

    def json(self, *arguments):
        done = call('--json', *arguments, server=self.server)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.count('\n'), 1)
        return json.loads(done.stdout)

    def test_commands_print_one_line_of_json(self):
        for line in self.COMMANDS.strip().splitlines():
            with self.subTest(line=line):
                self.assertEqual(self.json(*line.split())['result'], 'OK')

    def test_a_place_says_its_id(self):
        placed = self.json('order', 'place', 'apple:7:2:199', 'pear:7:1', '--customer', '9')
        self.assertRegex(placed['id'], '^[0-9a-f]{32}$')
        self.assertEqual(placed['order'], 'HELD')
        self.assertEqual(self.json('order', 'place', 'apple:7:2', '--id', ID)['id'], ID)

    def test_load_reports_every_promised_field(self):
        line = 'load --rate 0 --orders 1000 --connections 2 --batch 16 --inflight 4 --settle 10'
        report = self.json(*line.split())
        for field in 'orders granted short busy refused errors unanswered seconds orders_per_s response_us service_us'.split():
            self.assertIn(field, report)
        self.assertEqual((report['orders'], report['granted'], report['unanswered']), (1000, 1000, 0))
        self.assertEqual(set(report['response_us']), LATENCIES)
        self.assertEqual(set(report['service_us']), LATENCIES)
        values = report['response_us']
        self.assertTrue(values['p50'] <= values['p90'] <= values['p99'] <= values['p999'] <= values['max'])

    def test_load_replays_a_trace(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'trace.csv')
            with open(path, 'w', encoding='ascii') as file:
                file.write('time,order,customer,store,sku,quantity,price\n')
                for order in range(50):
                    file.write(f'{order},o{order},1,3,apple,1,100\n{order},o{order},1,3,pear,2,50\n')
            self.assertEqual(self.json('load', '--trace', path)['granted'], 50)
            self.assertEqual(self.json('load', '--trace', path, '--orders', '120', '--rate', '10000')['granted'], 120)

    def test_import_sets_every_row_and_names_bad_lines(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'stock.csv')
            for text, wanted in (('sku,location,quantity\napple,1,5\npear,1,x\n', ':3: quantity'),
                                 ('sku,location\n', 'header must be exactly'),
                                 ('sku,location,quantity\napple,1,5\napple,1,6\n', ':3: the cell stands in line 2')):
                with open(path, 'w', encoding='ascii') as file:
                    file.write(text)
                done = call('stock', 'import', path, server=self.server)
                self.assertEqual(done.returncode, 2)
                self.assertIn(wanted, done.stderr)
            with open(path, 'w', encoding='ascii') as file:
                file.write('sku,location,quantity\n' + ''.join(f's{row},{1 + row % 3},{row}\n' for row in range(5000)))
            report = self.json('stock', 'import', path)
            self.assertEqual((report['rows'], report['applied'], report['refused']), (5000, 5000, 0))


class AgainstPeerOverUnixSocket(AgainstPeer):
    @classmethod
    def words(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        return [PEER, 'unix://' + os.path.join(cls.folder.name, 'socket')]


class AgainstPeerOverDatagrams(AgainstPeer):
    @classmethod
    def words(cls):
        return [DATAGRAM_PEER]


class Liar(protocol.Client):
    """One connection's end of an engine that answers every command with what `answer(command's opcode, how many came before)` makes."""

    def __init__(self, connection, answer):
        self.socket, self.asked = connection, 0
        while True:
            try:
                got = self.receive()
            except (ConnectionError, OSError):
                return
            if got.kind == protocol.HELLO:
                payload = struct.pack('<QIHHIIQQII', time.time_ns(), 256, 1, 0, 65536, 65536, 600000, 1, 0, 0) + bytes(128)
                connection.sendall(protocol.frame(protocol.WELCOME, 1, credits=4, payload=payload))
            elif got.kind == protocol.REQUEST:
                opcode = struct.unpack_from('<H', got.payload, 4)[0]
                connection.sendall(protocol.frame(protocol.ANSWER, 1, got.request, count=1, payload=answer(opcode, self.asked)))
                self.asked += 1


def made(opcode, items=b'', flags=0, value=0):
    """An answer that says OK."""
    return struct.pack('<IHHHBBBBHQQQQ', 48 + len(items), opcode, 0, 0, flags, 0, 0, 0, 1, 1, 1, 1, value) + items


class AgainstLiar(unittest.TestCase):
    LISTS = (('order', 'get', ID), ('sku', 'get', 'apple'), ('location', 'list'))
    FIRST_ITEM = {protocol.GET_ORDER: 80, protocol.GET_SKU: 96, protocol.LIST_LOCATIONS: 0}
    ITEM = {protocol.GET_ORDER: 48, protocol.GET_SKU: 80, protocol.LIST_LOCATIONS: 48}

    def ask(self, answer, *words):
        with socket.create_server(('127.0.0.1', 0)) as listener:
            listener.settimeout(60)
            def serve():
                with listener.accept()[0] as connection:
                    Liar(connection, answer)
            thread = threading.Thread(target=serve)
            thread.start()
            done = call('--json', *words, server='tcp://127.0.0.1:%d' % listener.getsockname()[1])
            thread.join()
        return done

    def assert_refused(self, done):
        self.assertEqual((done.returncode, done.stdout), (1, ''), done.stderr)
        self.assertIn('but not where', done.stderr)

    def test_a_page_of_any_length_is_read_to_its_end(self):
        for words in self.LISTS:
            for length in (0, 8, 48, 72, 80, 96, 128, 136, 176):
                with self.subTest(words=words, length=length):
                    done = self.ask(lambda opcode, _, length=length: made(opcode, bytes(length)), *words)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertEqual(json.loads(done.stdout)['result'], 'OK')

    def test_more_behind_a_page_that_brings_nothing_is_an_error(self):
        for words in self.LISTS:
            for pages in (0, 1):
                def answer(opcode, asked, pages=pages):
                    items = bytes(self.FIRST_ITEM[opcode]) + struct.pack('<I', 1).ljust(self.ITEM[opcode], b'\0')
                    return made(opcode, items if asked < pages else b'', protocol.MORE)
                with self.subTest(words=words, pages=pages):
                    self.assert_refused(self.ask(answer, *words))

    def test_a_list_that_never_ends_is_an_error(self):
        def answer(opcode, asked):
            count = (65000 - self.FIRST_ITEM[opcode]) // self.ITEM[opcode]
            items = b''.join(struct.pack('<I', 1 + asked * count + i).ljust(self.ITEM[opcode], b'\0') for i in range(count))
            return made(opcode, bytes(self.FIRST_ITEM[opcode]) + items, protocol.MORE)
        for words in self.LISTS:
            with self.subTest(words=words):
                self.assert_refused(self.ask(answer, *words))

    def test_locations_that_come_again_or_pass_the_last_number_are_an_error(self):
        for location in (7, 0xffffffff):
            with self.subTest(location=location):
                page = made(protocol.LIST_LOCATIONS, struct.pack('<I44x', location), protocol.MORE)
                self.assert_refused(self.ask(lambda _, asked, page=page: page, 'location', 'list'))

    def test_a_status_without_an_end_is_an_error(self):
        for value in (0, 1, 1 << 32 | 1):
            with self.subTest(value=value):
                self.assert_refused(self.ask(lambda opcode, _, value=value: made(opcode, b'', protocol.MORE, value), 'status'))
        names = self.ask(lambda opcode, _: made(opcode, struct.pack('<40sIIQ', b'\xff.\xff.a', 0xffffffff, 0, 1)), 'status')
        self.assertEqual(names.returncode, 0, names.stderr)

    def test_records_that_lead_nowhere_are_an_error(self):
        done = self.ask(lambda opcode, _: made(opcode, bytes(48)), 'follow', '--until-end')
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn('end where they begin', done.stderr)


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0], '-v'])
