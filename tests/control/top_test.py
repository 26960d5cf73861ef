"""`holdfast top`: what it shows of an engine, in a terminal and without one, and how it leaves the terminal."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'end'))

import api_test
import harness

HOLDFAST, WAIT_S = harness.HOLDFAST, harness.WAIT_S
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != 'HOLDFAST_SERVER'}
ESCAPE = re.compile(rb'\x1b\[[?0-9;]*[A-Za-z]')


class Terminal:
    """`holdfast top` in a terminal of its own."""

    def __init__(self, test, *words, rows=30, columns=120):
        self.master, slave = pty.openpty()
        self.slave = slave
        test.addCleanup(os.close, self.master)
        test.addCleanup(os.close, slave)
        self.size(rows, columns)
        self.modes = termios.tcgetattr(slave)
        self.process = subprocess.Popen([HOLDFAST, *words, 'top', '--interval', '50'], stdin=slave, stdout=slave, stderr=slave,
                                        env=ENVIRONMENT, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        test.addCleanup(self.end)
        self.seen = b''

    def end(self):
        self.process.kill()
        self.process.wait()

    def size(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def read(self, judge):
        """Reads until judge(what came) is true."""
        deadline = time.monotonic() + WAIT_S
        while not judge(self.seen):
            assert time.monotonic() < deadline, self.seen[-2000:]
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536)

    def screens(self):
        return self.seen.split(b'\x1b[H')[1:-1]

    def left(self):
        """The exit status, after the terminal was found as it was before."""
        self.read(lambda seen: b'\x1b[?25h\x1b[?1049l' in seen)
        status = self.process.wait(WAIT_S)
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 65536)
        assert termios.tcgetattr(self.slave) == self.modes
        return status


class TopTest(api_test.ShopTest):
    def top(self, *words):
        """What it prints, when it ends by itself."""
        done = subprocess.run([HOLDFAST, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=WAIT_S, env=ENVIRONMENT)
        self.assertEqual((done.returncode, done.stderr), (0, b''), done)
        self.assertNotIn(b'\x1b', done.stdout)
        return done.stdout.decode()

    def until(self, judge, *words):
        """Reads what the tool prints without a terminal until judge(a line) is true, and stops it."""
        tool = subprocess.Popen([HOLDFAST, *words], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        timer = threading.Timer(WAIT_S, tool.kill)
        timer.start()
        try:
            self.assertTrue(any(judge(line) for line in tool.stdout), 'it ended, or showed nothing of it')
            tool.send_signal(signal.SIGINT)
            self.assertNotIn('\x1b', tool.stdout.read())
            self.assertEqual(tool.wait(WAIT_S), 0)
        finally:
            timer.cancel()
            tool.kill()
            tool.stdout.close()
            tool.wait()

    @staticmethod
    def shows_trade(frame):
        return (frame['orders_per_s'] > 0 and frame['results_per_s'].get('OK', 0) > 0 and frame['answer_ms_mean'] > 0
                and frame['log']['bytes_per_s'] > 0 and [shard['shard'] for shard in frame['shards']] == [0, 1]
                and len(frame['hot']) == 2 and frame['hot'][0]['sku'] == 'apple' and frame['hot'][0]['share'] > 0.5)

    def test_frames_say_what_happens_over_both_ways(self):
        engine, shop = self.begin(stock=1000000, shards=2)
        shop.PutSku(sku='pear')
        shop.Receive(sku='pear', location=1, quantity=1000)
        ended = threading.Event()

        def trade():
            for number in range(1000000):
                if ended.is_set():
                    break
                shop.place('pear' if number % 10 == 0 else 'apple', 1)

        trader = threading.Thread(target=trade)
        trader.start()
        try:
            for way in (['--server', engine.address], ['--control', engine.data]):
                self.until(lambda line: self.shows_trade(json.loads(line)), *way, '--json', 'top', '--interval', '200')
                self.until(lambda line: '%  apple' in line, *way, 'top', '--interval', '200')
        finally:
            ended.set()
            trader.join()
        for words, frames in ((['--once'], 1), (['--batch', '3'], 3)):
            self.assertEqual(self.top('--control', engine.data, 'top', *words, '--interval', '1').count('hot SKUs'), frames)
            self.assertEqual(len(self.top('--server', engine.address, '--json', 'top', *words, '--interval', '1').splitlines()), frames)

    def test_a_terminal_is_drawn_on_resized_and_left_as_it_was(self):
        engine, _ = self.begin()
        for stop in (lambda top: top.process.send_signal(signal.SIGINT), lambda top: os.write(top.master, b'q'),
                     lambda top: os.write(top.master, b'\x03'), lambda top: top.process.send_signal(signal.SIGTERM)):
            top = Terminal(self, '--control', engine.data)
            top.read(lambda seen: seen.count(b'hot SKUs') >= 3)
            self.assertIn(b'\x1b[?1049h', top.seen)
            top.size(5, 20)
            shown = len(top.screens())
            # One that was under way may still have the size of before.
            top.read(lambda seen: len(top.screens()) > shown + 3)
            lines = ESCAPE.sub(b'', top.screens()[-1]).split(b'\r\n')
            self.assertEqual(len(lines), 5)
            self.assertLessEqual(max(map(len, lines)), 20)
            stop(top)
            self.assertEqual(top.left(), 0)

    def test_an_engine_that_ends_is_said_behind_the_screen(self):
        engine, _ = self.begin()
        for way in (['--server', engine.address], ['--control', engine.data]):
            top = Terminal(self, *way)
            top.read(lambda seen: b'hot SKUs' in seen)
            if way[0] == '--server':
                os.kill(engine.process.pid, signal.SIGSTOP)
                top.process.send_signal(signal.SIGINT)
                os.kill(engine.process.pid, signal.SIGCONT)
                self.assertEqual(top.left(), 0)
                continue
            self.assertEqual(engine.stop(), 0, engine.text())
            # It refuses while it drains, and is gone then.
            self.assertIn(top.left(), (1, 3))
            self.assertIn(b'the engine answers no more', top.seen.split(b'\x1b[?1049l')[-1])


if __name__ == '__main__':
    harness.main()
