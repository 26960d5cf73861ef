"""Starts that are refused, each with its exit status and a sentence that says what to do; and starts that are not."""

import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time

import harness
import protocol as p

MANIFEST_CHECKSUM_AT = 20 + 4


def manifest_files(data):
    """Every place in the directory where a manifest stands: (path, offset)."""
    found = []
    for name in sorted(os.listdir(data)):
        path = os.path.join(data, name)
        with open(path, 'rb') as file:
            for at in (0, 4096, 65536):
                file.seek(at)
                if file.read(8) == b'HUFFMAN1':
                    found.append((path, at))
    return found


def rewrite(path, at, change, seal=True):
    """Changes a manifest in place; with `seal` its checksum is right again."""
    with open(path, 'r+b') as file:
        file.seek(at)
        raw = bytearray(file.read(4096))
        change(raw)
        if seal:
            raw[MANIFEST_CHECKSUM_AT:MANIFEST_CHECKSUM_AT + 4] = bytes(4)
            struct.pack_into('<I', raw, MANIFEST_CHECKSUM_AT, p.crc32c(bytes(raw)))
        file.seek(at)
        file.write(raw)


def contents(path):
    with open(path, 'rb') as file:
        return file.read()


def set_format_2(raw):
    struct.pack_into('<I', raw, 8, 2)


def drop_root():
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


