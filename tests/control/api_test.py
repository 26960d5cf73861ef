"""grpcio runs a shop on a real holdfastd: the services of holdfast.v1 over the control socket and over TCP."""

import os
import re
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'end'))

import grpc
from google.protobuf import json_format

import harness
import messages
from holdfast.v1 import admin_pb2, catalog_pb2, common_pb2, inventory_pb2, orders_pb2

WAIT_S = harness.WAIT_S
DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'docs', 'api.md')
EXAMPLE = re.compile(r"^grpcurl -plaintext -d '(.+)'(?: \\\n   )? 127.0.0.1:7421 holdfast\.v1\.(?!Events/)(\w+)/(\w+)$", re.MULTILINE)
SERVICES = {
    'Catalog': (catalog_pb2, {'PutSku': 'CatalogReceipt', 'DefineLocation': 'CatalogReceipt', 'SetPolicy': 'CatalogReceipt',
                              'GetSku': 'Sku', 'ListLocations': 'ListLocationsResponse'}),
    'Inventory': (inventory_pb2, {'Receive': 'CellReceipt', 'Adjust': 'CellReceipt', 'Set': 'CellReceipt', 'GetCell': 'Cell'}),
    'Orders': (orders_pb2, {'PlaceOrder': 'OrderReceipt', 'GetOrder': 'Order', 'SettleOrder': 'OrderReceipt', 'CancelOrder': 'OrderReceipt',
                            'ExtendOrder': 'OrderReceipt', 'ShipOrder': 'OrderReceipt', 'ReportPayment': 'OrderReceipt'}),
    'Admin': (admin_pb2, {method: method + 'Response' for method in ('Status', 'Shards', 'Stalls', 'Log', 'Digest', 'Audit', 'Drain',
                                                                     'SetLogLevel', 'Welcome', 'Execute')}),
}


def patient(call):
    """Comes again while the engine has no room just now: its log's disk may be late on a busy machine."""
    def again(*arguments, **fields):
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                return call(*arguments, **fields)
            except grpc.RpcError as error:
                if error.details() not in ('BUSY', 'NO_SPACE') or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
    return again


class Shop:
    """Every method of every service, called with its fields: shop.place_order(...) and so on by their names; patient()."""

    def __init__(self, target):
        # Channels of one target share their connections: one to an engine that has stopped would fail the next one's first call.
        self.channel = grpc.insecure_channel(target, options=[('grpc.use_local_subchannel_pool', 1)])
        for service, (module, methods) in SERVICES.items():
            for method, answer in methods.items():
                setattr(self, method, self._method(f'/holdfast.v1.{service}/{method}', getattr(module, method + 'Request'),
                                                   getattr(module, answer)))

    def _method(self, path, request, answer):
        call = self.channel.unary_unary(path, request_serializer=request.SerializeToString, response_deserializer=answer.FromString)
        return patient(lambda timeout=WAIT_S, **fields: call(request(**fields), timeout=timeout))

    def raw(self, path, body):
        return self.channel.unary_unary(path)(body, timeout=WAIT_S)

    def place(self, sku, quantity, order='', **fields):
        line = orders_pb2.OrderLine(sku=sku, location=1, quantity=quantity, unit_price=199)
        return self.PlaceOrder(id=order, customer=1, channel='WEB', lines=[line], **fields)


class ShopTest(harness.EndTest):
    def begin(self, *options, target=None, stock=10, **more):
        engine = self.start(*options, **more)
        shop = self.shop(engine, target)
        if stock:
            shop.PutSku(sku='apple', name='An apple')
            shop.DefineLocation(location=1, name='Here')
            shop.Receive(sku='apple', location=1, quantity=stock)
        return engine, shop

    def shop(self, engine, target=None):
        shop = Shop(target or f'unix:{engine.data}/control.sock')
        self.addCleanup(shop.channel.close)
        return shop

    def refused(self, code, name, call, /, *arguments, **fields):
        """The details of a refusal with this gRPC status and this name of Holdfast's, as {type: message}."""
        with self.assertRaises(grpc.RpcError) as caught:
            call(*arguments, **fields)
        error = caught.exception
        self.assertEqual(error.code(), code, error.details())
        packed = [value for key, value in error.trailing_metadata() if key == 'grpc-status-details-bin']
        self.assertEqual(len(packed), 1, error)
        details = {one.type_url.split('.')[-1]: one.value for one in messages.Status.FromString(packed[0]).details}
        info = messages.ErrorInfo.FromString(details['ErrorInfo'])
        self.assertEqual((info.reason, info.domain), (name, 'holdfast'))
        details['pairs'] = {pair.key: pair.value for pair in info.metadata}
        return details


