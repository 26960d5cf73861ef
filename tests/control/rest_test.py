"""A shop over REST on a real holdfastd: http.client, raw sockets, curl and python3-h2; also what no good client sends."""

import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'end'))

import h2.config
import h2.connection
import h2.events

import harness

WAIT_S = harness.WAIT_S
DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'docs', 'api.md')
EXAMPLE = re.compile(r'^(curl (?:.*\\\n)*.*)$', re.MULTILINE)
JSON = {'content-type': 'application/json'}
PLACE = {'customer': '42', 'channel': 'WEB', 'lines': [{'sku': 'apple', 'location': 1, 'quantity': 2, 'unitPrice': '199'}]}
NOWHERE = '0' * 31 + '1'


class Answer:
    """Status, fields by lower-case names, and the body, also as JSON."""

    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body
        self.json = json.loads(body) if body and 'json' in fields.get('content-type', '') else None

    def __repr__(self):
        return f'{self.status} {self.fields} {self.body[:500]!r}'


class Client:
    """HTTP/1.1 to one address; a connection for all calls."""

    def __init__(self, address):
        self.host, port = address[len('tcp://'):].rsplit(':', 1)
        self.port = int(port)
        self.connection = http.client.HTTPConnection(self.host, self.port, timeout=WAIT_S)

    def call(self, verb, path, body=None, fields=None):
        """`body` is a value for JSON, bytes as they are, or None. Comes again while the engine has no room just now, as api_test's shop."""
        fields = dict(fields or {})
        if body is not None and not isinstance(body, bytes):
            fields = {**JSON, **fields}
            body = json.dumps(body).encode()
        deadline = time.monotonic() + WAIT_S
        while True:
            self.connection.request(verb, path, body=body, headers=fields)
            answer = self.connection.getresponse()
            answer = Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
            if answer.status not in (429, 503) or answer.json.get('result') not in ('BUSY', 'NO_SPACE') or time.monotonic() > deadline:
                return answer
            time.sleep(0.01)

    def get(self, path, **fields):
        return self.call('GET', path, fields=fields)

    def post(self, path, body, **fields):
        return self.call('POST', path, body, {name.replace('_', '-'): value for name, value in fields.items()})

    def put(self, path, body, **fields):
        return self.call('PUT', path, body, {name.replace('_', '-'): value for name, value in fields.items()})

    def raw(self, *pieces, shut=False):
        """What comes until the server closes."""
        with socket.create_connection((self.host, self.port), timeout=WAIT_S) as raw:
            try:
                for piece in pieces:
                    raw.sendall(piece)
                if shut:
                    raw.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass
            got = b''
            while True:
                try:
                    more = raw.recv(65536)
                except ConnectionResetError:
                    more = b''
                if not more:
                    return got
                got += more

    def close(self):
        self.connection.close()


