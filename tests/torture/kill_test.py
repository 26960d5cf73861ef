"""SIGKILL at every bad moment, under load that goes on over it: nothing told is lost, and whoever comes next takes over at once."""

import os
import signal
import socket
import time

import kit

ROUNDS = kit.scaled(3, 30)


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as taken:
        return taken.getsockname()[1]


class Kill(kit.Torture):
    def test_a_kill_and_the_next_engine_within_a_millisecond(self):
        """The next one already waits for the directory, and for the port, when the one before dies: its late writes are over first."""
        listen = f'tcp://127.0.0.1:{free_port()}'
        engine = self.stocked(listen=listen)
        load = self.load(engine, rate=400)  # every round replays and audits all that came before
        for number in range(ROUNDS):
            with self.round(number):
                self.some_answers(50)
                time.sleep(self.chance.uniform(0, 0.2))
                after = self.launch(listen=listen, shards=self.shards())
                if self.chance.random() < 0.7:
                    time.sleep(self.chance.uniform(0.02, 0.2))  # else it may look for the lock just after the kill
                engine.process.kill()
                engine.kill()
                engine = after.wait_ready()
                self.some_answers(50)
                self.judged(engine)
        report = self.end_load(load)
        self.assertGreaterEqual(report['connections_made'], ROUNDS)
        state = self.judged(engine)
        engine.kill()
        self.kept(state, shards=3)

    def test_of_several_that_wait_one_takes_over_and_the_others_refuse(self):
        engine = self.stocked()
        for number in range(kit.scaled(1, 5)):
            with self.round(number):
                load = self.load(engine)
                self.some_answers()
                waiting = [self.launch(shards=self.shards()) for _ in range(3)]
                time.sleep(self.chance.uniform(0, 0.3))
                engine.kill()
                self.drop_load(load)
                self.eventually(lambda: sum(one.process.poll() is None for one in waiting) == 1, 'one of three left')
                over = [one for one in waiting if one.process.poll() is None]
                for one in waiting:
                    if one not in over:
                        self.assertEqual(one.wait_end(), 3, one.text())
                        self.assertIn(self.data, one.text())
                engine = over[0].wait_ready()
                self.judged(engine)

    def test_killed_while_it_recovers_again_and_again(self):
        engine = self.stocked()
        load = self.load(engine, rate=0, seconds=kit.scaled(0.4, 5))
        load.wait(kit.harness.WAIT_S)
        self.end_load(load)
        engine.kill()
        began = time.monotonic()
        state = self.came_back()
        took = time.monotonic() - began
        for number in range(ROUNDS):
            with self.round(number):
                engine = self.launch(shards=self.shards())
                time.sleep(self.chance.uniform(0, took))
                engine.kill()
        self.kept(state)
        self.came_back()

    def test_killed_in_the_drain_of_a_stop(self):
        for number in range(ROUNDS):
            with self.round(number):
                engine = self.stocked(shards=self.shards()) if number == 0 else self.start(shards=self.shards())
                load = self.load(engine)
                self.some_answers()
                engine.process.send_signal(self.chance.choice([signal.SIGTERM, signal.SIGINT]))
                time.sleep(self.chance.choice([0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.02]))
                engine.kill()
                self.drop_load(load)
                self.came_back()

    def test_killed_while_it_formats_a_directory(self):
        for number in range(ROUNDS * 2):
            with self.round(number):
                data = os.path.join(self.directory, f'new{number}')
                engine = self.launch(data=data)
                time.sleep(self.chance.uniform(0, 0.1))
                engine.kill()
                again = self.start(data=data)
                self.connect(again).provide('GOOD', 1, 5)
                state = self.digest(again)
                self.assertEqual(again.stop(), 0, again.text())
                self.kept(state, data)
                kit.harness.shutil.rmtree(data)


if __name__ == '__main__':
    kit.main()
