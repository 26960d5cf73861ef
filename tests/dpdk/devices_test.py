"""dpdk:// over the devices that every Linux has: af_packet, af_xdp, a recorded capture, and several at once. One file serves them all."""

import glob
import json
import os
import re
import socket
import struct

from namespace import enter_namespace, huge_pages, make_cable, ping, run
from harness import EndTest, main, run_tool  # its folder is known by now

PCAP_MAC = bytes.fromhex('027063617000')  # what DPDK's pcap device says of itself
CLIENT_MAC = bytes.fromhex('02000000000c')
ENGINE, CLIENT = bytes((10, 9, 0, 2)), bytes((10, 9, 0, 1))
ARP = b'\xff' * 6 + CLIENT_MAC + b'\x08\x06' + struct.pack('!HHBBH', 1, 0x800, 6, 4, 1) + CLIENT_MAC + CLIENT + bytes(6) + ENGINE


def folded(data):
    data += b'\0' * (len(data) % 2)
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ip(protocol, payload, fragment=0x4000, to=ENGINE):
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(payload), 0, fragment, 64, protocol, 0, CLIENT, to)
    head = head[:10] + struct.pack('!H', folded(head)) + head[12:]
    return PCAP_MAC + CLIENT_MAC + b'\x08\x00' + head + payload


def echo():
    icmp = struct.pack('!BBHHH', 8, 0, 0, 7, 1) + b'recorded'
    return struct.pack('!BBHHH', 8, 0, folded(icmp), 7, 1) + b'recorded'


def capture(packets):
    head = struct.pack('<IHHIIII', 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1)
    return head + b''.join(struct.pack('<IIII', i, 0, len(packet), len(packet)) + packet for i, packet in enumerate(packets))


def packets_of(data):
    found, at = [], 24
    while at < len(data):
        length = struct.unpack_from('<I', data, at + 8)[0]
        found.append(data[at + 16:at + 16 + length])
        at += 16 + length
    return found