class Start(harness.EndTest):
    def stocked(self, *options, orders=20):
        """A stopped directory with some orders; its (position, digest)."""
        engine = self.start(*options)
        client = self.connect(engine)
        client.provide('GOOD', 1, 1000)
        for _ in range(orders):
            self.assertEqual(client.place([('GOOD', 1, 1)])[1].result, 'OK')
        state = self.digest(engine)
        self.assertEqual(engine.stop(), 0, engine.text())
        return state

    def first_segment(self):
        return min(name for name in os.listdir(self.data) if name.startswith('log-'))

    def test_a_missing_and_an_empty_directory_are_formatted(self):
        self.assertEqual(self.start().stop(), 0)
        empty = os.path.join(self.directory, 'empty')
        os.mkdir(empty)
        self.assertEqual(self.start(data=empty).stop(), 0)

    def test_a_directory_of_other_things_is_left_alone(self):
        other = os.path.join(self.directory, 'other')
        os.mkdir(other)
        with open(os.path.join(other, 'thesis.txt'), 'w', encoding='ascii') as file:
            file.write('three years of work')
        self.refused_start(2, 'thesis.txt', data=other)
        self.assertEqual(os.listdir(other), ['thesis.txt'])

    def test_every_log_line_is_an_object_with_time_level_and_message(self):
        engine = self.start()
        engine.stop()
        for message in engine.messages():
            self.assertTrue({'time', 'level', 'msg'} <= message.keys(), message)
        self.assertEqual(engine.messages()[-1]['msg'], 'stopped')

    def test_a_port_in_use(self):
        with socket.create_server(('127.0.0.1', 0)) as taken:
            address = 'tcp://127.0.0.1:%d' % taken.getsockname()[1]
            self.refused_start(5, address[len('tcp://'):], listen=address)
        first = self.start()
        self.refused_start(5, listen=first.address, data=os.path.join(self.directory, 'second'))
        self.assertEqual(self.connect(first).get((0, 1)).result, 'UNKNOWN_ORDER')

    def test_a_port_in_use_with_two_shards(self):
        first = self.start(shards=2)
        self.refused_start(5, listen=first.address, shards=2, data=os.path.join(self.directory, 'second'))
        self.assertEqual(self.connect(first).get((0, 1)).result, 'UNKNOWN_ORDER')

    def test_two_engines_on_one_directory(self):
        first = self.start()
        client = self.connect(first)
        client.provide('GOOD', 1, 5)
        state = self.digest(first)
        self.refused_start(3, self.data)
        self.unchanged(first, state)
        self.assertEqual(client.place([('GOOD', 1, 1)])[1].result, 'OK')

    def test_the_tool_leaves_a_running_directory_alone(self):
        self.start()
        done = harness.run_tool(None, 'journal', 'replay', '--data', self.data)
        self.assertEqual(done.status, 3, str(done))

    def test_a_directory_of_a_newer_format(self):
        self.stocked()
        copies = manifest_files(self.data)
        self.assertEqual(len(copies), 2, 'the manifest stands twice')
        for path, at in copies:
            rewrite(path, at, set_format_2)
        self.refused_start(6, 'newer')
        done = harness.run_tool(None, 'journal', 'replay', '--data', self.data)
        self.assertEqual(done.status, 6, str(done))

    def test_a_flipped_bit_of_one_manifest_is_neither_newer_nor_lost(self):
        state = self.stocked()
        path, at = manifest_files(self.data)[0]
        rewrite(path, at, set_format_2, seal=False)
        self.kept(state)
        self.unchanged(self.start(), state)

    def test_flipped_bits_of_both_manifests_are_damage_not_a_newer_format(self):
        self.stocked()
        for path, at in manifest_files(self.data):
            rewrite(path, at, set_format_2, seal=False)
        self.refused_start(4)

    def test_a_damaged_block_names_its_position_and_changes_nothing(self):
        self.stocked(orders=60)
        segment = self.first_segment()
        path = os.path.join(self.data, segment)
        with open(path, 'r+b') as file:
            file.seek(8192 + 200)
            byte = file.read(1)[0]
            file.seek(8192 + 200)
            file.write(bytes([byte ^ 4]))
        before = contents(path)
        self.refused_start(4, '8192')
        self.assertEqual(contents(path), before)
        found = self.tool(None, 'journal', 'verify', '--data', self.data, status=4)
        self.assertEqual(found['damaged'], 8192)
        done = harness.run_tool(None, 'journal', 'replay', '--data', self.data)
        self.assertEqual(done.status, 4, str(done))

    def test_a_torn_tail_is_cut_and_said(self):
        # What follows the last block is from a write that nobody was told about.
        state = self.stocked()
        end = self.tool(None, 'journal', 'verify', '--data', self.data)['end_position']
        segment = self.first_segment()
        with open(os.path.join(self.data, segment), 'r+b') as file:
            file.seek(end)
            file.write(os.urandom(6000))
        self.kept(state)
        self.unchanged(self.start(), state)

    def test_a_read_only_directory(self):
        self.stocked()
        for folder, _, names in os.walk(self.directory):
            os.chmod(folder, 0o555)
            for name in names:
                os.chmod(os.path.join(folder, name), 0o444)
        try:
            self.refused_start(5, self.data, preexec=drop_root)
        finally:
            for folder, _, _ in os.walk(self.directory):
                os.chmod(folder, 0o755)

    def test_a_directory_that_cannot_be_made(self):
        self.refused_start(5, '/proc/holdfast', data='/proc/holdfast/data')

    def test_a_disk_without_room_for_the_log(self):
        def small_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        self.refused_start(5, self.data, preexec=small_files)

    def test_a_disk_that_fills_up_keeps_what_was_acknowledged(self):
        """New orders are told; settles and cancels go on in reserved room; when room was made, so do orders."""
        mounted = os.path.join(self.directory, 'mounted')
        os.mkdir(mounted)
        mount = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', mounted], stderr=subprocess.PIPE, check=False)
        self.addCleanup(subprocess.run, ['umount', '-l', mounted], stderr=subprocess.DEVNULL, check=False)
        if mount.returncode != 0:  # no right to mount: then what is left is a limit that no segment fits
            self.test_a_disk_without_room_for_the_log()
            return
        self.fill(os.path.join(mounted, 'data'), lambda: subprocess.run(['mount', '-o', 'remount,size=256m', mounted], check=True))

    def fill(self, data, repair):
        engine = self.start('--max-lines', '4000000', data=data)
        client = self.connect(engine)
        self.stock(engine, 200, 1 << 30)
        first, second = (client.place([('SKU000001', 1, 1), ('SKU000002', 1, 1)]) for _ in range(2))
        self.assertEqual((first[1].result, second[1].result), ('OK', 'OK'))
        acked = self.write('acked', '')

        def no_space():
            found = self.tool(engine, 'load', '--skus', 200, '--lines', 200, '--connections', 2, '--batch', 4, '--inflight', 4, '--rate', 0,
                              '--orders', 400, '--acked', acked)
            return 'NO_SPACE' in found['busy_by_code']
        self.eventually(no_space, 'a full disk')
        self.assertEqual(client.verb(p.CANCEL, first[0]).result, 'OK', 'cancels have reserved room')
        self.assertEqual(client.settle(second[0]).result, 'OK', 'settles have reserved room')
        self.assertEqual(client.place([('SKU000001', 1, 1)])[1].result, 'NO_SPACE')
        self.audit_clean(engine, acked)
        repair()
        self.eventually(lambda: client.place([('SKU000001', 1, 1)])[1].result == 'OK', 'room again')
        state = self.digest(engine)
        engine.kill()
        self.kept(state, data)
        again = self.start('--max-lines', '4000000', data=data)
        self.audit_clean(again, acked)
        client = self.connect(again)
        self.assertEqual((client.get(first[0]).order, client.get(second[0]).order), ('CANCELLED', 'CONFIRMED'))
        again.kill()

    def test_a_wall_clock_too_far_ahead(self):
        self.stocked()
        time.sleep(1.5)
        self.refused_start(7, '--accept-clock', options=['--max-clock-gap', '0.5'])
        engine = self.start('--max-clock-gap', '0.5', '--accept-clock')
        self.assertEqual(self.connect(engine).get((0, 1)).result, 'UNKNOWN_ORDER')

    # ---- sizes ----

    def test_sizes_too_small_for_the_directory_name_the_least_that_fits(self):
        engine = self.start()
        client = self.connect(engine)
        for number in range(40):
            self.assertEqual(client.define(f'SKU{number}').result, 'OK')
        client.define_location(1)
        for number in range(30):
            self.assertEqual(client.receive_stock(f'SKU{number}', 1, 100).result, 'OK')
        for number in range(25):
            self.assertEqual(client.place([('SKU1', 1, 1), ('SKU2', 1, 1), ('SKU3', 1, 1)], key=f'basket {number}')[1].result, 'OK')
        state = self.digest(engine)
        self.assertEqual(engine.stop(), 0)
        cases = (('--max-skus', 40), ('--max-cells', 30), ('--max-orders', 25), ('--max-lines', 50), ('--max-command-ids', 71),
                 ('--max-request-keys', 25))
        for option, least in cases:
            with self.subTest(option=option):
                refused = self.refused_start(2, option, options=[option, str(least - 1)])
                named = [int(word) for word in re.findall('[0-9]+', refused.text())]
                self.assertTrue(any(least <= number <= least + 40 for number in named), refused.text())
                enough = min(number for number in named if number >= least)
                fits = self.start(option, str(enough))
                self.unchanged(fits, state)
                fits.stop()

    def test_a_full_table_names_itself_and_its_option(self):
        cases = {
            '--max-skus': lambda c, n: c.define(f'MORE{n}'),
            '--max-orders': lambda c, n: c.place([('GOOD', 1, 1)])[1],
            '--max-lines': lambda c, n: c.place([('GOOD', 1, 1), ('GOOD', 2, 1)])[1],
            '--max-cells': lambda c, n: c.receive_stock('GOOD', n + 1, 1),
            '--max-command-ids': lambda c, n: c.receive_stock('GOOD', 1, 1),
            '--max-request-keys': lambda c, n: c.place([('GOOD', 1, 1)], key=f'basket {n}')[1],
            '--max-limits': lambda c, n: c.place([('LIMITED', 1, 1)], customer=n + 1)[1],
        }
        for option, fill in cases.items():
            with self.subTest(option=option):
                data = os.path.join(self.directory, option.strip('-'))
                engine = self.start(option, '40', data=data)
                client = self.connect(engine)
                for location in range(1, 3 if option != '--max-cells' else 46):
                    client.define_location(location)
                for sku in ('GOOD', 'LIMITED'):
                    client.define(sku)
                    client.receive_stock(sku, 1, 100000)
                client.receive_stock('GOOD', 2, 100000)
                client.one(p.policy(client.fresh('LIMITED'), 'LIMITED', per_customer=5))
                results = [fill(client, number) for number in range(45)]
                self.assertEqual(results[-1].result, 'FULL', option)
                self.assertEqual(results[-1].table, option)
                self.assertIn('OK', [answer.result for answer in results])
                self.assertEqual(client.one(p.get_cell('GOOD', 1)).result, 'OK')
                self.audit_clean(engine)
                state = self.digest(engine)
                engine.kill()
                again = self.start(option, '40', data=data)
                self.unchanged(again, state)
                again.stop()

    # ---- options ----

    def refused_options(self, *words, options, status=2):
        done = subprocess.run([harness.HOLDFASTD, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True,
                              timeout=harness.WAIT_S, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        return done

    def test_usage(self):
        self.refused_options('--data', options=[])
        self.refused_options('--nonsense', options=['--data', self.data, '--nonsense'])
        self.refused_options('--shards', options=['--data', self.data, '--shards', 'two'])
        self.refused_options('--partitions', options=['--data', self.data, '--partitions', '3'])
        self.refused_options('--idle', options=['--data', self.data, '--idle', 'nap'])
        self.refused_options('--data', options=['--data'])
        self.assertFalse(os.path.exists(self.data))

    def test_addresses_that_others_reach_need_a_word(self):
        for address in ('tcp://0.0.0.0:0', 'tcp://192.0.2.1:7420', 'tcp://[::]:0'):
            self.refused_options('--insecure-listen', options=['--data', self.data, '--listen', address])
        engine = self.start('--insecure-listen', listen='tcp://0.0.0.0:0')
        self.assertEqual(self.connect_loopback(engine).get((0, 1)).result, 'UNKNOWN_ORDER')

    def connect_loopback(self, engine):
        client = p.Client(('127.0.0.1', engine.host_port[1]))
        self.addCleanup(client.close)
        return client

    def test_a_configuration_file(self):
        good = self.write('good.yaml', f'data: {self.data}\nlisten:\n  - tcp://127.0.0.1:0\nshards: 1\nmax-orders: 5000\nretention: 2.5\n')
        self.refused_options(options=['--config', good, '--check-config'], status=0)
        self.assertFalse(os.path.exists(self.data), '--check-config touches nothing')
        self.refused_options('max-order', ':2', options=['--config', self.write('key.yaml', 'shards: 1\nmax-order: 5\n'), '--check-config'])
        self.refused_options('shards', 'many', options=['--config', self.write('type.yaml', 'shards: many\n'), '--check-config'])
        self.refused_options(options=['--config', self.write('list.yaml', 'shards:\n  - 1\n'), '--check-config'])
        self.refused_options('broken', options=['--config', self.write('broken.yaml', 'shards: [1\n'), '--check-config'])
        self.refused_options('nothing.yaml', options=['--config', os.path.join(self.directory, 'nothing.yaml'), '--check-config'])
        engine = harness.Engine(self.data, '--config', good, small=False)
        self.engines.append(engine)
        engine.wait_ready()
        client = self.connect(engine)
        self.assertEqual(client.retention_ms, 2500)
        self.assertEqual(self.tool(engine, 'status')['tables']['orders']['rows_max'], 5000)

    def test_version_and_help(self):
        for word, said in (('--version', 'holdfastd '), ('--help', '--max-command-ids')):
            done = self.refused_options(options=[word], status=0)
            self.assertIn(said, done.stdout)

    def test_partitions_are_fixed_at_format(self):
        self.stocked()
        self.refused_start(2, '--partitions', options=['--partitions', '32'])
        self.refused_start(2, '17', shards=17)

    def test_readiness_is_told_to_a_service_manager(self):
        path = os.path.join(self.directory, 'notify')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            manager.settimeout(harness.WAIT_S)
            os.environ['NOTIFY_SOCKET'] = path
            try:
                engine = self.start()
            finally:
                del os.environ['NOTIFY_SOCKET']
            self.assertEqual(manager.recv(100), b'READY=1')
            engine.process.send_signal(signal.SIGINT)
            self.assertEqual(engine.wait_end(), 0)
            self.assertEqual(manager.recv(100), b'STOPPING=1')

    def test_a_copied_directory_is_the_same_state(self):
        state = self.stocked()
        copy = os.path.join(self.directory, 'copy')
        shutil.copytree(self.data, copy)
        self.kept(state, copy)
        self.unchanged(self.start(data=copy, shards=3), state)


if __name__ == '__main__':
    harness.main()
