"""grpcio, a client that nobody here wrote, drives every kind of call."""

import os
import threading
import time

import grpc
from google.protobuf import descriptor_pb2

import harness
import messages
import probe_pb2 as pb

PROBE = '/probe.v1.Probe/'
WAIT_S = harness.WAIT_S


class Client:
    """The methods of Probe over one channel."""

    def __init__(self, target, options=()):
        self.channel = grpc.insecure_channel(target, options=[('grpc.max_receive_message_length', -1),
                                                              ('grpc.max_send_message_length', -1)] + list(options))
        kinds = {'Echo': ('unary_unary', pb.Note, pb.Note), 'Count': ('unary_stream', pb.CountRequest, pb.Note),
                 'Sum': ('stream_unary', pb.Note, pb.SumResponse), 'Chat': ('stream_stream', pb.Note, pb.Note),
                 'Fail': ('unary_unary', pb.FailRequest, pb.Note), 'Sleep': ('unary_unary', pb.SleepRequest, pb.Note),
                 'Depth': ('unary_unary', pb.Tree, pb.SumResponse), 'Lazy': ('stream_unary', pb.Note, pb.SumResponse),
                 'Missing': ('unary_unary', pb.Note, pb.Note)}
        for name, (kind, request, response) in kinds.items():
            setattr(self, name.lower(), self.method(kind, PROBE + name, request.SerializeToString, response.FromString))

    def method(self, kind, path, serialize=None, deserialize=None):
        return getattr(self.channel, kind)(path, request_serializer=serialize, response_deserializer=deserialize)

    def close(self):
        self.channel.close()


