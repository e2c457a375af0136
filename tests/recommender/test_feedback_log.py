"""The log of feedback: what was answered for stays, whoever writes, is killed, runs out of disk or damages the file."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recommender.errors import FeedbackUnavailable
from recommender.feedback import FILE, BadFeedback, FeedbackConflict, FeedbackEvent, FeedbackLog
from recommender.feedback import log as log_module

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


def event(number, outcome="accepted", patient="PAT-1", **changes):
    usual = {
        "event_id": f"e{number}",
        "patient_id": patient,
        "code": "rxnorm:36567",
        "kind": "drug",
        "outcome": outcome,
        "version": "v1",
        "occurred": NOON,
        "channel": "page",
    }
    return FeedbackEvent(**usual | changes)


@pytest.fixture
def log(tmp_path):
    return FeedbackLog(tmp_path)


def in_a_process_of_its_own(code, *words):
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class TestAppending:
    def test_once(self, log):
        assert log.events() == [] and not log.file.exists()  # a look makes no file
        assert log.append(event(1)) is True
        assert log.append(event(1)) is False
        assert log.append_many([event(1), event(2), event(2)]) == [False, True, False]
        assert log.events() == [event(1), event(2)]
        assert log.find("e2") == event(2)
        assert log.find("e3") is None

    def test_an_id_with_other_content_is_a_conflict_and_nothing_of_the_call_is_stored(self, log):
        log.append(event(1))
        with pytest.raises(FeedbackConflict) as caught:
            log.append_many([event(2), event(1, rank=4)])
        assert caught.value.position == 1
        assert "PAT-1" not in str(caught.value)
        assert log.events() == [event(1)]

    def test_all_fields_come_back(self, log):
        whole = event(
            1,
            "overridden",
            "Müller/7",
            reason="other",
            comment="ja\nnein",
            rule_ids=("b", "a"),
            rank=2,
            occurred=NOON + timedelta(microseconds=7),
        )
        log.append(whole)
        assert FeedbackLog(log.file.parent).events() == [whole]

    def test_taking_back(self, log):
        undone = event(2, "undone", undoes="e1")
        with pytest.raises(BadFeedback, match="undoes"):
            log.append(undone)
        assert log.append_many([event(1), undone]) == [True, True]
        assert log.append(undone) is False
        for wrong in (
            event(3, "undone", undoes="e2"),
            event(3, "undone", "PAT-2", undoes="e1"),
            event(3, "undone", undoes="e1", code="rxnorm:1"),
        ):
            with pytest.raises(BadFeedback) as caught:
                log.append_many([event(4), wrong])
            assert (caught.value.field, caught.value.position) == ("undoes", 1)
        assert len(log.events()) == 2

    def test_since_and_of_a_patient(self, log):
        late = [event(n, patient=f"PAT-{n % 2}", occurred=NOON + timedelta(days=n)) for n in (3, 1, 2)]
        log.append_many(late)
        assert log.events(NOON + timedelta(days=2)) == [late[0], late[2]]
        assert log.of_patient("PAT-1") == late[:2]
        assert log.of_patient("PAT-9") == []
        assert log.summary(NOON + timedelta(days=2)).total.events == 2

    def test_readable_by_its_owner_only(self, log, tmp_path):
        before = os.umask(0)
        try:
            log.append(event(1))
            with contextlib.closing(sqlite3.connect(log.file)) as reader:
                reader.execute("SELECT * FROM events").fetchall()
                log.append(event(2))  # while its journal is there
                modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
            assert modes == dict.fromkeys((FILE, f"{FILE}-wal", f"{FILE}-shm"), 0o600)
            log.file.chmod(0o644)
            log.append(event(3))
            assert log.file.stat().st_mode & 0o777 == 0o600
        finally:
            os.umask(before)
        assert [file.name for file in tmp_path.iterdir()] == [FILE]


class TestForgetting:
    def test_no_byte_of_the_patient_stays(self, log, tmp_path):
        log.append_many([event(n, patient=f"QQ47-{n % 3}", comment=f"XYZZY-{n % 3}") for n in range(300)])
        with contextlib.closing(sqlite3.connect(log.file)) as reader:  # so that the journal is not cleared by closing
            reader.execute("SELECT count(*) FROM events").fetchone()
            assert log.forget("QQ47-1") == 100
            assert log.forget("QQ47-1") == 0
            assert log.forget("nobody") == 0
            left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert b"QQ47-1" not in left and b"XYZZY-1" not in left
        assert b"QQ47-2" in left
        assert len(log.events()) == 200

    def test_without_a_file(self, log):
        assert log.forget("PAT-1") == 0

    def test_a_reader_in_the_way_is_told(self, log, monkeypatch):
        monkeypatch.setattr(log_module, "BUSY_SECONDS", 0.1)
        log.append_many([event(1), event(2, patient="PAT-2")])
        with contextlib.closing(sqlite3.connect(log.file, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM events").fetchall()
            with pytest.raises(FeedbackUnavailable, match="do this again"):
                log.forget("PAT-1")
        assert log.forget("PAT-1") == 0
        assert log.events() == [event(2, patient="PAT-2")]


def write_many(folder, writer, count):
    log = FeedbackLog(Path(folder))
    for number in range(count):
        assert log.append(event(f"{writer}-{number}", patient=f"PAT-{writer}"))
        assert log.append(event(f"both-{number}", patient="PAT-0")) in (True, False)


class TestManyAtOnce:
    def test_eight_processes_lose_nothing(self, log, tmp_path):
        context = multiprocessing.get_context("forkserver")  # eight processes, which one has imported everything for
        context.set_forkserver_preload(["pytest", "recommender.feedback.log", "recommender.settings"])
        writers = [context.Process(target=write_many, args=(str(tmp_path), n, 40)) for n in range(8)]
        for writer in writers:
            writer.start()
        while any(writer.is_alive() for writer in writers):  # and a nightly job reads all the while
            log.events()
            time.sleep(0.05)
        for writer in writers:
            writer.join()
        assert [writer.exitcode for writer in writers] == [0] * 8
        ids = [one.event_id for one in log.events()]
        assert len(ids) == len(set(ids))
        assert set(ids) == {f"e{n}-{i}" for n in (*range(8), "both") for i in range(40)}
        assert [file.name for file in tmp_path.iterdir()] == [FILE]

    def test_threads_of_one_process(self, log):
        stored = []

        def write(name):
            for number in range(20):
                stored.append(log.append(event(f"{name}-{number}")))
                stored.append(log.append(event(f"same-{number}")))

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(stored) == len(log.events()) == 4 * 20 + 20


def test_a_writer_that_is_killed_loses_nothing_that_it_was_answered_for(log, tmp_path):
    code = """
