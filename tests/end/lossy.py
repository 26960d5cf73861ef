"""A path between datagram clients and an engine that loses, doubles and holds back some of what it carries, in both directions."""

import random
import selectors
import socket
import threading


class LossyPath:
    """Listens on a port of its own; each client gets a socket of its own towards the engine, as behind an address translator. Every
    `move_every` datagrams of a client it gets another one: to the engine the client is somewhere else."""

    def __init__(self, engine, seed, drop=0.05, double=0.05, hold=0.05, move_every=0, bytes_max=None):
        self.engine = engine
        self.random = random.Random(seed)
        self.drop, self.double, self.hold, self.move_every, self.bytes_max = drop, double, hold, move_every, bytes_max
        self.front = self._socket()
        self.front.bind(('127.0.0.1', 0))
        self.address = 'udp://127.0.0.1:%d' % self.front.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.front, selectors.EVENT_READ)
        self.backs = {}  # client's address -> socket towards the engine
        self.counts = {}
        self.held = []  # (send, datagram) that others overtake
        self.carried = self.dropped = self.doubled = self.overtaken = self.moved = self.too_large = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @staticmethod
    def _socket():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        made.setblocking(False)
        return made

    def stop(self):
        self.stopping.set()
        self.thread.join()
        for one in [self.front, *self.backs.values()]:
            one.close()
        self.selector.close()

    def _back(self, client):
        """The socket that stands for the client now."""
        self.counts[client] = self.counts.get(client, 0) + 1
        old = self.backs.get(client)
        if old is not None and not (self.move_every and self.counts[client] % self.move_every == 0):
            return old
        if old is not None:
            self.moved += 1
            self.selector.unregister(old)
            old.close()
        made = self._socket()
        made.connect(self.engine)
        self.selector.register(made, selectors.EVENT_READ, client)
        self.backs[client] = made
        return made

    def _carry(self, send, datagram):
        if self.bytes_max and len(datagram) > self.bytes_max:
            self.too_large += 1
            return
        drawn = self.random.random()
        if drawn < self.drop:
            self.dropped += 1
        elif drawn < self.drop + self.double:
            self.doubled += 1
            self._send(send, datagram)
            self._send(send, datagram)
        elif drawn < self.drop + self.double + self.hold:
            self.overtaken += 1
            self.held.append((send, datagram))
        else:
            self._send(send, datagram)

    def _send(self, send, datagram):
        self.carried += 1
        try:
            send(datagram)
        except OSError:
            pass  # the engine is gone for now, or its socket is full: lost like any other

    def _release(self, all_of_them):
        while self.held and (all_of_them or self.random.random() < 0.3):
            self._send(*self.held.pop(self.random.randrange(len(self.held))))

    def _read(self, one, client):
        for _ in range(64):
            try:
                datagram, sender = one.recvfrom(65536)
            except OSError:
                return
            if client is None:
                back = self._back(sender)
                self._carry(back.send, datagram)
            else:
                self._carry(lambda data, to=client: self.front.sendto(data, to), datagram)

    def _run(self):
        while not self.stopping.is_set():
            ready = self.selector.select(0.01)
            for key, _ in ready:
                if key.fileobj is self.front or self.backs.get(key.data) is key.fileobj:
                    self._read(key.fileobj, key.data)
            self._release(not ready)