class RestTest(harness.EndTest):
    def begin(self, *options, stock=10, **more):
        self.engine = self.start('--control', 'tcp://127.0.0.1:0', '--control', f'unix://{self.directory}/rest', *options, **more)
        client = self.client(self.engine)
        if stock:
            self.assertEqual(client.put('/v1/skus/apple', {'name': 'An apple'}).status, 200)
            self.assertEqual(client.put('/v1/locations/1', {}).status, 200)
            self.assertEqual(client.post('/v1/skus/apple/cells/1:receive', {'quantity': stock}).status, 200)
        return client

    def setUp(self):
        super().setUp()
        self.feeds = []
        self.addCleanup(self.close_feeds)

    def close_feeds(self):
        for one in self.feeds:
            one.close()
        self.feeds = []

    def client(self, engine):
        address = [line['address'] for line in engine.messages() if line['msg'] == 'control listening'][0]
        client = Client(address)
        self.addCleanup(client.close)
        return client

    def refused(self, answer, status, result):
        """Problem details as RFC 9457 has them."""
        self.assertEqual((answer.status, answer.fields['content-type']), (status, 'application/problem+json'), answer)
        self.assertEqual((answer.json['status'], answer.json['result'], answer.json['title']), (status, result, result), answer)
        self.assertTrue(answer.json['type'].startswith('urn:holdfast:problem:'))
        return answer.json

    def counters(self, client):
        """Of the control plane, by their names on the page of metrics."""
        page = client.get('/metrics')
        self.assertEqual(page.status, 200)
        return {name: int(value) for name, value in re.findall(r'^holdfast_control_(\w+)_total (\d+)$', page.body.decode(), re.MULTILINE)}

    # ---- Each verb ----

    def test_a_shop_runs_on_json(self):
        client = self.begin()
        placed = client.post('/v1/orders', {**PLACE, 'ttlMs': 60000, 'mode': 'PLACE_MODE_ALL_OR_NOTHING'})
        self.assertEqual(placed.status, 201, placed)
        order = placed.json['id']
        self.assertEqual((placed.json['state'], placed.json['receipt']['durable']), ('ORDER_STATE_HELD', True))
        self.assertEqual((placed.fields['location'], placed.fields['etag']), (f'/v1/orders/{order}', '"1"'))
        later = client.post(f'/v1/orders/{order}:extend', {'ttlMs': 120000})
        self.assertGreater(int(later.json['holdEndsNs']), int(placed.json['holdEndsNs']))
        settled = client.post(f'/v1/orders/{order}:settle', {'amount': 398, 'currency': 'EUR', 'paymentReference': 'pi_1'})
        self.assertEqual((settled.json['state'], settled.json['intent']), ('ORDER_STATE_CONFIRMED', '1'))
        paid = client.post(f'/v1/orders/{order}:reportPayment', {'intent': 1, 'outcome': 'CAPTURED', 'amount': '398', 'currency': 'EUR'})
        self.assertEqual(paid.json['payment'], 'PAYMENT_STATE_CAPTURED')
        self.assertEqual(client.post(f'/v1/orders/{order}:ship', {}).json['fulfilment'], 'FULFILMENT_STATE_SHIPPED')
        read = client.get(f'/v1/orders/{order}')
        self.assertEqual((read.json['customer'], read.json['captured'], read.json['lines'][0]['shipped']), ('42', '398', 2))
        other = client.put(f'/v1/orders/{order[:-8]}0badcafe', {**PLACE, 'id': f'{order[:-8]}0badcafe'})
        self.assertEqual((other.status, other.json['id']), (201, f'{order[:-8]}0badcafe'))
        self.assertEqual(client.post(f"/v1/orders/{other.json['id']}:cancel", {'reason': 'no'}).json['state'], 'ORDER_STATE_CANCELLED')

    def test_stock_and_catalogue_are_kept_by_json(self):
        client = self.begin()
        self.assertEqual(client.post('/v1/skus/apple/cells/1:adjust', {'delta': '-2', 'reason': 'broken'}).json['cell']['sellable'], 8)
        self.assertEqual(client.post('/v1/skus/apple/cells/1:set', {'quantity': 5}).json['cell']['available'], '5')
        cell = client.get('/v1/skus/apple/cells/1')
        self.assertEqual((cell.json['sellable'], cell.json['oversold'], cell.fields['etag']), (5, False, f"\"{cell.json['version']}\""))
        self.assertEqual(client.put('/v1/skus/apple/policy', {'policy': {'perOrder': 1}}).status, 200)
        sku = client.get('/v1/skus/apple')
        self.assertEqual((sku.json['name'], sku.json['policy']['perOrder'], len(sku.json['cells'])), ('An apple', 1, 1))
        self.refused(client.post('/v1/orders', PLACE), 409, 'LIMIT_PER_ORDER')
        self.assertEqual(client.put('/v1/skus/a%3Ab', {}).status, 200)
        self.assertEqual(client.get('/v1/skus/a%3Ab').json['sku'], 'a:b')
        self.assertEqual(client.put('/v1/skus/%C3%A9', {}).status, 200)
        self.assertEqual(client.get('/v1/skus/%C3%A9').json['sku'], '\u00e9')

    def test_an_operator_reads_and_drains_the_engine(self):
        client = self.begin()
        self.assertGreater(len(client.get('/v1/admin/status').json['counters']), 50)
        self.assertEqual(client.get('/v1/admin/shards').json['shards'][0]['shard'], 0)
        self.assertEqual(client.get('/v1/admin/stalls').status, 200)
        self.assertEqual(client.get('/v1/admin/log').json['watermark'], '0')
        self.assertEqual(client.post('/v1/admin:audit', {}).json['violations'], '0')
        self.assertEqual(len(client.post('/v1/admin:digest', {}).json['digest']), 16)
        self.assertEqual(client.put('/v1/admin/logLevel', {'level': 'LOG_LEVEL_DEBUG'}).json['level'], 'LOG_LEVEL_DEBUG')
        self.assertEqual(client.post('/v1/admin:drain', {}).status, 200)
        self.assertEqual(self.engine.wait_end(), 0)

    def test_health_and_readiness_are_told_apart(self):
        client = self.begin(stock=0)
        self.assertEqual(client.get('/healthz').json, {'status': 'alive'})
        self.assertEqual(client.get('/readyz').json, {'status': 'ready'})
        head = client.call('HEAD', '/healthz')
        self.assertEqual((head.status, head.body, head.fields['content-length']), (200, b'', '19'))
        # As load balancers ask: HTTP/1.0 has no host.
        for path, status in (('/healthz', b'200'), ('/readyz', b'200'), ('/v1/skus/apple', b'421'), ('/metrics', b'421')):
            got = client.raw(b'GET %s HTTP/1.0\r\n\r\n' % path.encode())
            self.assertTrue(got.startswith(b'HTTP/1.1 ' + status), (path, got[:200]))
        self.refused(client.get('/healthz', host='evil.example'), 421, 'WRONG_HOST')

    def test_pages_follow_each_other_by_their_links(self):
        client = self.begin()
        for location in range(2, 301):
            self.assertEqual(client.put(f'/v1/locations/{location}', {}).status, 200)
        for location in range(2, 71):
            self.assertEqual(client.post(f'/v1/skus/apple/cells/{location}:receive', {'quantity': location}).status, 200)
        for path, name, wanted in (('/v1/locations?staleOk=false', 'locations', 300), ('/v1/skus/apple/cells?staleOk=true', 'cells', 70),
                                   ('/v1/locations?first_location=0&staleOk=false', 'locations', 300),
                                   ('/v1/skus/apple/cells?staleOk=true&%66irstCell=0', 'cells', 70)):
            found, links = [], 0
            while path:
                page = client.get(path)
                found += [row['location'] for row in page.json[name]]
                link = page.fields.get('link')
                path = re.fullmatch(r'<(.+)>; rel="next"', link).group(1) if link else None
                self.assertTrue(path is None or 'staleOk=' in path)
                links += 1
            self.assertEqual((sorted(found), links), (list(range(1, wanted + 1)), 2))

    def test_the_same_over_http2_and_over_the_unix_socket(self):
        client = self.begin()
        for options in (['--http2-prior-knowledge', f'http://127.0.0.1:{client.port}'], ['--http1.1', f'http://localhost:{client.port}'],
                        ['--unix-socket', f'{self.directory}/rest', 'http://anything'],
                        ['--http2-prior-knowledge', '--unix-socket', f'{self.directory}/rest', 'http://anything']):
            done = subprocess.run(['curl', '-sS', '-i', '-H', 'content-type: application/json', '-d', json.dumps(PLACE)] + options[:-1] +
                                  [options[-1] + '/v1/orders'], stdout=subprocess.PIPE, timeout=WAIT_S, check=True)
            self.assertRegex(done.stdout, rb'^HTTP/[0-9.]+ 201 ')
            self.assertEqual(json.loads(done.stdout.split(b'\r\n\r\n')[-1])['state'], 'ORDER_STATE_HELD')

    def test_a_large_body_that_waits_to_be_asked_for_is_asked_for(self):
        client = self.begin(stock=1000)
        body = json.dumps({'lines': [{'sku': 'apple', 'location': 1, 'quantity': 1, 'unitPrice': 1}] * 256}).encode()
        got = client.raw(b'POST /v1/orders HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nexpect: 100-continue\r\n'
                         b'content-type: application/json\r\ncontent-length: %d\r\n\r\n' % len(body), body)
        self.assertTrue(got.startswith(b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 '), got[:200])
        got = client.raw(b'POST /v1/orders HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n')
        self.assertTrue(got.startswith(b'HTTP/1.1 415 '), got[:200])

    # ---- Keys, versions, refusals ----

    def test_a_key_makes_a_write_run_once_and_another_body_is_refused(self):
        client = self.begin()
        first = client.post('/v1/orders', PLACE, Idempotency_Key='"my key"')
        again = client.post('/v1/orders', PLACE, Idempotency_Key='my key')
        self.assertEqual((first.status, again.status, again.json['id']), (201, 201, first.json['id']))
        self.assertEqual((first.json['receipt']['repeated'], again.json['receipt']['repeated']), (False, True))
        other = {**PLACE, 'customer': '43'}
        self.refused(client.post('/v1/orders', other, Idempotency_Key='my key'), 422, 'ID_REUSED')
        self.refused(client.post('/v1/orders', {**PLACE, 'requestId': 'another'}, Idempotency_Key='my key'), 400, 'CONTRADICTION')
        self.refused(client.post('/v1/orders', {**PLACE, 'requestId': None, 'request_id': 'another'}, Idempotency_Key='my key'), 400,
                     'CONTRADICTION')
        self.refused(client.post('/v1/orders', PLACE, Idempotency_Key='""'), 400, 'BAD_ARGUMENT')
        self.refused(client.post('/v1/orders', PLACE, Idempotency_Key='k' * 256), 400, 'BAD_ARGUMENT')
        received = client.post('/v1/skus/apple/cells/1:receive', {'quantity': 1}, Idempotency_Key='k' * 255)
        again = client.post('/v1/skus/apple/cells/1:receive', {'quantity': 1}, Idempotency_Key='k' * 255)
        self.assertTrue(again.json['receipt']['repeated'])
        self.assertEqual(received.json['cell']['sellable'], 11)
        self.assertEqual(client.get('/v1/skus/apple/cells/1').json['reserved'], 2)

    def test_a_put_that_is_sent_again_is_known(self):
        client = self.begin()
        order = client.post('/v1/orders', PLACE).json['id'][:-8] + '0badcafe'
        answers = [client.put(f'/v1/orders/{order}', PLACE) for _ in range(3)]
        self.assertEqual([(answer.status, answer.fields.get('location')) for answer in answers],
                         [(201, f'/v1/orders/{order}'), (200, None), (200, None)])
        self.refused(client.put(f'/v1/orders/{order}', {**PLACE, 'customer': 7}), 422, 'ID_REUSED')
        self.refused(client.put(f'/v1/orders/{order}', {**PLACE, 'id': NOWHERE}), 400, 'CONTRADICTION')

    def test_a_version_is_compared_before_a_cell_is_set(self):
        client = self.begin()
        tag = client.get('/v1/skus/apple/cells/1').fields['etag']
        for known, status in ((tag, 304), (f'"0" ,\tW/{tag}', 304), ('*', 304), ('"0"', 200), (tag[1:-1], 200), (f'"0{tag}', 200),
                              ('W/', 200)):
            self.assertEqual(client.get('/v1/skus/apple/cells/1', **{'If-None-Match': known}).status, status, known)
        done = client.post('/v1/skus/apple/cells/1:set', {'quantity': 20}, If_Match=tag)
        self.assertEqual((done.status, done.json['cell']['sellable']), (200, 20))
        self.assertNotEqual(done.fields['etag'], tag)
        self.refused(client.post('/v1/skus/apple/cells/1:set', {'quantity': 30}, If_Match=tag), 412, 'STALE_VERSION')
        self.refused(client.post('/v1/skus/apple/cells/1:set', {'quantity': 30, 'expectedVersion': {'version': 1}}), 409, 'STALE_VERSION')
        for given in ('expectedVersion', 'expected_version'):
            both = client.post('/v1/skus/apple/cells/1:set', {'quantity': 30, given: {'version': 1}}, If_Match=tag)
            self.refused(both, 400, 'CONTRADICTION')
        self.refused(client.post('/v1/skus/apple/cells/1:set', {'quantity': 30}, If_Match='*'), 400, 'BAD_ARGUMENT')
        self.refused(client.post('/v1/skus/apple/cells/1:receive', {'quantity': 30}, If_Match=tag), 400, 'BAD_ARGUMENT')
        self.assertEqual(client.get('/v1/skus/apple/cells/1', **{'If-None-Match': tag}).json['sellable'], 20)

    def test_refusals_say_what_grpc_says(self):
        client = self.begin()
        short = self.refused(client.post('/v1/orders', {'lines': [{'sku': 'apple', 'location': 1, 'quantity': 11}]}), 409, 'SHORT')
        self.assertEqual(short['shortage'], {'lines': [{'line': 0, 'asked': 11, 'available': '10'}]})
        self.assertEqual(short['metadata'], {'line': '0'})
        self.refused(client.get(f'/v1/orders/{NOWHERE}'), 404, 'UNKNOWN_ORDER')
        self.refused(client.get('/v1/skus/pear'), 404, 'UNKNOWN_SKU')
        bad = self.refused(client.post('/v1/orders', {'lines': []}), 400, 'BAD_LINE_COUNT')
        self.assertEqual(bad['violations'][0]['field'], 'lines')
        late = self.refused(client.post(f'/v1/orders/{NOWHERE}:settle', {'amount': 1, 'currency': 'EURO'}), 400, 'BAD_ARGUMENT')
        self.assertEqual(late['violations'][0]['field'], 'currency')

    def test_a_hold_lasts_as_long_as_it_was_asked_in_either_spelling(self):
        client = self.begin(stock=100)
        for extra, wanted_ms in (({}, 900000), ({'ttl': '60s'}, 60000), ({'ttl': 60000}, 60000), ({'ttl_ms': 60000}, 60000),
                                 ({'ttl': '1.5s'}, 1500)):
            placed = client.post('/v1/orders', {**PLACE, **extra}).json
            order = client.get(f"/v1/orders/{placed['id']}").json
            self.assertEqual(int(order['holdEndsNs']) - int(order['placedNs']), wanted_ms * 1000000, extra)
        for wrong in ('60', 's', '-1s', 'nans', '1h', True, [1]):
            self.refused(client.post('/v1/orders', {**PLACE, 'ttl': wrong}), 400, 'BAD_ARGUMENT')
        self.refused(client.post('/v1/orders', {**PLACE, 'ttl': 1, 'ttlMs': 1}), 400, 'CONTRADICTION')

    # ---- What no good client sends ----

    def test_fields_that_are_not_there_are_named(self):
        client = self.begin()
        for body, field in (({**PLACE, 'coupon': 'X'}, 'coupon'), ({'lines': [{'sku': 'apple', 'location': 1, 'qty': 1}]}, 'lines[0].qty'),
                            ({**PLACE, 'customer': -1}, 'customer'),
                            ({**PLACE, 'mode': 'SOME'}, 'mode'), ({**PLACE, 'lines': {}}, 'lines')):
            problem = self.refused(client.post('/v1/orders', body), 400, 'BAD_ARGUMENT')
            self.assertEqual(problem['violations'][0]['field'], field)
        self.refused(client.get('/v1/skus/apple?colour=red'), 400, 'UNKNOWN_FIELD')
        self.refused(client.get('/v1/skus/apple?staleOk=perhaps'), 400, 'BAD_ARGUMENT')
        self.refused(client.get('/v1/skus/apple?sku=pear'), 400, 'CONTRADICTION')
        line = {'sku': 'apple', 'location': 1, 'quantity': 1, 'unitPrice': '1', 'unit_price': '2'}
        twice = self.refused(client.post('/v1/orders', {'lines': [line]}), 400, 'CONTRADICTION')
        self.assertIn(twice['violations'][0]['field'], ('lines[0].unitPrice', 'lines[0].unit_price'))
        # What is at fault is named in UTF-8, however it came and wherever it is cut.
        self.refused(client.get('/v1/locations?%FF=1'), 400, 'BAD_ARGUMENT')
        self.refused(client.get('/v1/events?kinds=%C3'), 400, 'BAD_ARGUMENT')
        for shift in range(3):
            cut = self.refused(client.post('/v1/orders', {'a' * shift + '\u20ac' * 40: 1}), 400, 'BAD_ARGUMENT')
            self.assertRegex(cut['violations'][0]['field'], '^a*\u20ac{10,}$')
        # What gRPC's own fields say is for gRPC.
        self.assertEqual(client.get('/v1/skus/apple', **{'grpc-timeout': 'x', 'grpc-encoding': 'zip'}).status, 200)
        for path in ('/v1/skus/%zz', '/v1/skus/%00', '/v1/skus/%ff', '/v1/skus/apple/cells/x', '/v1/skus/apple/cells/4294967296'):
            self.refused(client.get(path), 400, 'BAD_ARGUMENT')

    def test_paths_verbs_and_types_that_are_not_there_are_told_apart(self):
        client = self.begin()
        for path in ('/', '/v1', '/v1/orders/', '/v2/orders', f'/v1/orders/{NOWHERE}:explode', '/v1/skus/apple/cells/', '//v1/orders'):
            self.refused(client.get(path), 404, 'NOT_FOUND')
        for verb, path, allow in (('DELETE', '/v1/skus/apple', 'PUT, GET, HEAD'), ('GET', '/v1/orders', 'POST'),
                                  ('POST', '/healthz', 'GET, HEAD'),
                                  ('GET', f'/v1/orders/{NOWHERE}:settle', 'POST'), ('PATCH', f'/v1/orders/{NOWHERE}', 'PUT, GET, HEAD')):
            answer = client.call(verb, path)
            self.refused(answer, 405, 'METHOD_NOT_ALLOWED')
            self.assertEqual(answer.fields['allow'], allow)
        options = client.call('OPTIONS', '/v1/orders')
        self.assertEqual((options.status, options.fields['allow']), (204, 'POST'))
        self.assertFalse([name for name in options.fields if name.startswith('access-control')])
        for kind in ('text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', 'application/jsonx', 'application/grpc'):
            self.refused(client.call('POST', '/v1/orders', b'{}', {'content-type': kind}), 415, 'WRONG_CONTENT_TYPE')
        self.refused(client.call('POST', '/v1/orders', b'{}'), 415, 'WRONG_CONTENT_TYPE')
        self.refused(client.call('POST', '/v1/orders', b'{}', {**JSON, 'content-encoding': 'gzip'}), 415, 'WRONG_CONTENT_TYPE')
        spelled = {'content-type': 'Application/JSON; charset=utf-8'}
        self.assertEqual(client.call('POST', '/v1/orders', json.dumps(PLACE).encode(), spelled).status, 201)

    def test_another_sites_page_is_turned_away(self):
        client = self.begin()
        for host in ('evil.example', f'evil.example:{client.port}', f'127.0.0.1:{client.port + 1}', f'127.0.0.2:{client.port}', '[::1]',
                     'localhost.evil.example'):
            self.refused(client.get('/v1/skus/apple', host=host), 421, 'WRONG_HOST')
        for host in (f'127.0.0.1:{client.port}', '127.0.0.1', f'localhost:{client.port}', f'LOCALHOST:{client.port}'):
            self.assertEqual(client.get('/v1/skus/apple', host=host).status, 200)
        for origin in ('http://evil.example', 'null', f'https://127.0.0.1:{client.port}', f'http://127.0.0.1:{client.port + 1}', 'file://'):
            self.refused(client.post('/v1/orders', PLACE, origin=origin), 403, 'WRONG_ORIGIN')
        same = client.post('/v1/orders', PLACE, origin=f'http://127.0.0.1:{client.port}')
        self.assertEqual((same.status, [name for name in same.fields if name.startswith('access-control')]), (201, []))
        counters = self.counters(client)
        self.assertEqual((counters['http_hosts_refused'], counters['http_origins_refused']), (6, 5))

    def test_json_that_is_malformed_deep_or_large_is_refused_and_others_are_served(self):
        client = self.begin()
        for wrong in (b'{', b'[]', b'"x"', b'{"a":1}{', b'\xff',
                      b'{"customer":"\\u0000"}', b'{"customer":1,"customer":2}', b'\xef\xbb\xbf{}'):
            self.refused(client.call('POST', '/v1/orders', wrong, JSON), 400, 'BAD_JSON')
        self.refused(client.call('POST', '/v1/orders', b'{"lines":' * 20 + b'1' + b'}' * 20, JSON), 400, 'TOO_DEEP')
        self.refused(client.call('POST', '/v1/orders', b'[' * 200000, JSON), 400, 'TOO_DEEP')
        self.refused(client.call('POST', '/v1/orders', b'{"lines":[' + b'1,' * 100000 + b'1]}', JSON), 413, 'TOO_LARGE')
        self.assertEqual(client.call('POST', '/v1/orders', b'{"lines":[' + b' ' * 200000 + b']}', JSON).status, 400)
        chunk = b'10000\r\n' + b' ' * 65536 + b'\r\n'
        for head in (b'content-length: 99999999\r\n\r\n', b'transfer-encoding: chunked\r\n\r\n' + chunk * 5):
            got = client.raw(b'POST /v1/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n' + head)
            self.assertTrue(got.startswith(b'HTTP/1.1 413 '), got[:300])
        # One byte too many, and behind it, in one read, what is no chunk: what was refused first is said whole.
        got = client.raw(b'POST /v1/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n'
                         b'transfer-encoding: chunked\r\n\r\n' + chunk * 4, b'1\r\n \r\nno chunk\r\n')
        self.assertTrue(got.startswith(b'HTTP/1.1 413 '), got[:300])
        self.assertEqual(json.loads(got.split(b'\r\n\r\n')[1])['result'], 'TOO_LARGE')
        self.assertEqual(client.get('/v1/skus/apple').status, 200)
        counters = self.counters(client)
        self.assertEqual([counters[f'http_bodies_{name}'] for name in ('malformed', 'too_deep', 'too_large')], [8, 2, 4])
        self.assertEqual(counters['http1_errors'], 1)

    def test_heads_that_are_bombs_or_never_end_are_refused_and_others_are_served(self):
        client = self.begin()
        self.assertTrue(client.raw(b'GET /v1/skus/apple HTTP/1.1\r\n' + b'x: y\r\n' * 20000).startswith(b'HTTP/1.1 431 '))
        self.assertTrue(client.raw(b'GET /' + b'x' * 100000 + b' HTTP/1.1\r\n').startswith(b'HTTP/1.1 431 '))
        self.assertTrue(client.raw(b'GET /v1/skus/apple HTTP/1.1\r\n\r\n').startswith(b'HTTP/1.1 400 '))
        smuggled = client.raw(b'POST /v1/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n'
                              b'transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n')
        self.assertEqual((smuggled[:13], smuggled.count(b'HTTP/1.1')), (b'HTTP/1.1 400 ', 1))
        self.assertEqual(client.get('/v1/skus/apple').status, 200)
        counters = self.counters(client)
        self.assertEqual((counters['headers_too_large'], counters['http1_errors']), (2, 2))

    def test_slow_and_idle_connections_are_many_and_others_are_served(self):
        client = self.begin()
        slow = []
        self.addCleanup(lambda: [raw.close() for raw in slow])
        heads = (b'', b'G', b'GET /v1/skus/apple HTTP/1.1\r\nx: ',
                 b'POST /v1/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{',
                 b'GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n')
        for number in range(400):
            slow.append(socket.create_connection((client.host, client.port), timeout=WAIT_S))
            slow[-1].sendall(heads[number % len(heads)])
        for number in range(20):
            self.assertEqual(client.post('/v1/skus/apple/cells/1:receive', {'quantity': 1}).json['cell']['sellable'], 11 + number)

    def test_http2_that_is_malformed_ends_its_connection_alone(self):
        client = self.begin()
        for headers in ([(':method', 'GET'), (':path', '/v1/skus/apple'), (':scheme', 'http')],
                        [(':method', 'GET'), (':path', '/v1/skus/apple'), (':scheme', 'http'), (':authority', 'evil.example')],
                        [(':method', 'POST'), (':path', '/v1/orders'), (':scheme', 'http'), (':authority', 'localhost'),
                         ('content-length', '99999999')]):
            self.assertIn(self.http2(client, headers), ('421', '413', None))
        good = [(':method', 'GET'), (':path', '/v1/skus/apple'), (':scheme', 'http'), (':authority', 'localhost')]
        self.assertEqual(self.http2(client, good), '200')

    def http2(self, client, headers):
        """The status of one request, None for a reset."""
        config = h2.config.H2Configuration(client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False)
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        connection.send_headers(1, headers, end_stream=dict(headers)[':method'] == 'GET')
        with socket.create_connection((client.host, client.port), timeout=WAIT_S) as raw:
            raw.sendall(connection.data_to_send())
            while True:
                data = raw.recv(65536)
                if not data:
                    return None
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.ResponseReceived):
                        return {name.decode() if isinstance(name, bytes) else name: value.decode() if isinstance(value, bytes) else value
                                for name, value in event.headers}[':status']
                    if isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                        return None
                raw.sendall(connection.data_to_send())

    # ---- Events ----

    def follow(self, client, path, count, **fields):
        """[(id, event, data)] of the first events of a feed."""
        connection = http.client.HTTPConnection(client.host, client.port, timeout=WAIT_S)
        connection.request('GET', path, headers=fields)
        answer = connection.getresponse()
        self.feeds += [answer, connection]
        self.assertEqual((answer.status, answer.headers['content-type']), (200, 'text/event-stream'))
        found, one = [], {}
        while len(found) < count:
            line = answer.readline().decode().rstrip('\n')
            if line:
                name, value = line.split(': ', 1)
                one[name] = value
            else:
                if 'data' in one:
                    found.append((one['id'], one['event'], json.loads(one['data'])))
                one = {}
        return found

    def test_events_are_followed_and_gone_on_with_after_the_last_one_seen(self):
        client = self.begin()
        placed = client.post('/v1/orders', PLACE).json
        events = self.follow(client, '/v1/events', 4)
        self.assertEqual([event for _, event, _ in events],
                         ['EVENT_KIND_SKU_DEFINED', 'EVENT_KIND_LOCATION_DEFINED', 'EVENT_KIND_RECEIVED', 'EVENT_KIND_PLACED'])
        self.assertEqual((events[3][2]['orderId'], events[3][2]['cursor']), (placed['id'], events[3][0]))
        self.assertEqual(self.follow(client, '/v1/events', 1, **{'Last-Event-ID': events[2][0]}), events[3:])
        self.assertEqual(self.follow(client, '/v1/events?kinds=EVENT_KIND_RECEIVED&kinds=PLACED', 2), events[2:])
        self.refused(client.get('/v1/events?cursor=nonsense'), 400, 'BAD_CURSOR')
        traced = client.call('POST', f"/v1/orders/{placed['id']}:cancel", {}, {'traceparent': '00-' + '1' * 32 + '-' + '2' * 16 + '-01'})
        self.assertEqual(traced.status, 200)
        cancelled = self.follow(client, '/v1/events', 1, **{'Last-Event-ID': events[3][0]})
        self.assertEqual(cancelled[0][2]['traceparent'], '00-' + '1' * 32 + '-' + '2' * 16 + '-01')

    def test_a_reader_that_hangs_up_is_noticed_without_an_event(self):
        client = self.begin()
        self.assertEqual(client.call('HEAD', '/v1/events').fields['content-type'], 'text/event-stream')
        self.follow(client, '/v1/events', 1)
        self.close_feeds()
        deadline = time.monotonic() + WAIT_S
        while b'\nholdfast_control_connections 1\n' not in client.get('/metrics').body:
            self.assertLess(time.monotonic(), deadline)

    def test_a_feed_ends_when_the_engine_does(self):
        client = self.begin()
        with socket.create_connection((client.host, client.port), timeout=WAIT_S) as raw:
            raw.sendall(b'GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n')
            got = b''
            while b'EVENT_KIND_RECEIVED' not in got:
                got += raw.recv(65536)
            ended = threading.Thread(target=lambda: self.engine.process.send_signal(signal.SIGTERM))
            ended.start()
            while True:
                more = raw.recv(65536)
                if not more:
                    break
                got += more
            ended.join()
        self.assertIn(b'event: error', got)
        self.assertEqual(self.engine.wait_end(), 0)

    def test_a_feed_that_is_not_read_ends_by_saying_so(self):
        client = self.begin('--follower-stall', '0.3', stock=1000000)
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding='utf-8'))
        connection.initiate_connection()
        connection.send_headers(1, [(':method', 'GET'), (':scheme', 'http'), (':authority', f'localhost:{client.port}'),
                                    (':path', '/v1/events')], end_stream=True)
        order = {'lines': PLACE['lines'] * 200}
        got, ended, deadline = b'', False, time.monotonic() + WAIT_S
        with socket.create_connection((client.host, client.port), timeout=WAIT_S) as raw:
            raw.sendall(connection.data_to_send())
            # What its window takes is sent, and no more.
            while self.counters(client)['events_slow_dropped'] == 0:
                self.assertLess(time.monotonic(), deadline)
                self.assertEqual(client.post('/v1/orders', order).status, 201)
            connection.increment_flow_control_window(1 << 24)
            connection.increment_flow_control_window(1 << 24, stream_id=1)
            raw.sendall(connection.data_to_send())
            while not ended:
                data = raw.recv(65536)
                self.assertTrue(data)
                for event in connection.receive_data(data):
                    got += event.data if isinstance(event, h2.events.DataReceived) else b''
                    ended |= isinstance(event, h2.events.StreamEnded)
                raw.sendall(connection.data_to_send())
        last = got.decode().split('\n\n')[-2]
        self.assertTrue(last.startswith('event: error\ndata: '), last[:200])
        said = json.loads(last.split('data: ')[1])
        self.assertEqual((said['code'], said['detail'].split(':')[0]), ('RESOURCE_EXHAUSTED', 'SLOW_READER'))

    # ---- The document ----

    def test_the_document_has_every_route_and_its_examples_hold(self):
        client = self.begin()
        document = client.get('/openapi.json')
        self.assertEqual(document.json['openapi'], '3.1.0')
        schemas = document.json['components']['schemas']
        operations = {(verb.upper(), path): operation for path, item in document.json['paths'].items() for verb, operation in item.items()}
        self.assertEqual(len({operation['operationId'] for operation in operations.values()}), len(operations))
        for (verb, path), operation in operations.items():
            self.assertLessEqual({'405', '409', '413', '415', '431'}, set(operation['responses']), (verb, path))
        for (verb, path), operation in operations.items():
            # A route of the document is one of the server: its path knows the verb, and no other than the document's.
            probe = re.sub(r'\{location\}', '1', re.sub(r'\{id\}', NOWHERE, re.sub(r'\{sku\}', 'apple', path)))
            allowed = {name.strip() for name in client.call('OPTIONS', probe).fields['allow'].split(',')} - {'HEAD'}
            self.assertEqual(allowed, {known for known, where in operations if where == path}, path)
            self.assertEqual(set(re.findall(r'\{(\w+)\}', path)), {one['name'] for one in operation['parameters'] if one['in'] == 'path'}
                             if 'parameters' in operation else set())
            content = operation.get('requestBody', {}).get('content', {}).get('application/json')
            if content:
                self.holds(content['example'], content['schema'], schemas, (verb, path))
        text = json.dumps(document.json)
        for name in re.findall(r'"#/components/schemas/(\w+)"', text):
            self.assertIn(name, schemas)

    def holds(self, value, schema, schemas, where):
        """That the value is one of the schema; of JSON Schema as much as the document uses."""
        if '$ref' in schema:
            schema = schemas[schema['$ref'].rsplit('/', 1)[1]]
        kinds = schema['type'] if isinstance(schema['type'], list) else [schema['type']]
        names = {dict: 'object', list: 'array', str: 'string', int: 'integer', bool: 'boolean', float: 'number'}
        self.assertIn(names[type(value)], kinds, (where, value, schema))
        if isinstance(value, dict):
            for name, one in value.items():
                self.assertIn(name, schema['properties'], (where, value))
                self.holds(one, schema['properties'][name], schemas, where)
        if isinstance(value, list):
            for one in value:
                self.holds(one, schema['items'], schemas, where)
        if 'enum' in schema:
            self.assertIn(value, schema['enum'], where)
        if 'pattern' in schema and isinstance(value, str):
            self.assertRegex(value, schema['pattern'], where)
        if 'minimum' in schema:
            self.assertTrue(schema['minimum'] <= value <= schema['maximum'], (where, value))

    def test_answers_hold_what_the_document_says(self):
        client = self.begin()
        document = client.get('/openapi.json').json
        placed = client.post('/v1/orders', PLACE).json
        for path, pattern in ((f"/v1/orders/{placed['id']}", '/v1/orders/{id}'), ('/v1/skus/apple', '/v1/skus/{sku}'),
                              ('/v1/skus/apple/cells/1', '/v1/skus/{sku}/cells/{location}'), ('/v1/locations', '/v1/locations'),
                              ('/v1/admin/status', '/v1/admin/status'), ('/v1/admin/log', '/v1/admin/log')):
            schema = document['paths'][pattern]['get']['responses']['200']['content']['application/json']['schema']
            self.holds(client.get(path).json, schema, document['components']['schemas'], path)

    def test_each_curl_example_of_the_documentation_runs_and_each_route_has_one(self):
        client = self.begin(stock=0)
        with open(DOCUMENT, encoding='utf-8') as document:
            examples = EXAMPLE.findall(document.read())
        orders, names, seen = iter(['$ORDER', '$SOON']), {'$CURSOR': '0-0'}, set()
        for example in examples:
            if '/v1/' not in example or 'admin:drain' in example:
                continue
            for name, value in names.items():
                example = example.replace(name, value)
            words = shlex.split(example.replace('\\\n', ' '))
            words = [word.replace('127.0.0.1:7421', f'{client.host}:{client.port}') for word in words]
            done = subprocess.run(words + ['-sS', '-w', '\n%{http_code}', '-m', '2' if '/events' in example else str(WAIT_S)],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=2 * WAIT_S, check=False)
            body, status = done.stdout.rsplit('\n', 1)
            self.assertIn(status, ('200', '201'), (example, done.stdout, done.stderr))
            if status == '201' and '-X POST' in example:
                order = json.loads(body)['id']
                names[next(orders)] = order
                # An id of one's own has the route of the first line's SKU, as any order of that SKU has.
                names['$MINE'] = order[:-8] + '0badcafe'
            seen.add((words[words.index('-X') + 1] if '-X' in words else 'GET', [word for word in words if word.startswith('http://')][0]))
        paths = client.get('/openapi.json').json['paths']
        wanted = {(verb.upper(), path) for path, item in paths.items() for verb in item if path.startswith('/v1/')}
        for verb, path in sorted(wanted - {('POST', '/v1/admin:drain')}):
            pattern = re.compile(r'http://[^/]+' + re.sub(r'\\\{\w+\\\}', '[^/:]+', re.escape(path)) + r'(\?.*)?')
            self.assertTrue([1 for known, url in seen if known == verb and pattern.fullmatch(url)], (verb, path))


if __name__ == '__main__':
    harness.main()