import sys
from pathlib import Path
from tests.recommender.test_feedback_log import event, FeedbackLog
log = FeedbackLog(Path(sys.argv[1]))
for number in range(100_000):
    log.append_many([event(f"{sys.argv[2]}-{number}-{part}", comment="x" * 900) for part in range(3)])
    print(number, flush=True)
"""
    for run, seconds in enumerate((0.02, 0.3, 0.7, 0.05)):
        writer = in_a_process_of_its_own(code, tmp_path, run)
        answered = [writer.stdout.readline()]
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
        answered += writer.stdout.read().splitlines()
        writer.communicate()
        ids = [one.event_id for one in log.events() if one.event_id.startswith(f"e{run}-")]
        known = len([line for line in answered if line.strip()])
        assert 3 * known <= len(ids) <= 3 * (known + 1)  # the last may be stored and not answered for yet
        assert ids == [f"e{run}-{n}-{part}" for n in range(len(ids) // 3) for part in range(3)]  # whole or not at all
        assert log.append(event(f"after-{run}")) is True


class TestNoRoom:
    """The disk's end, by a limit on the size of files (EFBIG), and by SQLite's own word for a full disk."""

    def test_a_limit_is_an_error_and_what_was_there_stays(self, log, tmp_path):
        log.append_many([event(n, comment="x" * 900) for n in range(20)])
        before = log.events()
        code = f"""
import resource, sys
from pathlib import Path
from tests.recommender.test_feedback_log import event, FeedbackLog
from recommender.errors import FeedbackUnavailable
resource.setrlimit(resource.RLIMIT_FSIZE, ({log.file.stat().st_size + 8192},) * 2)
log = FeedbackLog(Path(sys.argv[1]))
stored = 0
try:
    for n in range(20, 1000):
        log.append(event(n, comment="x" * 900))
        stored += 1
except FeedbackUnavailable as error:
    print(stored, error.exit_code, error)
"""
        writer = in_a_process_of_its_own(code, tmp_path)
        said, failed = writer.communicate()
        assert failed == ""
        stored, exit_code, words = said.split(" ", 2)
        assert exit_code == "11"
        assert "disk full" in words and "PAT-1" not in words
        assert log.events() == before + [event(n, comment="x" * 900) for n in range(20, 20 + int(stored))]
        assert log.append(event(5_000)) is True

    def test_a_full_disk_when_the_file_is_made_leaves_nothing(self, tmp_path):
        code = """
