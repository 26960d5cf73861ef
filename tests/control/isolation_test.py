"""No shard's thread runs code of the control plane, whatever the control plane is busy with.

Each thread is stopped several hundred times under load (ptrace) to see in which function it stands: a shard's thread never in one of
control/ or of the libraries that only control/ uses, while the control plane's own thread, looked at in the same way, does stand there.
(Where the threads may run at all is judged in api_test.)
"""

import bisect
import os
import platform
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'end'))

import grpc

import api_test
import harness
from holdfast.v1 import events_pb2, orders_pb2
from stopped import Stopped, threads_of

SAMPLES = 300
# What a shard may call of control/: its own ends of two rings (control/api/exchange.h).
SHARD_SIDE = {'hf_exchange_take', 'hf_exchange_give'}
CONTROL = re.compile(r'hf_(?:grpc|http|control|events?|exchange|rest|refuse|draft|slow|follower)_|holdfast__v1__|protobuf_c_|nghttp2_')
LIBRARIES = ('libnghttp2', 'libprotobuf-c')


class Program:
    """Where the functions of a running program lie."""

    def __init__(self, pid, path):
        self.maps, base = [], None
        with open(f'/proc/{pid}/maps', encoding='utf-8') as lines:
            for line in lines:
                words = line.split()
                begin, end = (int(word, 16) for word in words[0].split('-'))
                name = words[5] if len(words) > 5 else ''
                self.maps.append((begin, end, os.path.basename(name)))
                if base is None and os.path.realpath(name) == os.path.realpath(path):
                    base = begin - int(words[2], 16)
        listed = subprocess.run(['nm', '-n', '--defined-only', path], stdout=subprocess.PIPE, text=True, check=True).stdout
        found = [line.split() for line in listed.splitlines()]
        self.symbols = [(base + int(words[0], 16), words[2]) for words in found if len(words) == 3 and words[1] in 'tTwW']
        self.starts = [start for start, _ in self.symbols]
        self.name = os.path.basename(path)

    def at(self, address):
        """The function in which the address lies, or the library."""
        library = next((name for begin, end, name in self.maps if begin <= address < end), '?')
        if library != self.name:
            return library
        place = bisect.bisect_right(self.starts, address) - 1
        return self.symbols[place][1].split('.')[0] if place >= 0 else '?'


class IsolationTest(harness.EndTest):
    def busy(self, engine, stop):
        """Orders and followers over gRPC until `stop`; returns what is to be joined."""
        target = f'unix:{engine.data}/control.sock'
        shop = api_test.Shop(target)
        self.addCleanup(shop.channel.close)
        shop.PutSku(sku='apple')
        shop.DefineLocation(location=1)
        shop.Receive(sku='apple', location=1, quantity=2000000000)
        request = orders_pb2.PlaceOrderRequest(lines=[orders_pb2.OrderLine(sku='apple', location=1, quantity=1)] * 64)

        def order(channel):
            place = channel.unary_unary('/holdfast.v1.Orders/PlaceOrder', request_serializer=orders_pb2.PlaceOrderRequest.SerializeToString)
            while not stop.is_set():
                calls = [place.future(request, timeout=harness.WAIT_S) for _ in range(30)]
                for call in calls:
                    call.exception()  # being too busy is no reason to stop

        def follow(channel):
            call = channel.unary_stream('/holdfast.v1.Events/Follow', request_serializer=events_pb2.FollowRequest.SerializeToString)
            self.addCleanup(call(events_pb2.FollowRequest(), timeout=harness.WAIT_S).cancel)
        workers = []
        for _ in range(2):
            channel = grpc.insecure_channel(target, options=[('grpc.use_local_subchannel_pool', 1)])
            self.addCleanup(channel.close)
            follow(channel)
            workers.append(threading.Thread(target=order, args=(channel,)))
            workers[-1].start()
        return workers

    def test_a_shards_thread_is_never_found_in_the_control_planes_code(self):
        if platform.machine() != 'x86_64':
            return  # the registers of other machines are not known here
        engine = self.start(shards=2)
        stop = threading.Event()
        workers = self.busy(engine, stop)
        program = Program(engine.process.pid, harness.HOLDFASTD)
        names = threads_of(engine)
        shards = [tid for name, tids in names.items() if name.startswith('hf-shard') for tid in tids]
        self.assertEqual(len(shards), 2, names)
        seen = {}
        try:
            for kind, tids in (('shard', shards), ('control', names['hf-control-0'])):
                watched = [Stopped(tid) for tid in tids]
                for _ in range(SAMPLES):
                    seen.setdefault(kind, []).extend(program.at(each.address()) for each in watched)
                    time.sleep(0.0005)
                for each in watched:
                    each.stop()
                    each.go()
        finally:
            stop.set()
            for worker in workers:
                worker.join()
        self.assertEqual(self.of_control(seen['shard']), [])
        # The same look finds control's code where it does run, so it would have found it.
        self.assertGreater(len(self.of_control(seen['control'])), 0, sorted(set(seen['control'])))

    def of_control(self, functions):
        return sorted({one for one in functions if (CONTROL.match(one) and one not in SHARD_SIDE) or one.startswith(LIBRARIES)})


if __name__ == '__main__':
    harness.main()
