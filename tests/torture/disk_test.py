"""File systems that fill up, turn read-only, go away and come back, under load; each is mounted by the test, where nobody else sees it."""

import fcntl
import os
import re
import resource
import signal
import signal
import subprocess
import time

import kit
import protocol as p

ROUNDS = kit.scaled(1, 8)
DISK_BYTES = kit.scaled(128, 512) << 20  # the log is never shortened: each round leaves some 20 MiB of it
SHUT_DOWN = 0x8004587d  # ext4's and xfs's own: _IOR('X', 125, u32)
SHUT_DOWN_WITHOUT_JOURNAL = 2
LIMITED = ['--log-ahead', '4M']


class Disk(kit.Torture):
    def setUp(self):
        super().setUp()
        self.mounted = os.path.join(self.directory, 'mounted')
        self.data = os.path.join(self.mounted, 'data')
        self.ballast = os.path.join(self.mounted, 'ballast')
        os.mkdir(self.mounted)

    def mount(self, kind):
        """A small file system; the limit on file sizes where nothing may be mounted is another test's."""
        if kind == 'tmpfs':
            words = ['mount', '-t', 'tmpfs', '-o', f'size={DISK_BYTES}', 'tmpfs', self.mounted]
        else:
            self.image = os.path.join(self.directory, 'image')
            with open(self.image, 'wb') as file:
                file.truncate(DISK_BYTES)
            subprocess.run(['mkfs.ext4', '-q', '-m', '0', self.image], check=True)
            words = ['mount', '-o', 'loop', self.image, self.mounted]
        done = subprocess.run(words, stderr=subprocess.PIPE, check=False)
        if done.returncode == 0:
            self.addCleanup(self.unmount)
        return done.returncode == 0

    def unmount(self):
        self._end_engines()
        subprocess.run(['umount', '-l', self.mounted], stderr=subprocess.DEVNULL, check=False)

    def kinds(self):
        """tmpfs writes through the page cache, ext4 directly; ext4 needs a loop device, which not every machine gives away."""
        return [kind for kind in ('tmpfs', 'ext4') if self.can_mount(kind)]

    def can_mount(self, kind):
        able = self.mount(kind)
        if able:
            subprocess.run(['umount', self.mounted], check=True)
        return able

    def fill(self):
        """Takes what room there is, but for a few blocks that nobody can plan for."""
        with open(self.ballast, 'ab', buffering=0) as file:
            for piece in (1 << 20, 4096):
                try:
                    while file.write(bytes(piece)) == piece:
                        pass
                except OSError:
                    pass

    def free(self):
        os.truncate(self.ballast, 0)

    def place(self, client):
        return client.place([('SKU000001', 1, 1)])[1].result

    def refused_for_room(self, client):
        return self.place(client) in ('NO_SPACE', 'BUSY')

    # ---- full ----

    def test_a_disk_fills_and_empties_again_and_again_under_load(self):
        for kind in self.kinds() or ['none']:
            with self.subTest(kind=kind, again=f'HF_TORTURE_SEED={self.seed}'):
                if kind == 'none':
                    return  # what a limit on file sizes shows is shown below
                self.mount(kind)
                self.full_rounds()
                self.unmount()
                open(self.acked, 'w', encoding='ascii').close()

    def full_rounds(self):
        engine = self.stocked(*LIMITED)
        client = self.connect(engine)
        for number in range(ROUNDS):
            with self.round(number):
                kept = [client.place([('SKU000001', 1, 1)])[0] for _ in range(2)]
                self.fill()
                load = self.load(engine, rate=0, seconds=600, batch=8, lines=20)
                self.eventually(lambda: self.refused_for_room(client), 'a full disk')
                self.eventually(lambda: client.verb(p.CANCEL, kept[0]).result == 'OK', 'a cancel, which has reserved room')
                self.free()
                self.eventually(lambda: self.place(client) == 'OK', 'room again, without a restart')
                self.some_answers()
                self.end_load(load)
        state = self.judged(engine)
        self.fill()
        load = self.load(engine, rate=0, seconds=600, batch=8, lines=20)
        self.eventually(lambda: self.refused_for_room(client), 'a full disk')
        engine.kill()
        self.drop_load(load)
        self.starts_on_a_full_disk()
        self.free()
        self.assertGreater(self.came_back(*LIMITED)[0], state[0])

    def starts_on_a_full_disk(self):
        """It either serves with what it has kept ahead, or says that there is no room; either way nothing is lost by it."""
        engine = self.launch(*LIMITED)
        engine.ready.wait(kit.harness.WAIT_S)
        if engine.ended.is_set():
            self.assertEqual(engine.wait_end(), 5, engine.text())
            self.assertIn('No space left', engine.text())
        else:
            self.judged(engine.wait_ready())
            engine.kill()

    # ---- a limit on the size of files ----

    def test_a_limit_on_file_sizes_that_comes_and_goes(self):
        """Space that cannot be made is asked for again; a log write that the limit cuts ends the process, and loses nothing."""
        self.data = os.path.join(self.directory, 'data')
        engine = self.stocked(*LIMITED)
        for number in range(kit.scaled(2, 12)):
            with self.round(number):
                limit = self.chance.choice([0, 4096, 100 << 10, 200 << 10, (256 << 10) - 4096])
                load = self.load(engine, rate=0, lines=20, seconds=600)
                self.some_answers()
                resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                time.sleep(self.chance.uniform(0.1, 0.5))
                seen = self.answers()
                if engine.process.poll() is None:
                    resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                    self.eventually(lambda: engine.process.poll() is not None or self.answers() > seen + 100, 'an end or more answers')
                if engine.process.poll() is None:
                    engine.kill()
                else:
                    self.assertEqual(engine.wait_end(), 5, engine.text())
                    self.assertIn('the log could not be written', engine.text())
                self.drop_load(load)
                engine = self.start(*LIMITED, shards=self.shards())
                self.judged(engine)
        self.assertEqual(engine.stop(), 0, engine.text())
        self.came_back()

    def test_a_start_under_a_limit_says_why_not_and_harms_nothing(self):
        self.data = os.path.join(self.directory, 'data')
        engine = self.stocked()
        load = self.load(engine)
        self.some_answers()
        engine.kill()
        self.drop_load(load)
        for limit in (1, 4096, 100 << 10):  # at 0 a thread sanitizer's runtime ends before the engine begins
            with self.subTest(limit=limit):
                engine = self.launch(preexec=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
                self.assertEqual(engine.wait_end(), 5, engine.text())
                self.assertTrue(re.search('File too large|cannot', engine.text()), engine.text())
        self.came_back()

    # ---- unwritable ----

    def test_a_directory_that_turns_immutable_while_running_goes_on_when_it_is_mended(self):
        if not self.mount('ext4'):
            self.data = os.path.join(self.directory, 'data')
        engine = self.stocked(*LIMITED)
        if subprocess.run(['chattr', '+i', self.data], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            os.chmod(self.data, 0o555)  # without the right to set flags the modes count
        self.addCleanup(subprocess.run, ['chattr', '-i', self.data], stderr=subprocess.DEVNULL, check=False)
        load = self.load(engine, rate=0, seconds=600, batch=8, lines=20)
        client = self.connect(engine)
        self.eventually(lambda: self.refused_for_room(client), 'no more room in a directory that takes no files')
        subprocess.run(['chattr', '-i', self.data], stderr=subprocess.DEVNULL, check=False)
        os.chmod(self.data, 0o755)
        self.eventually(lambda: self.place(client) == 'OK', 'room again, without a restart')
        self.end_load(load)
        self.judged(engine)
        engine.kill()
        self.came_back(*LIMITED)

    def test_a_file_system_that_is_read_only_is_refused_and_left_alone(self):
        if not self.mount('tmpfs'):
            self.data = os.path.join(self.directory, 'data')
        engine = self.stocked()
        load = self.load(engine)
        self.some_answers()
        engine.kill()
        self.drop_load(load)
        before = kit.contents(self.data)
        done = subprocess.run(['mount', '-o', 'remount,ro', self.mounted], stderr=subprocess.DEVNULL, check=False)
        if done.returncode == 0:
            self.refused_start(5, self.data)
            self.assertEqual(kit.contents(self.data), before)
            subprocess.run(['mount', '-o', 'remount,rw', self.mounted], check=True)
        self.came_back()

    # ---- gone ----

    def test_a_file_system_that_shuts_down_without_its_journal_keeps_what_was_told(self):
        """As near to a cut of power as a process comes: what the file system had not yet written is lost, log writes fail at once."""
        if not self.mount('ext4'):
            return
        for number in range(ROUNDS):
            with self.round(number):
                engine = self.stocked(*LIMITED) if number == 0 else self.start(*LIMITED, shards=self.shards())
                client = self.connect(engine)
                load = self.load(engine, rate=0, lines=10)
                self.some_answers(self.chance.randrange(50, 1500))
                descriptor = os.open(self.mounted, os.O_RDONLY)
                fcntl.ioctl(descriptor, SHUT_DOWN, p.struct.pack('<I', SHUT_DOWN_WITHOUT_JOURNAL))
                os.close(descriptor)
                self.eventually(lambda: self.refuses_or_ended(engine, client), 'an end, or a refusal where no log write was under way')
                client.close()
                self.assertIn(engine.kill(), (5, -signal.SIGKILL), engine.text())
                self.drop_load(load)
                self.eventually(lambda: subprocess.run(['umount', self.mounted], stderr=subprocess.DEVNULL, check=False).returncode == 0,
                                'the end of the last writes')
                subprocess.run(['mount', '-o', 'loop', self.image, self.mounted], check=True)
                self.came_back(*LIMITED)


if __name__ == '__main__':
    kit.own_namespace()
    kit.main()
