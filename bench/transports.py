"""Durable orders over TCP, unix sockets, UDP and memif (DPDK's memory shared by two processes), and the generator's own ceiling on each.
Packets of `memif` stand in huge pages where this may reserve them (as root), those of `memif-no-huge` in ordinary ones.

One engine on core 0 listens on all of them, and a load on core 1 goes by each in turn and then the other way round: two engines, each
with its own luck with memory, differ more than two carriers. Then `net_echo serve`, the engine's port alone, which answers each frame at
once, takes its place: that is `echo/CARRIER/…`, beyond which no engine could be seen. For `memif` Redis is measured between the starts.
Datagrams are bounded by the path: loopback's MTU of 65,536 carries any frame, memif is given an MTU of 9,000 for frames of 64 orders of
one line and of 1,500 for smaller ones.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile

from engine import Engine, Failed, dies_with_us, pinned, program, run_json, scratch, write_stock
from huge import huge_pages
from peers import EIGHT_A_FRAME, HEADLINE, ONE_A_FRAME, SKUS, Case, Holdfast, Peer, engine_options, flush_us
from rows import median, row

CARRIERS = ('tcp', 'unix', 'udp', 'memif')
SHAPES = {'single-line': HEADLINE, 'single-line-8-a-frame': EIGHT_A_FRAME, 'single-line-1-a-frame': ONE_A_FRAME}
RATE_MAX = {'single-line': 5000000, 'single-line-8-a-frame': 4500000, 'single-line-1-a-frame': 2500000}
# A memif's MTU, and its ring's places as a power of two. Frames in flight (128, 1,024, 8,192) need room in the ring that answers come back
# by: what finds none is lost, and sent again later. Much more than that would only be more memory to go round.
MTU = {'single-line': 9000, 'single-line-8-a-frame': 1500, 'single-line-1-a-frame': 1500}
RSIZE = {'single-line': 8, 'single-line-8-a-frame': 11, 'single-line-1-a-frame': 14}
SECONDS = 1  # of a load
GOALS = {'unix/single-line': 1.0, 'memif/single-line': 1.2}


def case_of(name):
    shape = name.split('/')[1]
    return Case(name, SECONDS, SHAPES[shape], RATE_MAX[shape])


class Carrier:
    """Addresses of one way in; `directory` is short, as a socket's path must be."""

    starts = itertools.count()

    def __init__(self, name, directory, shape, huge):
        self.name, self.directory, self.shape = name, directory, shape
        self.scheme = name.split('-')[0]
        self.huge = huge and name == 'memif'
        self.socket = None

    def memif(self, role, more=''):
        huge = '&huge=yes' if self.huge else ''
        return f'dpdk://net_memif0,role={role},socket-abstract=no,socket={self.socket}{more}?mtu={MTU[self.shape]}{huge}'

    def listen(self):
        """Where the next to start listens: a listener that was killed leaves its socket behind, so each has its own."""
        self.socket = os.path.join(self.directory, str(next(self.starts)))
        return {'tcp': 'tcp://127.0.0.1:0', 'unix': f'unix://{self.socket}', 'udp': 'udp://127.0.0.1:0',
                'memif': self.memif('server') + '&ip=10.9.0.2/24&port=7000'}[self.scheme]

    def server(self, listening):
        """What a client is told of one that says it listens there."""
        if self.scheme != 'memif':
            return listening
        return self.memif('client', f',rsize={RSIZE[self.shape]}') + '&ip=10.9.0.1/24&to=10.9.0.2:7000'

    def case(self):
        return case_of(f'{self.name}/{self.shape}')


class Reached:
    """An engine by another of its addresses, as Holdfast.run_case() asks for one."""

    def __init__(self, engine, server):
        self.engine, self.server = engine, server

    def command(self, *arguments):
        return [program('holdfast'), '--server', self.server, *map(str, arguments), '--json']

    def alive(self):
        return self.engine.alive()


def run_engine(holdfast, carriers):
    turns = [*carriers, *carriers[::-1]]
    orders = sum(carrier.case().rate_max * SECONDS for carrier in turns)
    data = os.path.join(holdfast.directory, 'data')
    beside = [word for carrier in carriers if carrier.scheme != 'tcp' for word in ('--listen', carrier.listen())]
    with Engine(data, engine_options(orders, orders) + [*beside, '--insecure-listen']) as engine:
        imported = engine.tool('stock', 'import', holdfast.stock)
        if imported['refused'] != 0:
            raise Failed(f'stock import: {imported}')
        for carrier in turns:
            listening = engine.address if carrier.scheme == 'tcp' else listening_as(engine, carrier.scheme)
            conditions = {'mtu': MTU[carrier.shape], 'huge_pages': carrier.huge} if carrier.scheme == 'memif' else {}
            holdfast.run_case(Reached(engine, carrier.server(listening)), carrier.case(), {**conditions, 'max_orders': orders})
    shutil.rmtree(data, ignore_errors=True)