class ApiTest(ShopTest):
    def test_a_shop_places_settles_ships_and_reads_an_order(self):
        _, shop = self.begin()
        placed = shop.place('apple', 2, ttl_ms=60000)
        self.assertEqual((placed.state, placed.receipt.durable, placed.receipt.repeated), (orders_pb2.ORDER_STATE_HELD, True, False))
        self.assertEqual(placed.receipt.id, placed.id)
        self.assertGreater(shop.ExtendOrder(id=placed.id, ttl_ms=120000).hold_ends_ns, placed.hold_ends_ns)
        settled = shop.SettleOrder(id=placed.id, amount=398, currency='EUR', payment_reference='pi_1')
        self.assertEqual((settled.state, settled.payment), (orders_pb2.ORDER_STATE_CONFIRMED, orders_pb2.PAYMENT_STATE_CAPTURE_PENDING))
        self.assertEqual(settled.intent, 1)
        captured = shop.ReportPayment(id=placed.id, intent=1, outcome='PAYMENT_OUTCOME_CAPTURED', amount=398, currency='EUR')
        self.assertEqual(captured.payment, orders_pb2.PAYMENT_STATE_CAPTURED)
        self.assertEqual(shop.ShipOrder(id=placed.id).fulfilment, orders_pb2.FULFILMENT_STATE_SHIPPED)
        order = shop.GetOrder(id=placed.id)
        self.assertEqual((order.id, order.customer, order.channel, order.currency, order.captured), (placed.id, 1, 'WEB', 'EUR', 398))
        self.assertEqual([(line.sku, line.location, line.quantity, line.unit_price, line.shipped) for line in order.lines],
                         [('apple', 1, 2, 199, 2)])

    def test_a_cancelled_order_gives_its_stock_back(self):
        _, shop = self.begin()
        placed = shop.place('apple', 10)
        self.assertEqual(shop.GetCell(sku='apple', location=1).available, 0)
        self.assertEqual(shop.CancelOrder(id=placed.id, reason='changed my mind').state, orders_pb2.ORDER_STATE_CANCELLED)
        self.assertEqual(shop.GetCell(sku='apple', location=1).available, 10)
        details = self.refused(grpc.StatusCode.FAILED_PRECONDITION, 'BAD_STATE', shop.SettleOrder, id=placed.id, amount=1, currency='EUR')
        self.assertEqual(details['pairs']['state'], 'CANCELLED')

    def test_a_short_place_says_what_there_is_and_holds_nothing(self):
        _, shop = self.begin()
        details = self.refused(grpc.StatusCode.FAILED_PRECONDITION, 'SHORT', shop.place, 'apple', 11)
        lines = common_pb2.Shortage.FromString(details['Shortage']).lines
        self.assertEqual([(line.line, line.asked, line.available) for line in lines], [(0, 11, 10)])
        self.assertEqual(shop.GetCell(sku='apple', location=1).available, 10)

    def test_a_repeat_runs_once_and_another_body_is_refused_also_after_a_kill(self):
        engine, shop = self.begin()
        first = shop.place('apple', 1)
        cancel = shop.place('apple', 1)
        cancelled = shop.CancelOrder(id=cancel.id)
        self.assertFalse(cancelled.receipt.repeated)
        engine.kill()
        shop.channel.close()
        shop = self.shop(self.start())
        again = shop.place('apple', 1, order=first.id)
        self.assertEqual((again.id, again.receipt.repeated, again.state), (first.id, True, orders_pb2.ORDER_STATE_HELD))
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, 'ID_REUSED', shop.place, 'apple', 2, order=first.id)
        self.assertTrue(shop.CancelOrder(id=cancel.id, command_id=cancelled.receipt.id).receipt.repeated)
        self.assertEqual(shop.GetCell(sku='apple', location=1).available, 9)
        self.assertEqual(shop.Audit().violations, 0)

    def test_fields_that_make_no_sense_are_named(self):
        _, shop = self.begin()
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        id_of_another = '0' * 31 + '1'
        for reason, field, call, fields in (
                ('BAD_LINE_COUNT', 'lines', shop.PlaceOrder, {'customer': 1}),
                ('BAD_ARGUMENT', 'sku', shop.place, {'sku': 'a' * 17, 'quantity': 1}),
                ('BAD_ARGUMENT', 'sku', shop.PutSku, {'sku': ''}),
                ('BAD_ARGUMENT', 'id', shop.place, {'sku': 'apple', 'quantity': 1, 'order': 'no id'}),
                ('BAD_ARGUMENT', 'id', shop.GetOrder, {'id': '0' * 32}),
                ('BAD_ARGUMENT', 'command_id', shop.CancelOrder, {'id': id_of_another, 'command_id': 'g' * 32}),
                ('BAD_ARGUMENT', 'currency', shop.SettleOrder, {'id': id_of_another, 'amount': 1, 'currency': 'EURO'}),
                ('BAD_EXTENSION', 'payment_reference', shop.SettleOrder,
                 {'id': id_of_another, 'amount': 1, 'currency': 'EUR', 'payment_reference': 'x' * 201}),
                ('BAD_EXTENSION', 'reason', shop.Adjust, {'sku': 'apple', 'location': 1, 'delta': 1}),
                ('BAD_EXTENSION', 'name', shop.PutSku, {'sku': 'pear', 'name': 'x' * 41}),
                ('BAD_ARGUMENT', 'bucket', shop.Receive, {'sku': 'apple', 'location': 1, 'quantity': 1, 'bucket': 9}),
                ('BAD_ARGUMENT', 'policy', shop.SetPolicy, {'sku': 'apple'})):
            details = self.refused(invalid, reason, call, **fields)
            self.assertEqual(messages.BadRequest.FromString(details['BadRequest']).violations[0].field, field)
        self.refused(invalid, 'BAD_QUANTITY', shop.place, 'apple', 0)
        self.refused(invalid, 'BAD_QUANTITY', shop.place, 'apple', 2 ** 31)
        self.refused(grpc.StatusCode.NOT_FOUND, 'UNKNOWN_SKU', shop.place, 'pear', 1)
        self.refused(grpc.StatusCode.NOT_FOUND, 'UNKNOWN_CHANNEL', shop.PlaceOrder, channel='MOON',
                     lines=[orders_pb2.OrderLine(sku='apple', location=1, quantity=1)])
        self.refused(grpc.StatusCode.NOT_FOUND, 'UNKNOWN_ORDER', shop.GetOrder, id=id_of_another)
        lines = [orders_pb2.OrderLine(sku='apple', location=1, quantity=1)] * 257
        self.refused(invalid, 'BAD_LINE_COUNT', shop.PlaceOrder, lines=lines)

    def test_bytes_that_are_no_message_are_refused_and_others_served(self):
        _, shop = self.begin()
        for body in (b'\xff' * 40, b'\x0a\x05ab', b'\x22\x02\x0a\xff'):
            with self.assertRaises(grpc.RpcError) as caught:
                shop.raw('/holdfast.v1.Orders/PlaceOrder', body)
            self.assertIn(caught.exception.code(), (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT))
        with self.assertRaises(grpc.RpcError) as caught:
            shop.raw('/holdfast.v1.Orders/Steal', b'')
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
        self.assertEqual(shop.place('apple', 1).state, orders_pb2.ORDER_STATE_HELD)

    def test_stock_is_set_against_a_version_and_by_the_sequence_of_a_source(self):
        _, shop = self.begin()
        cell = shop.GetCell(sku='apple', location=1)
        done = shop.Set(sku='apple', location=1, quantity=7, expected_version={'version': cell.version})
        self.assertEqual((done.applied, done.cell.sellable), (True, 7))
        self.refused(grpc.StatusCode.ABORTED, 'STALE_VERSION', shop.Set, sku='apple', location=1, quantity=8,
                     expected_version={'version': cell.version})
        self.assertTrue(shop.Set(sku='apple', location=1, quantity=5, source={'source': 4, 'sequence': 9}).applied)
        self.assertFalse(shop.Set(sku='apple', location=1, quantity=3, source={'source': 4, 'sequence': 8}).applied)
        self.assertEqual(shop.Adjust(sku='apple', location=1, delta=-2, reason='broken').cell.sellable, 3)
        self.refused(grpc.StatusCode.FAILED_PRECONDITION, 'BELOW_ZERO', shop.Adjust, sku='apple', location=1, delta=-4, reason='broken')

    def test_skus_with_their_cells_and_policies_and_locations_are_read_back(self):
        _, shop = self.begin()
        binary = '0x' + bytes(range(240, 256)).hex()
        shop.PutSku(sku=binary)
        shop.Receive(sku=binary, location=1, quantity=4)
        self.assertEqual([(cell.sku, cell.sellable) for cell in shop.GetSku(sku=binary).cells], [(binary, 4)])
        shop.SetPolicy(sku='apple', policy={'per_order': 3})
        sku = shop.GetSku(sku='apple')
        self.assertEqual((sku.sku, sku.name, sku.policy.per_order, sku.cell_count, sku.more), ('apple', 'An apple', 3, 1, False))
        self.refused(grpc.StatusCode.FAILED_PRECONDITION, 'LIMIT_PER_ORDER', shop.place, 'apple', 4)
        self.assertEqual([(place.location, place.name) for place in shop.ListLocations().locations], [(1, 'Here')])

    def test_an_operator_sees_counters_and_the_same_digest_as_the_tool(self):
        engine, shop = self.begin()
        shop.place('apple', 1)
        digest = shop.Digest()
        self.assertEqual(digest.digest, self.tool(engine, 'digest')['digest'])
        audit = shop.Audit()
        self.assertEqual((audit.violations, list(audit.by_invariant), audit.orders, audit.cells), (0, [0] * 7, 1, 1))
        counters = {(counter.name, counter.shard) for counter in shop.Status().counters}
        self.assertTrue(any(shard == -1 for _, shard in counters) and any(shard == 0 for _, shard in counters), counters)

    def test_each_example_of_the_documentation_runs_and_each_method_has_one(self):
        _, shop = self.begin(stock=0)
        with open(DOCUMENT, encoding='utf-8') as document:
            examples = EXAMPLE.findall(document.read())
        orders = iter(['$ORDER', '$SOON'])
        names = {}
        for body, service, method in examples:
            for name, order in names.items():
                body = body.replace(name, order)
            request = json_format.Parse(body, getattr(SERVICES[service][0], method + 'Request')())
            answer = getattr(shop, method)(**{field.name: value for field, value in request.ListFields()})
            if method == 'PlaceOrder':
                names[next(orders)] = answer.id
        self.assertEqual({(service, method) for _, service, method in examples},
                         {(service, method) for service, (_, methods) in SERVICES.items() for method in methods})

    def test_tcp_serves_the_same_with_several_shards(self):
        engine, _ = self.begin('--control', 'tcp://127.0.0.1:0', f'--control=unix://{self.directory}/own', shards=2, stock=0,
                               target=f'unix:{self.directory}/own')
        found = [line['address'] for line in engine.messages() if line['msg'] == 'control listening']
        self.assertFalse(os.path.exists(os.path.join(self.data, 'control.sock')))
        shop = self.shop(engine, found[0][len('tcp://'):])
        shop.DefineLocation(location=1)
        orders = []
        for number in range(20):
            shop.PutSku(sku=f'SKU{number}')
            shop.Receive(sku=f'SKU{number}', location=1, quantity=1)
            orders.append(shop.PlaceOrder(lines=[orders_pb2.OrderLine(sku=f'SKU{n}', location=1, quantity=1)
                                                 for n in (number, number - 1) if n >= 0 and n % 2 == 0]) if number % 2 == 0 else None)
        self.assertTrue(all(shop.GetOrder(id=order.id).state == orders_pb2.ORDER_STATE_HELD for order in orders if order))

    def test_an_address_that_others_reach_is_refused(self):
        self.refused_start(2, '--insecure-listen', options=('--control', 'tcp://0.0.0.0:0'))
        self.refused_start(2, '--control', options=('--control', 'udp://127.0.0.1:0'))
        self.refused_start(2, '--control', options=('--control', 'unix:///' + 'x' * 150))

    def test_a_port_in_use_is_an_error_that_names_it(self):
        with socket.socket() as taken:
            taken.bind(('127.0.0.1', 0))
            taken.listen()
            address = f'tcp://127.0.0.1:{taken.getsockname()[1]}'
            self.refused_start(5, address, options=('--control', address))

    def test_a_data_directory_too_deep_for_a_socket_runs_without_one(self):
        deep = os.path.join(self.directory, 'd' * 120)
        os.makedirs(deep)
        engine = self.start(data=deep)
        self.assertTrue([line for line in engine.messages() if line['msg'].startswith('no control socket')])
        self.assertEqual(engine.stop(), 0)

    def test_the_socket_is_the_owners_alone_and_gone_with_the_engine(self):
        engine = self.start()
        path = os.path.join(self.data, 'control.sock')
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(engine.stop(), 0)
        self.assertFalse(os.path.exists(path))

    def test_a_process_of_another_user_is_turned_away(self):
        if os.geteuid() != 0:
            return  # nobody else can be played; the socket's mode is judged above
        self.start()
        path = os.path.join(self.data, 'control.sock')
        for each, mode in ((self.directory, 0o711), (self.data, 0o711), (path, 0o666)):
            os.chmod(each, mode)
        for uid, served in ((65534, False), (0, True)):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.settimeout(WAIT_S)
                os.seteuid(uid)
                try:
                    stranger.connect(path)
                finally:
                    os.seteuid(0)
                try:
                    stranger.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + bytes(3) + b'\x04' + bytes(5))
                    said = stranger.recv(1)
                except OSError:
                    said = b''
                self.assertEqual(said != b'', served)

    def test_health_says_serving_once_ready_and_not_serving_while_draining(self):
        engine, shop = self.begin()
        request = messages.HealthCheckRequest
        watch = shop.channel.unary_stream('/grpc.health.v1.Health/Watch', request_serializer=request.SerializeToString,
                                          response_deserializer=messages.HealthCheckResponse.FromString)
        for service in ('', 'holdfast.v1.Orders'):
            check = shop.channel.unary_unary('/grpc.health.v1.Health/Check', request_serializer=request.SerializeToString,
                                             response_deserializer=messages.HealthCheckResponse.FromString)
            self.assertEqual(check(request(service=service), timeout=WAIT_S).status, messages.SERVING)
        seen = watch(request(service=''), timeout=WAIT_S)
        self.assertEqual(next(seen).status, messages.SERVING)
        engine.process.send_signal(signal.SIGTERM)
        self.assertEqual(next(seen).status, messages.NOT_SERVING)
        with self.assertRaises(grpc.RpcError) as caught:
            shop.place('apple', 1)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        seen.cancel()
        self.assertEqual(engine.wait_end(), 0)

    def test_orders_in_flight_at_a_stop_are_answered_or_refused_and_answers_are_kept(self):
        engine, shop = self.begin(stock=100000)
        call = shop.channel.unary_unary('/holdfast.v1.Orders/PlaceOrder',
                                        request_serializer=orders_pb2.PlaceOrderRequest.SerializeToString,
                                        response_deserializer=orders_pb2.OrderReceipt.FromString)
        line = orders_pb2.OrderLine(sku='apple', location=1, quantity=1)
        calls = [call.future(orders_pb2.PlaceOrderRequest(lines=[line]), timeout=WAIT_S) for _ in range(400)]
        calls[20].result()
        self.assertEqual(engine.stop(), 0)
        placed = [one.result().id for one in calls if one.exception() is None]
        self.assertEqual({one.exception().code() for one in calls if one.exception()} - {grpc.StatusCode.UNAVAILABLE}, set())
        self.assertGreater(len(placed), 0)
        shop = self.shop(self.start())
        for order in placed:
            self.assertEqual(shop.GetOrder(id=order).state, orders_pb2.ORDER_STATE_HELD)

    def test_a_deadline_ends_the_waiting_and_never_the_order(self):
        _, shop = self.begin()
        first = shop.place('apple', 1)
        order = first.id[:-8] + '0badcafe'
        try:
            shop.place('apple', 1, order=order, timeout=0.0005)
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertEqual(shop.place('apple', 1, order=order).id, order)
        self.assertEqual(shop.GetCell(sku='apple', location=1).available, 8)

    def test_control_threads_keep_off_the_cores_of_shards(self):
        engine, _ = self.begin()
        pinned, control = set(), {}
        tasks = f'/proc/{engine.process.pid}/task'
        for task in os.listdir(tasks):
            with open(f'{tasks}/{task}/comm', encoding='ascii') as comm:
                name = comm.read().strip()
            if name.startswith('hf-shard'):
                pinned |= os.sched_getaffinity(int(task))
            if name.startswith(('hf-control', 'hf-pump')):
                control[name] = os.sched_getaffinity(int(task))
        self.assertEqual(set(control), {'hf-control-0', 'hf-pump'})
        if os.cpu_count() > len(pinned):
            for name, cpus in control.items():
                self.assertTrue(cpus.isdisjoint(pinned), (name, cpus, pinned))


if __name__ == '__main__':
    harness.main()
