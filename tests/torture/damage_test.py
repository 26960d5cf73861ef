"""Files that are deleted, cut, swapped, spoilt or taken away, at rest and under a running engine."""

import os
import re
import shutil
import threading

import kit

ROUNDS = kit.scaled(1, 25)


class Damage(kit.Torture):
    def worked(self, orders=1500, **more):
        """A directory with a log over several segments, its engine killed at rest; the state it had."""
        engine = self.stocked(shards=self.shards(), **more)
        load = self.load(engine, rate=0, ttl=900000, seconds=30, orders=orders)
        load.wait(kit.harness.WAIT_S)
        self.end_load(load)
        state = self.judged(engine)
        kit.harness.time.sleep(0.1)
        engine.kill()
        self.assertGreater(state[0], 3 << 18, 'more than three segments')
        return state

    def copied(self):
        target = os.path.join(self.directory, 'copy')
        shutil.rmtree(target, ignore_errors=True)
        kit.copy_directory(self.data, target)
        return target

    def log_end(self, data):
        return self.tool(None, 'journal', 'verify', '--data', data)['end_position']

    def used_segments(self, data):
        end = self.log_end(data)
        return [name for name in kit.segments(data) if int(name[4:20], 16) < end]

    def refused_at(self, first, last, data):
        """Exit 4, and the place that is named lies between the two positions; nothing was changed."""
        engine = self.refused(4, data=data)
        said = [int(word) for word in re.findall('[0-9]+', engine.messages()[-1]['reason'])]
        self.assertTrue(any(first <= word <= last for word in said), f'{first} to {last}: {engine.text()}')
        damaged = self.tool(None, 'journal', 'verify', '--data', data, status=4)['damaged']
        self.assertTrue(first <= damaged <= last, damaged)

    # ---- at rest ----

    def test_a_segment_that_is_missing_is_named(self):
        state = self.worked()
        names = self.used_segments(self.data)
        for name in names if kit.harness.FULL else [self.chance.choice(names[:-1]), names[-1]]:
            with self.subTest(name=name):
                data = self.copied()
                os.unlink(os.path.join(data, name))
                first = int(name[4:20], 16)
                self.refused_at(max(0, first - (1 << 14)), first, data)
        self.kept(state)

    def test_a_segment_that_was_cut_short_is_named(self):
        self.worked()
        names = self.used_segments(self.data)
        for number in range(ROUNDS):
            with self.round(number):
                data = self.copied()
                name = self.chance.choice(names[:-1])
                size = self.chance.choice([0, 1, 4095, 4096, self.chance.randrange(1 << 18)])
                os.truncate(os.path.join(data, name), size)
                first = int(name[4:20], 16)
                # What was cut off may be no more than what follows the last whole block.
                self.refused_at(max(0, first + size - (1 << 15)), first + size + (1 << 14), data)

    def test_segments_that_changed_places_are_refused(self):
        self.worked()
        names = self.used_segments(self.data)
        for number in range(ROUNDS):
            with self.round(number):
                data = self.copied()
                # The last two are worth a round of their own: then no block that stands in its own place says what was there.
                one, other = sorted(names[-2:] if number == 0 else self.chance.sample(names, 2))
                paths = [os.path.join(data, name) for name in (one, other, 'log-between')]
                os.rename(paths[0], paths[2])
                os.rename(paths[1], paths[0])
                os.rename(paths[2], paths[1])
                first = int(one[4:20], 16)
                self.refused_at(max(0, first - (1 << 14)), first, data)

    def test_an_older_copy_of_a_segment_is_refused(self):
        """What a restore of a single file makes: blocks that are sound, in a place that the log has left behind."""
        self.worked()
        # The one that the next block goes to: the last one used may be full to its end.
        end = self.log_end(self.data)
        name = [name for name in kit.segments(self.data) if int(name[4:20], 16) <= end][-1]
        old = kit.whole(os.path.join(self.data, name))
        engine = self.start()
        load = self.load(engine, rate=0, ttl=900000, seconds=30, orders=1000)
        load.wait(kit.harness.WAIT_S)
        self.end_load(load)
        engine.kill()
        data = self.copied()
        self.assertNotEqual(old, kit.whole(os.path.join(data, name)))
        with open(os.path.join(data, name), 'r+b') as file:
            file.write(old)
        first = int(name[4:20], 16)
        self.refused_at(first, first + (1 << 18), data)
        self.came_back()

    def test_the_manifest_may_lose_one_copy_but_not_both(self):
        state = self.worked()
        changes = [os.unlink, lambda path: os.truncate(path, 0), lambda path: os.truncate(path, 4095),
                   lambda path: kit.flip(path, self.chance.randrange(4096), 255)]
        for lost in ('manifest.0', 'manifest.1'):
            for change in self.chance.sample(changes, kit.scaled(1, len(changes))):
                data = self.copied()
                change(os.path.join(data, lost))
                self.kept(state, data)
                self.came_back(data=data)
        data = self.copied()
        for name in ('manifest.0', 'manifest.1'):
            os.unlink(os.path.join(data, name))
        self.refused(4, 'manifest', data=data)

    def test_a_lock_file_of_any_content_is_a_lock_file(self):
        state = self.worked()
        for content in kit.scaled([os.urandom(5000)], [b'\0', os.urandom(5000)]):
            with open(os.path.join(self.data, 'lock'), 'wb') as file:
                file.write(content)
            self.kept(state)
            self.came_back()

    # ---- under a running engine ----

    def test_a_lock_file_that_somebody_removed_lets_nobody_in(self):
        engine = self.stocked(shards=2)
        load = self.load(engine, rate=300)
        for number in range(kit.scaled(1, 4)):
            with self.round(number):
                self.some_answers()
                os.unlink(os.path.join(self.data, 'lock'))
                self.refused_start(3, self.data)
                self.some_answers()
        self.end_load(load)
        self.judged(engine)
        engine.kill()
        self.came_back()

    def test_a_directory_that_is_moved_away_goes_on_where_it_is(self):
        engine = self.stocked(shards=2)
        load = self.load(engine, rate=400, lines=10, seconds=600)
        self.some_answers()
        moved = os.path.join(self.directory, 'moved')
        os.rename(self.data, moved)
        self.some_answers()
        other = self.start()  # the name is free: this is another directory, and formatted
        self.connect(other).provide('GOOD', 1, 1)
        state = self.digest(other)
        self.some_answers()
        self.refused_start(3, moved, data=moved)
        self.end_load(load)
        self.judged(engine)
        engine.kill()
        self.unchanged(other, state)
        self.assertEqual(other.stop(), 0, other.text())
        self.kept(state)
        self.came_back(data=moved)

    def test_a_directory_that_is_deleted_ends_in_a_refusal_not_in_a_crash(self):
        for number in range(kit.scaled(1, 5)):
            with self.round(number):
                engine = self.stocked(shards=2, data=self.data)
                client = self.connect(engine)
                load = self.load(engine, rate=0, lines=20, batch=8, seconds=600)
                self.some_answers()
                while os.path.exists(self.data):  # it may make a file while others are taken away
                    shutil.rmtree(self.data, ignore_errors=True)
                self.eventually(lambda: self.refuses_or_ended(engine, client), 'a refusal: no segment can be made any more')
                self.drop_load(load)
                if engine.process.poll() is None:
                    self.assertIn(engine.stop(), (0, 5), engine.text())
                else:
                    self.assertEqual(engine.wait_end(), 5, engine.text())
                self.assertFalse(os.path.exists(self.data))

    def test_a_copy_made_while_running_is_a_state_that_was_or_is_refused(self):
        """Files are copied one after the other while all of them change: what replays must be a prefix of what happened."""
        engine = self.stocked(shards=2)
        load = self.load(engine, ttl=900000, seconds=600)
        found, refused = [], 0
        for number in range(ROUNDS):
            with self.round(number):
                self.some_answers()
                target = os.path.join(self.directory, f'running{number}')
                os.mkdir(target)
                # The oldest first leaves holes that later blocks vouch for, the newest first mostly a beginning of the log.
                for name in sorted(kit.files(self.data), reverse=number % 2 == 0):
                    shutil.copy(os.path.join(self.data, name), target)
                done = kit.harness.run_tool(None, 'journal', 'replay', '--data', target)
                self.assertIn(done.status, (0, 4), str(done))
                if done.status == 0:
                    found.append((done.json['position'], done.json['digest']))
                    copy = self.start(data=target)
                    self.unchanged(copy, found[-1])
                    copy.kill()
                else:
                    refused += 1
                    self.assertTrue(re.search('position [0-9]+', done.err), done.err)
                shutil.rmtree(target)
        self.end_load(load)
        self.judged(engine)
        engine.kill()
        for state in found:
            self.kept(state)
        print(f'note: copies of a running directory: {len(found)} a state that was, {refused} refused')

    def test_readers_of_a_killed_directory_and_its_next_engine_do_not_hurt_each_other(self):
        """`holdfast journal` holds the lock shared: the start waits for it, or is told."""
        self.worked()
        stop, seen = threading.Event(), []

        def read():
            while not stop.is_set():
                done = kit.harness.run_tool(None, 'journal', 'verify', '--data', self.data)
                seen.append(done.status)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            for _ in range(kit.scaled(1, 5)):
                engine = self.launch(shards=self.shards())
                engine.ready.wait(kit.harness.WAIT_S)
                if engine.ended.is_set():
                    self.assertEqual(engine.wait_end(), 3, engine.text())
                else:
                    self.judged(engine.wait_ready())
                    engine.kill()
        finally:
            stop.set()
            reader.join(kit.harness.WAIT_S)
        self.assertEqual(set(seen) - {0, 3}, set())
        self.came_back()


if __name__ == '__main__':
    kit.main()
