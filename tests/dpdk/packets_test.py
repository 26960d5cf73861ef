"""dpdk:// before packets as scapy makes them: good, malformed, in fragments, spoofed, with wrong sums, lengths, destinations and tags. Each
kind is in its own counter, nothing is answered that must not be, and nobody gets more bytes than he sent."""

import os
import random
import struct
from collections import Counter

from scapy.all import ARP, ICMP, IP, UDP, Dot1Q, Ether, rdpcap, wrpcap
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, IPv6

from namespace import enter_namespace
from packets_kit import COOKIE, DATAGRAM_DROPS, MINE, MY_FOUR, MY_PORT, MY_SIX, PORT, TAKEN, Kinds, Wire, hello, is_question, request
from peers_kit import ADDRESSES, FOUR, SIX, Pcap, Tap, Veth
from harness import EndTest, main, scaled
from protocol import REFUSED, crc32c

SEED = int(os.environ.get('HF_TEST_SEED', '20261124'))


class Packets(EndTest):
    def begin(self, link=None, more=''):
        Wire.quiet()
        self.link = link or Tap()
        self.link.before()
        self.addCleanup(self.link_end, self.link)
        self.engine = self.start('--listen', f'dpdk://{self.link.needs}?{ADDRESSES}{more}', '--insecure-listen',
                                 data=os.path.join(self.directory, self.link.name))
        self.wire = Wire()
        self.addCleanup(self.wire.close)
        probe = Ether(src=MINE, dst='ff:ff:ff:ff:ff:ff') / ARP(hwsrc=MINE, psrc=MY_FOUR, pdst=FOUR)
        if more:
            probe = Ether(src=MINE, dst='ff:ff:ff:ff:ff:ff') / Dot1Q(vlan=7) / ARP(hwsrc=MINE, psrc=MY_FOUR, pdst=FOUR)
        self.kinds = Kinds(self.wire.ask(probe)[ARP].hwsrc)

    def link_end(self, link):
        for engine in self.engines:
            engine.kill()
        link.end()

    def counts(self):
        """Those of packets and, beside them, those of datagrams."""
        shard = self.status(self.engine)['shards'][0]
        found = Counter({**{name: shard['net'][name] for name in ('datagrams_in', *DATAGRAM_DROPS)}, **shard.get('packets', {})})
        found.subtract({'in': self.wire.nudges, 'not_ours': self.wire.nudges})
        return found

    def taken_in(self, least, what):
        """The counters once that many packets are in."""
        self.wire.rest()

        def look():
            self.wire.nudge()
            now = self.counts()
            return now['in'] >= least and now
        return self.eventually(look, what)

    def send(self, packets):
        """(what it did to the counters, frames that came back)."""
        before = self.counts()
        self.wire.received()
        for packet in packets:
            self.wire.send(packet)
        taken = self.taken_in(before['in'] + len(packets), 'the packets counted in')
        taken.subtract(before)
        return taken, [Ether(raw) for raw in self.wire.received()]

    def judge(self, packets, answers=0, **counted):
        """They are counted so, in nothing else, and answered with so many frames, none of them longer."""
        taken, back = self.send(packets)
        names = ('in', 'datagrams_in', *TAKEN, *DATAGRAM_DROPS)
        self.assertEqual({name: taken[name] for name in names if taken[name]}, {'in': len(packets), **counted},
                         [packet.summary() for packet in packets])
        self.assertEqual(taken['in'], sum(taken[name] for name in TAKEN))
        questions = [packet for packet in back if is_question(packet)]
        self.assertEqual(len(questions), taken['neighbours_asked'])
        back = [packet for packet in back if packet not in questions]
        self.assertEqual(len(back), answers, [packet.summary() for packet in back])
        self.assertLessEqual(sum(map(len, back)), sum(max(60, len(packet)) for packet in packets))
        for packet in back:
            self.assertEqual((packet.dst, packet.src), (MINE, self.kinds.ether.dst))
        return back

    def test_each_kind_of_packet_has_its_counter_and_only_good_ones_an_answer(self):
        self.begin()
        for counter, packets in self.kinds.good().items():
            self.judge(packets, answers=len(packets), **{counter: len(packets)})
            for packet in packets:
                self.judge([packet], answers=1, **{counter: 1})
        for counter in ('not_ours', 'malformed', 'bad_checksum', 'fragments', 'unserved'):
            packets = getattr(self.kinds, counter)()
            self.judge(packets, **{counter: len(packets)})

    def test_each_kind_of_datagram_has_its_counter_and_no_answer_is_longer(self):
        self.begin()
        answered = {'addresses_asked': COOKIE, 'session_expired': REFUSED}
        for network in (self.kinds.four, self.kinds.six):
            for counter, payloads in self.kinds.datagrams().items():
                for payload in payloads:
                    back = self.judge([network / self.kinds.udp / payload], answers=counter in answered, datagrams=1, datagrams_in=1,
                                      **{counter: 1})
                    for packet in back:
                        got = bytes(packet[UDP].payload)
                        self.assertEqual((packet[UDP].sport, packet[UDP].dport, got[5]), (PORT, MY_PORT, answered[counter]))
                        self.assertLessEqual(len(got), len(payload))
                        self.sums_hold(packet)
        # One of the two may have no checksum, and none is worse than a wrong one.
        self.judge([self.kinds.four / UDP(sport=MY_PORT, dport=PORT, chksum=0) / hello()], answers=1, datagrams=1, datagrams_in=1,
                   addresses_asked=1)

    def sums_hold(self, packet):
        again = Ether(bytes(packet))
        if IP in again:
            del again[IP].chksum
        for layer in (UDP, ICMP):
            if layer in again:
                del again[layer].chksum
        self.assertEqual(bytes(Ether(bytes(again))), bytes(packet))

    def test_answers_are_right_to_the_bit(self):
        self.begin()
        mac = self.kinds.ether.dst
        for size in (0, 1, 2, 17, 56, 1471, 1472):
            load = random.Random(size).randbytes(size)
            back = self.wire.ask(self.kinds.four / ICMP(id=7, seq=size) / load)
            self.assertEqual((back[IP].src, back[IP].dst, back[ICMP].type, back[ICMP].id, back[ICMP].seq, bytes(back[ICMP].payload)[:size]),
                             (FOUR, MY_FOUR, 0, 7, size, load))
            self.sums_hold(back)
            back = self.wire.ask(self.kinds.six / ICMPv6EchoRequest(id=7, seq=size, data=load[:1452]))
            self.assertEqual((back[IPv6].src, back[IPv6].dst, back[ICMPv6EchoReply].seq, back[ICMPv6EchoReply].data[:size]),
                             (SIX, MY_SIX, size, load[:1452]))
        back = self.wire.ask(self.kinds.arp)
        self.assertEqual((back[ARP].op, back[ARP].hwsrc, back[ARP].psrc, back[ARP].hwdst, back[ARP].pdst), (2, mac, FOUR, MINE, MY_FOUR))
        back = self.wire.ask(self.kinds.good()['neighbour_answered'][0])
        told = back[ICMPv6ND_NA]
        self.assertEqual((back[IPv6].hlim, told.R, told.S, told.O, told.tgt, bytes(told.payload)[2:8]),
                         (255, 0, 1, 1, SIX, bytes.fromhex(mac.replace(':', ''))))

    def test_mutated_and_random_packets_add_up(self):
        self.begin()
        drawn = random.Random(SEED)
        whole = [bytes(packet) for packets in self.kinds.good().values() for packet in packets]
        whole += [bytes(network / self.kinds.udp / payload) for network in (self.kinds.four, self.kinds.six)
                  for payload in (hello(), request(), hello((5, 5), 1400))]
        before, back, sent = self.counts(), 0, 0
        count = scaled(3000, 300000)
        for at in range(count):
            raw = bytearray(drawn.choice(whole))
            for _ in range(drawn.randrange(4)):
                raw[drawn.randrange(12, len(raw))] ^= 1 << drawn.randrange(8)
            if drawn.random() < 0.2:
                del raw[drawn.randrange(14, len(raw)):]
            if drawn.random() < 0.1:
                raw[14:] = drawn.randbytes(drawn.randrange(1486))
            sent += self.wire.send(raw)
            if at % 100 == 99:  # no faster than the engine takes them, else Linux's queue is what drops
                self.taken_in(before['in'] + at + 1, f'packet {at} of seed {SEED}')
                back += sum(map(len, self.wire.received()))
        taken = self.counts()
        taken.subtract(before)
        self.assertEqual(taken['in'], count)
        self.assertEqual(taken['in'], sum(taken[name] for name in TAKEN), taken)
        self.assertEqual(taken['datagrams_in'], taken['datagrams'])
        self.assertEqual(taken['datagrams_in'], sum(taken[name] for name in DATAGRAM_DROPS), taken)
        self.assertLess(back, sent)
        for name in ('malformed', 'bad_checksum', 'not_ours', 'echo_answered', 'addresses_asked'):
            self.assertGreater(taken[name], 0, taken)

    def test_pings_beyond_what_it_answers_in_a_second_are_held_back(self):
        self.begin()
        taken, back = self.send([self.kinds.four / ICMP(seq=at) for at in range(800)])
        self.assertEqual(taken['echo_answered'] + taken['held_back'], 800, taken)
        self.assertGreaterEqual(taken['echo_answered'], 200)
        self.eventually(lambda: back.extend(self.wire.received()) or len(back) >= taken['echo_answered'], 'all that was answered')
        # Orders go on meanwhile: datagrams are no such answers.
        self.judge([self.kinds.four / self.kinds.udp / hello()], answers=1, datagrams=1, datagrams_in=1, addresses_asked=1)

    def tags(self, link):
        self.begin(link, '&vlan=7')
        tagged = Ether(src=MINE, dst=self.kinds.ether.dst) / Dot1Q(vlan=7, prio=3)
        payload = UDP(sport=MY_PORT, dport=PORT) / hello()
        for packet in (tagged / IP(src=MY_FOUR, dst=FOUR) / ICMP(), tagged / IPv6(src=MY_SIX, dst=SIX) / ICMPv6EchoRequest(),
                       tagged / IP(src=MY_FOUR, dst=FOUR) / payload, tagged / IPv6(src=MY_SIX, dst=SIX) / payload):
            self.assertEqual(self.wire.ask(packet)[Dot1Q].vlan, 7)
        other = Ether(src=MINE, dst=self.kinds.ether.dst) / Dot1Q(vlan=8)
        self.judge([other / IP(src=MY_FOUR, dst=FOUR) / ICMP(), self.kinds.four / ICMP(), self.kinds.arp,
                    self.kinds.four / self.kinds.udp / hello()], not_ours=4)

    def test_tags_are_asked_for_and_given_back_on_a_tap(self):
        self.tags(Tap())

    def test_tags_are_asked_for_and_given_back_on_af_packet(self):
        self.tags(Veth())

    def test_tags_are_asked_for_and_given_back_on_pcap(self):
        self.tags(Pcap())