class GrpcTest(harness.Case):
    def setUp(self):
        super().setUp()
        self.server = self.client = None

    def tearDown(self):
        if self.client:
            self.client.close()
        super().tearDown()

    def begin(self, *listen, **options):
        self.server = self.serve(*listen, **options)
        self.client = Client(f'127.0.0.1:{self.server.port}')
        return self.client

    def fails(self, code, call, *arguments, **named):
        named.setdefault('timeout', WAIT_S)
        with self.assertRaises(grpc.RpcError) as caught:
            answer = call(*arguments, **named)
            if hasattr(answer, '__next__'):
                list(answer)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return caught.exception

    def test_a_unary_call_is_answered(self):
        note = pb.Note(text='a note', data=bytes(range(256)), numbers=[0, 1, 1 << 31])
        self.assertEqual(self.begin().echo(note, timeout=WAIT_S), note)
        self.assertEqual(self.client.echo(pb.Note(), timeout=WAIT_S), pb.Note())

    def test_a_server_streams_more_than_any_window(self):
        notes = list(self.begin().count(pb.CountRequest(count=300, size=20000), timeout=WAIT_S))
        self.assertEqual([len(note.data) for note in notes], [20000] * 300)
        self.assertEqual(list(self.client.count(pb.CountRequest(count=0), timeout=WAIT_S)), [])

    def test_a_client_streams(self):
        total = self.begin().sum(iter([pb.Note(data=bytes(size)) for size in range(500)]), timeout=WAIT_S)
        self.assertEqual((total.count, total.bytes), (500, sum(range(500))))
        self.assertEqual(self.client.sum(iter([]), timeout=WAIT_S).count, 0)

    def test_both_sides_stream_in_turn(self):
        turn, client = threading.Semaphore(1), self.begin()

        def talk():
            for number in range(50):
                if not turn.acquire(timeout=WAIT_S):
                    return
                yield pb.Note(numbers=[number])
        heard = []
        for note in client.chat(talk(), timeout=WAIT_S):
            heard.append(note.numbers[0])
            turn.release()
        self.assertEqual(heard, list(range(50)))

    def test_both_sides_stream_more_than_the_queues_hold(self):
        heard = [len(note.data) for note in self.begin().chat(iter([pb.Note(data=bytes(30000))] * 200), timeout=WAIT_S)]
        self.assertEqual(heard, [30000] * 200)

    def test_a_paused_handler_gets_everything_later(self):
        total = self.begin().lazy(iter([pb.Note(data=bytes(1000))] * 1500), timeout=WAIT_S)
        self.assertEqual((total.count, total.bytes), (1500, 1500000))

    def test_metadata_goes_both_ways(self):
        answer, call = self.begin().echo.with_call(pb.Note(), timeout=WAIT_S, metadata=(
            ('x-probe-text', 'some text'), ('x-probe-bin', b'\x00\x01\xfe\xff'), ('x-trailer-text', 'later'),
            ('x-trailer-bin', b'\xff' * 7), ('x-probe-text', 'twice'), ('x-probe-empty-bin', b'')))
        self.assertEqual(answer, pb.Note())
        self.assertEqual([tuple(pair) for pair in call.initial_metadata()],
                         [('x-probe-text', 'some text'), ('x-probe-bin', b'\x00\x01\xfe\xff'), ('x-probe-text', 'twice'),
                          ('x-probe-empty-bin', b'')])
        self.assertEqual([tuple(pair) for pair in call.trailing_metadata()], [('x-trailer-text', 'later'), ('x-trailer-bin', b'\xff' * 7)])

    def test_every_status_comes_with_its_message(self):
        client = self.begin()
        for code in grpc.StatusCode:
            if code is grpc.StatusCode.OK:
                continue
            error = self.fails(code, client.fail, pb.FailRequest(code=code.value[0], message='100 % nötig\n'))
            self.assertEqual(error.details(), '100 % nötig\n')

    def test_details_are_what_google_defines(self):
        error = self.fails(grpc.StatusCode.FAILED_PRECONDITION, self.begin().fail, pb.FailRequest(code=9, message='sold out', details=True),
                           metadata=(('x-trailer-text', 'too'),))
        trailers = {pair[0]: pair[1] for pair in error.trailing_metadata()}
        status = messages.Status.FromString(trailers['grpc-status-details-bin'])
        self.assertEqual((status.code, status.message, trailers['x-trailer-text']), (9, 'sold out', 'too'))
        info, retry, bad = status.details
        self.assertEqual([detail.type_url for detail in status.details],
                         ['type.googleapis.com/google.rpc.' + name for name in ('ErrorInfo', 'RetryInfo', 'BadRequest')])
        info = messages.ErrorInfo.FromString(info.value)
        self.assertEqual((info.reason, info.domain, info.metadata[0].key, info.metadata[0].value), ('SOLD_OUT', 'probe', 'order', '4711'))
        retry = messages.RetryInfo.FromString(retry.value)
        self.assertEqual((retry.delay.seconds, retry.delay.nanos), (1, 500000000))
        bad = messages.BadRequest.FromString(bad.value)
        self.assertEqual((bad.violations[0].field, bad.violations[0].description), ('lines[0].quantity', 'must not be 0'))

    def test_an_answer_from_another_thread_arrives(self):
        self.assertEqual(self.begin().sleep(pb.SleepRequest(milliseconds=20), timeout=WAIT_S).text, 'slept well')
        calls = [self.client.sleep.future(pb.SleepRequest(milliseconds=number % 7), timeout=WAIT_S) for number in range(200)]
        self.assertEqual({call.result().text for call in calls}, {'slept well'})

    def test_a_deadline_ends_the_waiting_and_nothing_leaks(self):
        client = self.begin()
        for milliseconds in (50, 500, 5000):  # a deadline may be over before the call is sent
            before = self.server.counters()['calls']
            self.fails(grpc.StatusCode.DEADLINE_EXCEEDED, client.sleep, pb.SleepRequest(milliseconds=6 * milliseconds),
                       timeout=milliseconds / 1000)
            client.echo(pb.Note(), timeout=WAIT_S)
            if self.server.counters()['calls'] == before + 2:
                break
        client.close()
        self.server.wait_gone()
        counters = self.server.counters()
        self.assertEqual(counters['ended_DEADLINE_EXCEEDED'] + counters['ended_CANCELLED'], 1)

    def test_a_cancelled_call_is_over_for_the_server(self):
        client = self.begin()
        call = client.sleep.future(pb.SleepRequest(milliseconds=60000), timeout=WAIT_S)
        self.server.wait_counter('calls', 1)
        call.cancel()
        self.server.wait_counter('ended_CANCELLED', 1)
        stream = client.count(pb.CountRequest(count=1000000, size=1000), timeout=WAIT_S)
        next(stream)
        stream.cancel()
        self.server.wait_counter('ended_CANCELLED', 2)
        self.assertEqual(client.echo(pb.Note(text='still there'), timeout=WAIT_S).text, 'still there')

    def test_a_lost_connection_cancels_its_calls(self):
        client = self.begin()
        call = client.sleep.future(pb.SleepRequest(milliseconds=3000), timeout=WAIT_S)
        self.server.wait_counter('calls', 1)
        client.close()
        self.server.wait_gone()
        self.assertEqual(call.code(), grpc.StatusCode.CANCELLED)
        self.assertEqual(self.server.counters()['ended_CANCELLED'], 1)

    def test_gzip_goes_both_ways(self):
        note = pb.Note(data=bytes(100000))
        self.assertEqual(self.begin().echo(note, timeout=WAIT_S, compression=grpc.Compression.Gzip), note)
        counters = self.server.counters()
        self.assertLess(counters['bytes_in'] + counters['bytes_out'], 10000)
        self.assertEqual(self.client.echo(note, timeout=WAIT_S, metadata=(('x-compress', '1'),)), note)
        self.assertLess(self.server.counters()['bytes_out'], 10000)
        heard = list(self.client.chat(iter([note] * 20), timeout=WAIT_S, compression=grpc.Compression.Gzip))
        self.assertEqual(heard, [note] * 20)

    def test_an_unknown_compression_is_refused(self):
        note = pb.Note(data=bytes(1000))
        error = self.fails(grpc.StatusCode.UNIMPLEMENTED, self.begin().echo, note, compression=grpc.Compression.Deflate)
        self.assertIn('grpc-encoding', error.details())

    def test_messages_up_to_the_limit_pass_and_larger_ones_do_not(self):
        client = self.begin(message_max=4 << 20)
        note = pb.Note(data=bytes((4 << 20) - 16))
        self.assertEqual(client.echo(note, timeout=WAIT_S), note)
        self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, client.echo, pb.Note(data=bytes((4 << 20) + 1)))
        self.assertEqual(self.server.counters()['messages_too_large'], 1)

    def test_the_limit_counts_decompressed_bytes(self):
        client = self.begin(message_max=100000)
        self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, client.echo, pb.Note(data=bytes(200000)), compression=grpc.Compression.Gzip)
        self.assertEqual(self.server.counters()['messages_too_large'], 1)
        self.assertEqual(len(client.echo(pb.Note(data=bytes(90000)), timeout=WAIT_S).data), 90000)

    def test_what_does_not_exist_is_unimplemented(self):
        client = self.begin()
        self.fails(grpc.StatusCode.UNIMPLEMENTED, client.missing, pb.Note())
        for path in ('/probe.v1.Probe/Nothing', '/no.such.Service/Method', '/', '/probe.v1.Probe', '/probe.v1.Probe/Echo/'):
            self.fails(grpc.StatusCode.UNIMPLEMENTED, client.method('unary_unary', path), b'')

    def test_garbage_is_not_unpacked(self):
        client = self.begin()
        raw = client.method('unary_unary', PROBE + 'Echo')
        self.fails(grpc.StatusCode.INTERNAL, raw, b'\x0a\xff\xff\xff\xff\x7f')
        self.fails(grpc.StatusCode.INTERNAL, client.method('stream_stream', PROBE + 'Chat'), iter([b'\x0a\x05ab']))

    def test_strings_are_utf8_without_nul(self):
        raw = self.begin().method('unary_unary', PROBE + 'Echo')
        for text in (b'\xff', b'a\x00b', b'\xed\xa0\x80'):
            self.fails(grpc.StatusCode.INVALID_ARGUMENT, raw, b'\x0a' + bytes([len(text)]) + text)
        self.assertEqual(raw(b'\x12\x02\x00\xff', timeout=WAIT_S), b'\x12\x02\x00\xff')

    def test_depth_is_bounded(self):
        def tree(depth):
            packed = b''
            for _ in range(depth - 1):
                size, length = len(packed), b''
                while size > 127:
                    length += bytes([size & 127 | 128])
                    size >>= 7
                packed = b'\x0a' + length + bytes([size]) + packed
            return packed
        client = self.begin()
        raw = client.method('unary_unary', PROBE + 'Depth', None, pb.SumResponse.FromString)
        self.assertEqual(raw(tree(100), timeout=WAIT_S).count, 100)
        self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, raw, tree(5000))
        self.assertEqual(self.server.counters()['messages_too_deep'], 1)

    def test_the_memory_bound_ends_calls_and_not_the_server(self):
        client = self.begin(memory_max=3 << 20)
        self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, client.echo, pb.Note(data=bytes(4000000)))
        self.assertGreater(self.server.counters()['memory_full'], 0)
        self.assertEqual(client.echo(pb.Note(text='small'), timeout=WAIT_S).text, 'small')
        # A repeated field of tiny elements unpacks to many times its size.
        raw = client.method('unary_unary', PROBE + 'Echo')
        self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, raw, b'\x18\x01' * 500000)
        self.assertEqual(client.echo(pb.Note(text='small'), timeout=WAIT_S).text, 'small')

    def test_too_many_calls_are_refused(self):
        client, enough = self.begin(calls_max=10), threading.Event()

        def nothing():
            enough.wait(WAIT_S)
            yield from ()
        waiting = [client.chat(nothing(), timeout=WAIT_S) for _ in range(10)]
        self.server.wait_counter('calls', 10)
        self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, client.echo, pb.Note())
        enough.set()
        self.assertEqual([list(call) for call in waiting], [[]] * 10)
        self.assertEqual(client.echo(pb.Note(text='again'), timeout=WAIT_S).text, 'again')
        self.assertEqual(self.server.counters()['calls_full'], 1)

    def test_the_application_may_refuse_a_call(self):
        error = self.fails(grpc.StatusCode.UNAUTHENTICATED, self.begin().echo, pb.Note(), metadata=(('authorization', 'Bearer bad'),))
        self.assertEqual(error.details(), 'bad token')

    def test_a_unix_socket_serves_its_owner_and_the_server_knows_who_calls(self):
        path = self.directory + '/control.sock'
        self.server = self.serve('tcp://127.0.0.1:0', 'unix://' + path)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.client = Client('unix:' + path)
        answer, call = self.client.echo.with_call(pb.Note(text='here'), timeout=WAIT_S, metadata=(('x-peer', ''),))
        self.assertEqual((answer.text, dict(call.initial_metadata())['x-peer']), ('here', f'unix listener 1 uid {os.getuid()}'))
        other = Client(f'127.0.0.1:{self.server.port}')
        _, call = other.echo.with_call(pb.Note(), timeout=WAIT_S, metadata=(('x-peer', ''),))
        self.assertRegex(dict(call.initial_metadata())['x-peer'], r'^127\.0\.0\.1:\d+ listener 0 uid -1$')
        other.close()

    def test_who_is_not_admitted_is_closed(self):
        path = self.directory + '/control.sock'
        self.server = self.serve('tcp://127.0.0.1:0', 'unix://' + path, forbid_unix=1)
        self.client = Client('unix:' + path)
        self.fails(grpc.StatusCode.UNAVAILABLE, self.client.echo, pb.Note())
        self.assertGreaterEqual(self.server.counters()['connections_forbidden'], 1)
        self.assertEqual((self.server.stop(), os.path.exists(path)), (0, False))

    def test_every_call_is_reported_once(self):
        client = self.begin()
        list(client.chat(iter([pb.Note()] * 7), timeout=WAIT_S))
        self.fails(grpc.StatusCode.UNIMPLEMENTED, client.method('unary_unary', '/a.B/C'), b'')
        self.fails(grpc.StatusCode.NOT_FOUND, client.fail, pb.FailRequest(code=5))
        self.server.wait_counter('ended_NOT_FOUND', 1)
        self.assertEqual(self.server.order('reports'), '3 8 7 probe.v1.Probe Fail NOT_FOUND tcp')

    def test_several_loops_serve_several_connections(self):
        server = self.serve(loops=3)
        clients = [Client(f'127.0.0.1:{server.port}', [('grpc.use_local_subchannel_pool', 1)]) for _ in range(12)]
        calls = [client.sleep.future(pb.SleepRequest(milliseconds=1), timeout=WAIT_S) for client in clients for _ in range(20)]
        self.assertEqual({call.result().text for call in calls}, {'slept well'})
        for client in clients:
            client.close()
        server.wait_gone()

    def health(self, client, method, service):
        call = client.method(method, '/grpc.health.v1.Health/' + ('Check' if method == 'unary_unary' else 'Watch'),
                             messages.HealthCheckRequest.SerializeToString, messages.HealthCheckResponse.FromString)
        return call(messages.HealthCheckRequest(service=service), timeout=WAIT_S)

    def test_health_is_checked_and_watched(self):
        client = self.begin()
        self.assertEqual(self.health(client, 'unary_unary', '').status, messages.SERVING)
        self.fails(grpc.StatusCode.NOT_FOUND, client.method('unary_unary', '/grpc.health.v1.Health/Check'), b'\x0a\x01x')
        watch = self.health(client, 'unary_stream', 'shop')
        self.assertEqual(next(watch).status, messages.SERVICE_UNKNOWN)
        self.assertEqual(self.server.order('serving shop'), 'ok')
        self.assertEqual(next(watch).status, messages.SERVING)
        self.server.order('failing shop')
        self.assertEqual(next(watch).status, messages.NOT_SERVING)
        self.assertEqual(self.health(client, 'unary_unary', '').status, messages.SERVING)
        watch.cancel()

    def test_a_drain_says_so_and_lets_calls_end(self):
        client = self.begin()
        watch = self.health(client, 'unary_stream', '')
        self.assertEqual(next(watch).status, messages.SERVING)
        slow = client.sleep.future(pb.SleepRequest(milliseconds=300), timeout=WAIT_S)
        self.server.wait_counter('calls', 2)
        self.assertEqual(self.server.order('drain 60000'), 'ok')
        self.assertEqual(next(watch).status, messages.NOT_SERVING)
        self.assertEqual(slow.result().text, 'slept well')
        self.fails(grpc.StatusCode.UNAVAILABLE, client.echo, pb.Note())
        watch.cancel()
        self.server.wait_gone()

    def test_a_drain_without_grace_cuts(self):
        client = self.begin()
        slow = client.sleep.future(pb.SleepRequest(milliseconds=60000), timeout=WAIT_S)
        self.server.wait_counter('calls', 1)
        self.server.order('drain 1')
        self.assertIn(slow.exception(timeout=WAIT_S).code(), (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED))
        self.server.wait_gone()
        self.assertEqual(self.server.counters()['grace_cuts'], 1)

    def test_an_old_connection_is_replaced_without_a_lost_call(self):
        client = self.begin(age_max=100)
        deadline = time.monotonic() + WAIT_S
        while self.server.counters()['aged'] < 3 and time.monotonic() < deadline:
            self.assertEqual(client.echo(pb.Note(text='x'), timeout=WAIT_S, wait_for_ready=True).text, 'x')
        self.assertGreaterEqual(self.server.counters()['aged'], 3)

    def reflect(self, client, package, *requests):
        call = client.method('stream_stream', f'/grpc.reflection.{package}.ServerReflection/ServerReflectionInfo',
                             messages.ReflectionRequest.SerializeToString, messages.ReflectionResponse.FromString)
        return list(call(iter(requests), timeout=WAIT_S))

    def test_reflection_tells_services_files_and_symbols(self):
        client, request = self.begin(), messages.ReflectionRequest
        for package in ('v1', 'v1alpha'):
            answers = self.reflect(client, package, request(list_services='*'), request(file_containing_symbol='probe.v1.Probe.Chat'),
                                   request(file_containing_symbol='grpc.testing.SimpleRequest.payload'),
                                   request(file_by_filename='probe.proto'), request(file_containing_symbol='no.such'),
                                   request(all_extension_numbers_of_type='probe.v1.Note'), request())
            names = [service.name for service in answers[0].list_services_response.service]
            self.assertEqual(sorted(names), ['grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection',
                                             'grpc.reflection.v1alpha.ServerReflection', 'grpc.testing.TestService', 'probe.v1.Probe'])
            files = [descriptor_pb2.FileDescriptorProto.FromString(file) for file in answers[1].file_descriptor_response.files]
            self.assertEqual([file.name for file in files], ['probe.proto'])
            self.assertTrue([method for method in files[0].service[0].method if method.name == 'Chat'][0].client_streaming)
            files = [descriptor_pb2.FileDescriptorProto.FromString(file).name for file in answers[2].file_descriptor_response.files]
            self.assertEqual(files[0], 'grpc/testing/messages.proto')
            self.assertEqual(len(answers[3].file_descriptor_response.files), 1)
            self.assertEqual(answers[4].error_response.error_code, 5)
            self.assertEqual(answers[5].all_extension_numbers_response.base_type_name, 'probe.v1.Note')
            self.assertEqual(answers[6].error_response.error_code, 3)
            self.assertEqual(answers[4].original_request.file_containing_symbol, 'no.such')


if __name__ == '__main__':
    harness.main()