def listening_as(engine, scheme):
    """The address of that scheme among those that it listens on since its last start; None: it has none."""
    with open(engine.log_path, encoding='utf-8', errors='replace') as log:
        words = log.read().split('"')
    return next((word for word in words[::-1] if word.startswith(f'{scheme}://') and not word.endswith('control.sock')), None)


@contextlib.contextmanager
def echo(carrier):
    """The engine's port alone. -> where it says that it listens"""
    process = subprocess.Popen([program('net_echo'), 'serve', carrier.listen()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               text=True, preexec_fn=dies_with_us(signal.SIGKILL))
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise Failed(f'net_echo serve {carrier.listen()}: exit {process.wait()}')
        yield address
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def run_echo(ceilings, carrier):
    case = carrier.case()
    with echo(carrier) as listening:
        words = ['--server', carrier.server(listening), *map(str, case.load(SECONDS)), '--json']
        got = run_json(pinned(1, [program('holdfast'), *words]))
    # A datagram that was lost on the way is the transport's own matter here; only what was granted counts.
    if got['errors'] or got['granted'] + got['unanswered'] != got['orders']:
        raise Failed(f'echo of {case.name}: the run is void: {got}')
    ceilings.setdefault(case.name, []).append(got['granted'] / got['seconds'])


@contextlib.contextmanager
def short_directory():
    path = tempfile.mkdtemp(prefix='hf-bench-')
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def measure(directory, starts, shapes, quick, between):
    """`starts`: names of carriers that one engine serves. -> (Holdfast with the engine's runs, case -> the generator's ceilings)"""
    stock, ceilings = os.path.join(directory, 'stock.csv'), {}
    write_stock(stock, SKUS, 2000000000)
    holdfast = Holdfast(directory, stock)
    with short_directory() as where, short_directory() as pages, huge_pages(pages) as (_, huge):
        for _ in range(3 if quick else 5):
            for shape, names in itertools.product(shapes, starts):
                carriers = [Carrier(name, where, shape, huge) for name in names]
                run_engine(holdfast, carriers)
                for carrier in carriers:
                    run_echo(ceilings, carrier)
                between()
    return holdfast, ceilings


def report(printer, bench, holdfast, ceilings, **more):
    for name, values in ceilings.items():
        carrier, shape = name.split('/')
        case = case_of(name)
        told = {**holdfast.told(case), 'echo': round(median(values)), 'frames_resent': holdfast.runs[name][-1]['frames_resent']}
        tcp = {} if carrier == 'tcp' else {'against': f'tcp/{shape}', 'against_values': holdfast.values(f'tcp/{shape}'),
                                           'goal': GOALS.get(name)}
        printer.add(row(bench, name, holdfast.values(name), 'orders/s', **tcp, **told, **more))
        printer.add(row(bench, f'echo/{name}', values, 'orders/s', orders_a_frame=case.shape['batch'], generator_cpu=1, echo_cpu=0))


def run(printer, quick):
    """Every carrier at 64, 8 and 1 orders a frame."""
    program('holdfastd')
    with scratch('bench-data') as directory:
        flush = flush_us(directory)
        report(printer, 'transports', *measure(directory, (CARRIERS,), tuple(SHAPES), quick, lambda: None), flush_us_p50=round(flush, 1))


def run_memif(printer, quick):
    """memif at 64 orders a frame against Redis at the same work and against TCP."""
    program('holdfastd')
    pipelines = {16: 45000, 64: 45000} if quick else {1: 80000, 16: 200000, 64: 200000}
    rates = {pipeline: [] for pipeline in pipelines}
    with scratch('bench-data') as directory:
        flush = flush_us(directory)
        with Peer('redis_same_work.sh', directory) as redis:
            redis.await_line()

            def between():
                for pipeline, requests in pipelines.items():
                    rates[pipeline].append(redis.measure(pipeline, requests)['orders_per_s'])

            holdfast, ceilings = measure(directory, (('tcp', 'memif'), ('tcp', 'memif-no-huge')), ('single-line',), quick, between)
        best = max(rates, key=lambda one: median(rates[one]))
        for pipeline, values in rates.items():
            printer.add(row('memif', f'redis-same-work/pipeline-{pipeline}', values, 'orders/s', clients=50,
                            flush_us_p50=round(flush, 1)))
        for name, goal in (('tcp/single-line', 55), ('memif/single-line', 70)):
            printer.add(row('memif', name, holdfast.values(name), 'orders/s', 'redis-same-work', rates[best], goal=goal,
                            redis_pipeline=best, echo=round(median(ceilings[name]))))
        report(printer, 'memif', holdfast, ceilings, flush_us_p50=round(flush, 1))