class Replay(EndTest):
    MAC = '02:70:63:61:70:00'  # that of any pcap device

    def test_a_recorded_capture_is_answered_packet_by_packet(self):
        kinds = Kinds(self.MAC)
        asked = [packet for packets in kinds.good().values() for packet in packets]
        greetings = [network / kinds.udp / payload for network in (kinds.four, kinds.six)
                     for payload in (hello(), request(), hello((7, 7), 1432))]
        quiet = kinds.not_ours() + kinds.malformed() + kinds.bad_checksum() + kinds.fragments() + kinds.unserved()
        drawn = random.Random(SEED)
        recorded = asked + greetings + quiet
        drawn.shuffle(recorded)
        taken, given = os.path.join(self.directory, 'in.pcap'), os.path.join(self.directory, 'out.pcap')
        wrpcap(taken, recorded)
        engine = self.start('--listen', f'dpdk://net_pcap0,rx_pcap={taken},tx_pcap={given}?{ADDRESSES}', '--insecure-listen')
        counts = {}

        def all_in():
            counts.update(self.tool(engine, 'status')['shards'][0].get('packets', {'in': 0}))
            return counts['in'] >= len(recorded)
        self.eventually(all_in, 'the end of the capture')
        self.assertEqual(counts['in'], len(recorded))
        self.assertEqual(engine.stop(), 0)
        answers = list(rdpcap(given))
        expected = [packet for packet in recorded if packet in asked or packet in greetings]
        questions = [packet for packet in answers if packet.dst != MINE]
        answers = [packet for packet in answers if packet.dst == MINE]
        self.assertEqual(len(answers), len(expected))
        left = [self.essence(packet) for packet in answers]
        for packet in expected:
            left.remove(self.expected(packet))
        self.assertEqual(left, [])
        # Beside that it asked for its two neighbours, which say nothing in a capture, and for nobody else.
        self.assertLessEqual({packet[ARP].pdst if ARP in packet else packet[ICMPv6ND_NS].tgt for packet in questions}, {MY_FOUR, MY_SIX})

    @staticmethod
    def essence(packet):
        """What of an answer must be as foreseen; a cookie is the engine's own."""
        if UDP in packet:
            data = bytes(packet[UDP].payload)
            if crc32c(data[:12] + bytes(4) + data[16:]) != struct.unpack_from('<I', data, 12)[0]:
                return 'a wrong checksum'
            return IP in packet, packet[UDP].sport, packet[UDP].dport, data[5], len(data), data[16:32]
        if ARP in packet:
            return 'ARP', packet[ARP].op, packet[ARP].psrc, packet[ARP].pdst, packet[ARP].hwsrc
        if ICMP in packet:
            return 'echo', packet[ICMP].type, packet[ICMP].id, packet[ICMP].seq, bytes(packet[ICMP].payload)
        if ICMPv6ND_NA in packet:
            return 'here', packet[ICMPv6ND_NA].tgt, packet[IPv6].dst
        return 'echo6', packet[ICMPv6EchoReply].id, packet[ICMPv6EchoReply].seq, packet[ICMPv6EchoReply].data

    def expected(self, packet):
        if UDP in packet:
            data = bytes(packet[UDP].payload)
            greets = data[5] == 1
            return IP in packet, PORT, MY_PORT, COOKIE if greets else REFUSED, 96 if greets else 64, data[16:32]
        if ARP in packet:
            return 'ARP', 2, FOUR, packet[ARP].psrc, self.MAC
        if ICMP in packet:
            return 'echo', 0, packet[ICMP].id, packet[ICMP].seq, bytes(packet[ICMP].payload)
        if ICMPv6EchoRequest in packet:
            return 'echo6', packet[ICMPv6EchoRequest].id, packet[ICMPv6EchoRequest].seq, packet[ICMPv6EchoRequest].data
        return 'here', SIX, MY_SIX


if __name__ == '__main__':
    enter_namespace()
    main()