import resource, sys
from pathlib import Path
from tests.recommender.test_feedback_log import event, FeedbackLog
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
FeedbackLog(Path(sys.argv[1])).append(event(1))
"""
        writer = in_a_process_of_its_own(code, tmp_path)
        assert "FeedbackUnavailable" in writer.communicate()[1]
        assert list(tmp_path.iterdir()) == []

    def test_full(self, log, monkeypatch):
        log.append(event(1))
        check = FeedbackLog._check

        def with_no_more_pages(self, connection):
            check(self, connection)
            connection.execute("PRAGMA max_page_count = 1")  # SQLite raises it to the present size

        monkeypatch.setattr(FeedbackLog, "_check", with_no_more_pages)
        with pytest.raises(FeedbackUnavailable, match="its disk is full"):
            log.append_many([event(n, comment="x" * 1_000) for n in range(2, 50)])
        assert log.events() == [event(1)]


class TestNotUsable:
    def test_held_by_another(self, log, monkeypatch):
        monkeypatch.setattr(log_module, "BUSY_SECONDS", 0.1)
        log.append(event(1))
        with contextlib.closing(sqlite3.connect(log.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(FeedbackUnavailable, match="held by another process"):
                log.append(event(2))
            assert log.events() == [event(1)]  # reading goes on
        assert log.append(event(2)) is True

    def test_read_only(self, log, tmp_path):
        log.append(event(1))
        log.file.chmod(0o444)
        for folder in (tmp_path, *tmp_path.parents):  # nobody must get here
            if folder.stat().st_uid == os.getuid() and folder not in (Path("/tmp"), Path("/")):
                folder.chmod(folder.stat().st_mode | 0o055)
        code = """
import os, sys
from pathlib import Path
from tests.recommender.test_feedback_log import event, FeedbackLog
if os.getuid() == 0:
    os.setuid(65534)
else:
    Path(sys.argv[1]).chmod(0o555)
FeedbackLog(Path(sys.argv[1])).append(event(2))
"""
        failed = in_a_process_of_its_own(code, tmp_path).communicate()[1]
        tmp_path.chmod(0o755)
        assert "recommender.errors.FeedbackUnavailable" in failed and "owner and permissions" in failed
        assert log.events() == [event(1)]

    def damage(self, log, change):
        log.append_many([event(n, patient="PAT-QQ47", comment="x" * 900) for n in range(50)])
        data = bytearray(log.file.read_bytes())
        change(data)
        log.file.write_bytes(data)
        return bytes(data)

    @pytest.mark.parametrize(
        "change",
        [
            lambda data: data.clear(),
            lambda data: data.__setitem__(slice(0, 16), b"not SQLite at al"),
            lambda data: data.__setitem__(slice(68, 72), b"\x00\x00\x00\x01"),  # another program's file
            lambda data: data.__delitem__(slice(8_192, None)),  # cut short
            lambda data: data.__setitem__(slice(4_096, 20_480), bytes(16_384)),
            lambda data: data.__setitem__(slice(data.index(b"PAT-QQ47"), data.index(b"PAT-QQ47") + 8), b"PAT-QQ48"),
            lambda data: data.__setitem__(data.rindex(b"rxnorm:36567") + 8, ord("7")),  # one digit of a code
        ],
        ids=["empty", "no SQLite", "of another", "cut short", "pages of zeros", "another patient", "another drug"],
    )
    def test_a_damaged_file_is_refused_and_left(self, log, change):
        data = self.damage(log, change)
        with pytest.raises(FeedbackUnavailable, match="damaged") as caught:
            log.events()
        assert "QQ4" not in str(caught.value)
        assert log.file.read_bytes() == data

    @pytest.mark.parametrize("content", [b"", b"no database at all" * 500])
    def test_nothing_is_written_into_a_file_that_is_none_of_ours(self, log, content):
        log.file.write_bytes(content)
        with pytest.raises(FeedbackUnavailable, match="damaged"):
            log.append(event(1))
        assert log.file.read_bytes() == content

    def test_a_later_schema_is_left_alone(self, log):
        log.append(event(1))
        with contextlib.closing(sqlite3.connect(log.file)) as raw:
            raw.execute("PRAGMA user_version = 2")
        for use in (log.events, lambda: log.append(event(2)), lambda: log.forget("PAT-1"), lambda: log.find("e1")):
            with pytest.raises(FeedbackUnavailable, match="schema 2"):
                use()

    def test_a_folder_in_its_place(self, log):
        log.file.mkdir()
        with pytest.raises(FeedbackUnavailable):
            log.append(event(1))


def test_a_copy_is_a_backup(log, tmp_path):
    log.append(event(1))
    (tmp_path / "backup").mkdir()
    shutil.copy(log.file, tmp_path / "backup")
    assert FeedbackLog(tmp_path / "backup").events() == [event(1)]
