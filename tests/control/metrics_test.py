"""The page of metrics: what promtool and the operator's page say of it, and that it counts what happened."""

import os
import re
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'end'))

import grpc

import api_test
import harness

WAIT_S = harness.WAIT_S
DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'docs', 'operations.md')
SAMPLE = re.compile(r'^(holdfast_\w+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'(\w+)="([^"]*)"')
BOUNDED = {'shard', 'stage', 'queue', 'event', 'table', 'result', 'service', 'method', 'code', 'le', 'version'}


class Page:
    def __init__(self, text):
        self.text = text
        self.kinds = dict(re.findall(r'^# TYPE (\S+) (\S+)$', text, re.MULTILINE))
        self.helps = dict(re.findall(r'^# HELP (\S+) (.+)$', text, re.MULTILINE))
        self.samples = {}
        for line in text.splitlines():
            if line and not line.startswith('#'):
                name, labels, value = SAMPLE.match(line).groups()
                self.samples[name, frozenset(LABEL.findall(labels or ''))] = float(value)

    def sum(self, name, **labels):
        return sum(value for (of, has), value in self.samples.items() if of == name and set(labels.items()) <= has)

    def rows(self, name):
        return [dict(labels) for of, labels in self.samples if of == name]


class MetricsTest(api_test.ShopTest):
    def serve(self, **more):
        engine, shop = self.begin('--control', 'tcp://127.0.0.1:0', f'--control=unix://{self.directory}/own',
                                  target=f'unix:{self.directory}/own', **more)
        self.host = next(line['address'] for line in engine.messages() if line['msg'] == 'control listening')[len('tcp://'):]
        return engine, shop

    def page(self, *more):
        done = subprocess.run(['curl', '-sS', '--fail', '-D', '-', *more, f'http://{self.host}/metrics'], stdout=subprocess.PIPE,
                              timeout=WAIT_S, check=True)
        head, _, body = done.stdout.decode().partition('\r\n\r\n')
        self.assertIn('text/plain; version=0.0.4', head)
        return Page(body)

    def test_promtool_finds_nothing_wrong_and_every_name_is_documented(self):
        _, shop = self.serve(shards=2)
        shop.place('apple', 1)
        self.eventually(lambda: self.page().sum('holdfast_orders_placed_total') == 1, 'counting the order')
        page = self.page()
        judged = subprocess.run(['promtool', 'check', 'metrics'], input=page.text.encode(), stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=WAIT_S)
        self.assertEqual((judged.returncode, judged.stdout), (0, b''))
        with open(DOCUMENT, encoding='utf-8') as document:
            rows = re.findall(r'^\| `(holdfast_\w+)` \| (\w+) \| ([\w, ]*) \| (.+) \|$', document.read(), re.MULTILINE)
        self.assertEqual({name: kind for name, kind, _, _ in rows}, page.kinds)
        self.assertEqual({name: what for name, _, _, what in rows}, page.helps)
        used = {}
        for name, labels in page.samples:
            base = name if name in page.kinds else name.rsplit('_', 1)[0]
            used.setdefault(base, set()).update(key for key, _ in labels)
        for name, _, labels, _ in rows:
            self.assertEqual(set(filter(None, labels.split(', '))), used[name] - {'le'}, name)
        self.assertLessEqual(set().union(*used.values()), BOUNDED)

    def counted(self, placed, short):
        """A page of one look at all shards that has so many; None: not yet."""
        page = self.page()
        counts = page.sum('holdfast_orders_placed_total'), page.sum('holdfast_results_total', result='SHORT')
        return page if counts == (placed, short) and page.sum('holdfast_shard_responsive') == 2 else None

    def test_it_counts_what_happened(self):
        _, shop = self.serve(shards=2, stock=100)
        before = self.page()
        for _ in range(30):
            shop.place('apple', 1)
        with self.assertRaises(grpc.RpcError):
            shop.place('apple', 1000)
        place = {'service': 'holdfast.v1.Orders', 'method': 'PlaceOrder'}
        # Calls are counted at once, the engine's numbers come with the next look at the shards.
        page = self.eventually(lambda: self.counted(30, 1), 'counting the orders')
        self.assertEqual(page.sum('holdfast_method_calls_total', code='OK', **place), 30)
        self.assertEqual(page.sum('holdfast_method_calls_total', code='FAILED_PRECONDITION', **place), 1)
        # Not 31: a busy engine's calls come again.
        self.assertEqual(page.sum('holdfast_method_duration_seconds_count', **place), page.sum('holdfast_method_calls_total', **place))
        self.assertGreater(page.sum('holdfast_method_duration_seconds_sum', **place), 0)
        self.assertEqual(page.sum('holdfast_results_total', result='SHORT'), 1)
        self.assertEqual(page.sum('holdfast_table_rows', table='orders'), 30)
        self.assertGreater(page.sum('holdfast_log_durable_position_bytes'), before.sum('holdfast_log_durable_position_bytes'))
        self.assertGreater(page.sum('holdfast_control_calls_total'), 30)
        self.assertEqual(page.sum('holdfast_shard_responsive'), 2)

    def test_histograms_grow_to_their_count_and_lines_are_few(self):
        engine, shop = self.serve(shards=16)
        shop.place('apple', 1)
        self.eventually(lambda: self.page().sum('holdfast_orders_placed_total') == 1, 'counting the order')
        page = self.page('--http2-prior-knowledge')
        for name, kind in page.kinds.items():
            if kind != 'histogram':
                continue
            buckets = {}
            for (of, labels), value in page.samples.items():
                if of == name + '_bucket':
                    bound = float(dict(labels)['le'])
                    buckets.setdefault(frozenset(label for label in labels if label[0] != 'le'), []).append((bound, value))
            self.assertTrue(buckets, name)
            for labels, found in buckets.items():
                counts = [value for _, value in sorted(found)]
                self.assertEqual(counts, sorted(counts), (name, labels))
                self.assertEqual(sorted(found)[-1][0], float('inf'))
                self.assertEqual(counts[-1], page.samples[name + '_count', labels])
        self.assertEqual(len({row['shard'] for row in page.rows('holdfast_shard_turns_total')} |
                             {row['shard'] for row in page.rows('holdfast_shard_stall_seconds')}), 16)
        self.assertLess(len(page.samples), 5000)
        self.assertEqual(engine.stop(), 0, engine.text())

    def test_what_clients_send_never_becomes_a_label(self):
        _, shop = self.serve(stock=0)
        self.eventually(lambda: self.page().rows('holdfast_shard_stage_duration_seconds_count'), 'the shards saying their numbers')
        before = {labels for _, labels in self.page().samples}
        for number in range(50):
            with self.assertRaises(grpc.RpcError):
                shop.raw(f'/evil{number}.Service/Method"{number}', b'')
            with socket.create_connection(self.host.split(':'), timeout=WAIT_S) as peer:
                peer.sendall(f'GET /v1/skus/evil{number} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n'.encode())
                while peer.recv(65536):
                    pass
        page = self.page()
        self.assertNotIn('evil', page.text)
        self.assertLess(len({labels for _, labels in page.samples} - before), 40)
        self.assertEqual(page.sum('holdfast_method_calls_total', service='unknown', code='UNIMPLEMENTED'), 50)


if __name__ == '__main__':
    harness.main()