class Devices(EndTest):
    def trade(self, *addresses, orders=200):
        for address in addresses:
            found = run_tool(address, 'load', '--skus', 4, '--connections', 3, '--rate', 0, '--orders', orders, '--batch', 4,
                             '--inflight', 8)
            self.assertEqual(found.status, 0, str(found))
            self.assertEqual([found.json[name] for name in ('orders', 'granted', 'unanswered')], [orders, orders, 0], str(found))

    def cable(self, *addresses, mtu=1500):
        make_cable('va', 'vb', *addresses, mtu=mtu)
        self.addCleanup(run, 'ip', 'link', 'delete', 'va')

    def test_an_interface_that_the_kernel_keeps_carries_orders_and_packets_of_9000_bytes(self):
        self.cable('10.9.0.1/24', 'fd00:9::1/64', mtu=9000)
        engine = self.start('--listen', 'dpdk://net_af_packet0,iface=va,framesz=9216,blocksz=36864?ip=10.9.0.2/24&ip=fd00:9::2/64'
                            '&port=7000&mtu=9000', '--insecure-listen')
        self.stock(engine, 4, 1000000)
        ping('10.9.0.2', '-s', '8972', '-M', 'do')
        ping('fd00:9::2')
        self.trade('udp://10.9.0.2:7000', 'udp://[fd00:9::2]:7000')
        self.audit_clean(engine)
        self.assertEqual(engine.stop(), 0)

    def test_af_xdp_carries_orders(self):
        # Under a sanitizer: libxdp forgets a few bytes.
        os.environ['LSAN_OPTIONS'] = 'print_suppressions=0:suppressions=' + self.write('forgotten', 'leak:libxdp\n')
        self.addCleanup(os.environ.pop, 'LSAN_OPTIONS')
        self.cable('10.9.0.1/24', 'fd00:9::1/64')
        engine = self.start('--listen', 'dpdk://net_af_xdp0,iface=va,busy_budget=0?ip=10.9.0.2/24&ip=fd00:9::2/64&port=7000',
                            '--insecure-listen')
        self.stock(engine, 4, 1000000)
        ping('10.9.0.2')
        self.trade('udp://10.9.0.2:7000', 'udp://[fd00:9::2]:7000')
        self.assertEqual(engine.stop(), 0)

    def test_two_devices_and_two_shards_serve_one_engine(self):
        self.cable('10.7.0.1/24')
        engine = self.start('--listen', 'dpdk://net_af_packet0,iface=va?ip=10.7.0.2/24&port=7100', '--listen',
                            'dpdk://net_tap0,iface=hf0?ip=10.9.0.2/24&port=7000&offload=no', '--insecure-listen', shards=2)
        run('ip', 'address', 'add', '10.9.0.1/24', 'dev', 'hf0')
        run('ip', 'link', 'set', 'hf0', 'up')
        self.stock(engine, 4, 1000000)
        ping('10.7.0.2')
        ping('10.9.0.2')
        self.trade('udp://10.7.0.2:7100', 'udp://10.7.0.2:7101', 'udp://10.9.0.2:7000', 'udp://10.9.0.2:7001')
        self.audit_clean(engine)
        devices = self.tool(engine, 'status')['devices']
        self.assertEqual([devices[name][key] for name in ('0', '1') for key in ('queues', 'shards', 'mtu')], [1, 2, 1500, 2, 2, 1500])
        self.assertEqual((devices['1']['offload_in'], devices['1']['offload_out']), (0, 0))
        for device in devices.values():
            self.assertGreater(device['pool_bytes'], 0)
            self.assertGreater(device['xstats']['rx_good_packets'], 0)
        self.assertEqual(engine.stop(), 0)

    def test_a_client_beyond_the_gateway_is_answered_through_it(self):
        self.cable('10.9.0.1/24')
        run('ip', 'address', 'add', '192.0.2.9/32', 'dev', 'lo')
        # Linux asks for its neighbours with the address of the gateway that it is, as for what it passes on.
        with open('/proc/sys/net/ipv4/conf/vb/arp_announce', 'w', encoding='ascii') as announce:
            announce.write('2')
        engine = self.start('--listen', 'dpdk://net_af_packet0,iface=va?ip=10.9.0.2/24&gateway=10.9.0.1&port=7000', '--insecure-listen')
        ping('10.9.0.2', '-I', '192.0.2.9')
        self.assertEqual(engine.stop(), 0)

    def replay(self, recorded, options=''):
        """What the engine counts and answers of a capture."""
        path, answers = os.path.join(self.directory, 'in.pcap'), os.path.join(self.directory, 'out.pcap')
        with open(path, 'wb') as out:
            out.write(capture(recorded))
        engine = self.start('--listen', f'dpdk://net_pcap0,rx_pcap={path},tx_pcap={answers}?ip=10.9.0.2/24&port=7000{options}',
                            '--insecure-listen')

        def counted():
            shard = self.tool(engine, 'status')['shards'][0]
            return shard if shard.get('packets', {}).get('in') == len(recorded) else None
        shard = self.eventually(counted, 'the end of the capture')
        self.assertEqual(engine.stop(), 0)
        with open(answers, 'rb') as found:
            return shard, packets_of(found.read())

    def test_a_recorded_capture_is_answered_into_another_and_every_packet_counted(self):
        udp = struct.pack('!HHHH', 5000, 7000, 8 + 64, 0) + b'x' * 64
        shard, sent = self.replay([ARP, ip(1, echo()), ip(17, udp), ip(17, udp[:6] + b'\x12\x34' + udp[8:]), ip(17, udp, fragment=0x2000),
                                   ip(17, udp[:4] + b'\x0f\xff' + udp[6:]), ip(17, udp, to=bytes((10, 9, 0, 3))), ip(132, udp)])
        names = ('datagrams', 'arp_answered', 'echo_answered', 'bad_checksum', 'fragments', 'malformed', 'not_ours', 'unserved')
        self.assertEqual([shard['packets'][name] for name in names], [1] * len(names), shard)
        self.assertEqual((shard['net']['datagrams_in'], shard['net']['bad_frame']), (1, 1), shard)
        self.assertEqual([packet[:6] for packet in sent], [CLIENT_MAC] * 2)
        self.assertEqual(sent[0][12:22], b'\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02')
        self.assertEqual((sent[1][34], sent[1][-8:]), (0, b'recorded'))

    def test_on_a_vlan_only_packets_with_its_tag_are_ours(self):
        def tagged(packet, vlan):
            return packet[:12] + b'\x81\x00' + struct.pack('!H', vlan) + packet[12:]
        shard, sent = self.replay([ARP, tagged(ARP, 8), tagged(ARP, 7), tagged(ip(1, echo()), 7)], '&vlan=7')
        self.assertEqual([shard['packets'][name] for name in ('not_ours', 'arp_answered', 'echo_answered')], [2, 1, 1], shard)
        self.assertEqual([packet[12:18] for packet in sent], [b'\x81\x00\x00\x07\x08\x06', b'\x81\x00\x00\x07\x08\x00'])

    def test_a_section_of_the_configuration_names_devices_and_dpdks_own_arguments(self):
        os.environ['TMPDIR'] = self.directory
        self.addCleanup(os.environ.pop, 'TMPDIR')
        config = self.write('config.yaml', 'insecure-listen: true\ndpdk:\n  eal: --telemetry\n  devices:\n'
                                           '    - {device: net_null0, ip: [10.9.0.2/24], port: 7000}\n')
        engine = self.start('--config', config)
        self.eventually(lambda: len(engine.addresses) == 2, 'a second address')
        self.assertEqual(engine.addresses[1], 'dpdk://net_null0?ip=10.9.0.2/24&port=7000')
        sockets = glob.glob(os.path.join(self.directory, 'hf-eal-*', 'dpdk', '*', 'dpdk_telemetry.v2'))
        self.assertEqual(len(sockets), 1, os.listdir(self.directory))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as telemetry:
            telemetry.connect(sockets[0])
            telemetry.recv(65536)
            telemetry.send(b'/ethdev/list')
            self.assertEqual(json.loads(telemetry.recv(65536)), {'/ethdev/list': [0]})
        self.assertEqual(engine.stop(), 0)
        self.assertEqual(glob.glob(os.path.join(self.directory, 'hf-eal-*')), [])

    def test_huge_pages_are_used_where_there_are_some_and_missed_with_a_sentence_where_not(self):
        pages = os.path.join(self.directory, 'pages')
        os.mkdir(pages)
        null = '--listen', 'dpdk://net_null0?ip=10.9.0.2/24&port=7000&huge=yes', '--insecure-listen'
        memif = f'dpdk://net_memif0,role=server,socket-abstract=no,socket={self.directory}/m?ip=10.9.0.2/24&port=7000&huge=yes'
        with huge_pages(pages) as (enough, mounted):
            if not enough:
                self.refused_start(5, 'and huge pages', 'docs/dpdk.md', options=null)
                return
            self.assertEqual(self.start(*null).stop(), 0)
            if not mounted:
                return
            engine = self.start('--listen', memif, '--insecure-listen')
            self.stock(engine, 4, 1000000)
            self.load_granted(memif.replace('role=server', 'role=client').replace('.2/24&port=7000', '.1/24&to=10.9.0.2:7000'), 1)
            with open(f'/proc/{engine.process.pid}/smaps_rollup', encoding='ascii') as memory:
                kib = re.findall(r'(?:Shared|Private)_Hugetlb:\s+(\d+)', memory.read())
            self.assertGreaterEqual(sum(map(int, kib)), 8 << 10)
            self.audit_clean(engine)
            self.assertEqual(engine.stop(), 0, engine.text())


if __name__ == '__main__':
    enter_namespace()
    main()
