"""The audit log against a kill in mid-write, eight writers at once, a full disk, and someone with an editor."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import orjson
import pytest
from msgspec import structs

from recommender.access import SiteSecret
from recommender.audit import Access, AuditLog, audit_event, chain
from recommender.errors import AuditBroken, AuditUnavailable, EngineError

WRITER = """
import sys
from pathlib import Path
from recommender.audit import Access, AuditLog, audit_event
log = AuditLog(Path(sys.argv[1]), Path(sys.argv[1]) / "site.key")
who, count = sys.argv[2], int(sys.argv[3])
for number in range(count):
    access = Access(f"{who}-{number}", who, "name", "clinician", "key", "127.0.0.1", "/r", "x", "given")
    log.append([audit_event(access)])
    print(f"{who}-{number}", flush=True)
"""


def event(patient_id, **changes):
    given = Access(patient_id, "key:1", "Dr One", "clinician", "key", "10.0.0.1", "/v1/x", "r1", "given")
    return audit_event(structs.replace(given, **changes), datetime(2026, 11, 25, tzinfo=UTC))


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path, tmp_path / "site.key")


def again(log):
    return AuditLog(log.folder.parent, log.folder.parent / "site.key")


def patients(log):
    return [body["event"]["entity"][0]["what"]["identifier"]["value"] for _, body in log.lines() if "event" in body]


def writer(tmp_path, who, count):
    command = [sys.executable, "-c", WRITER, str(tmp_path), who, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_an_event_says_who_saw_whom_and_nothing_of_the_chart():
    made = event("PAT-1", outcome="refused", status=404)
    assert made["resourceType"] == "AuditEvent" and made["action"] == "R" and made["outcome"] == "4"
    assert made["meta"]["profile"] == [
        "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientRead"
    ]
    assert made["recorded"] == "2026-11-25T00:00:00.000+00:00"
    (agent,) = made["agent"]
    assert (
        agent["requestor"]
        and agent["who"]["identifier"]["value"] == "key:1"
        and agent["role"] == [{"text": "clinician"}]
    )
    assert made["entity"][0]["what"]["identifier"] == {"system": "urn:rxrec:patient", "value": "PAT-1"}
    assert made["entity"][1]["name"] == "/v1/x"


def test_what_is_written_is_there_in_order_and_whole(log):
    log.append([event("A"), event("B")])
    again(log).append([event("C")])
    assert patients(log) == ["A", "B", "C"]
    found = log.verify()
    assert (found.lines, found.torn, found.files) == (3, 0, 1)
    assert [e["entity"][0]["what"]["identifier"]["value"] for e in log.of_patient("B")] == ["B"]
    (file,) = log.files()
    assert all(orjson.loads(line)["n"] == number for number, line in enumerate(file.read_bytes().splitlines(), 1))
    assert {path.stat().st_mode & 0o777 for path in (file, log.folder / "head", log.folder.parent / "site.key")} == {
        0o600
    }


def tampered(lines, how):
    if how == "altered":
        lines[2] = lines[2].replace(b'"C"', b'"X"')
    elif how == "number altered":
        lines[2] = lines[2].replace(b'"n":3', b'"n":9')
    elif how == "removed":
        del lines[2]
    elif how == "removed at the start":
        del lines[0]
    elif how == "removed at the end":
        del lines[-1]
    elif how == "reordered":
        lines[1], lines[2] = lines[2], lines[1]
    elif how == "repeated":
        lines.insert(2, lines[2])
    elif how == "last altered":
        lines[-1] = lines[-1].replace(b'"E"', b'"X"')
    elif how == "put in":
        lines.insert(1, b'{"n":2,"k":1,"prev":"' + b"0" * 64 + b'","event":{},"mac":"' + b"0" * 64 + b'"}\n')
    elif how == "all removed":
        lines.clear()
    elif how == "cut off":
        lines[-1] = lines[-1][:100]
    return lines


HOWS = ["altered", "number altered", "removed", "removed at the start", "removed at the end", "reordered", "repeated",
        "last altered", "put in", "all removed", "cut off"]  # fmt: skip


@pytest.mark.parametrize("how", HOWS)
def test_whatever_is_done_to_a_line_is_found(log, how):
    log.append([event(name) for name in "ABCDE"])
    (file,) = log.files()
    file.write_bytes(b"".join(tampered(file.read_bytes().splitlines(keepends=True), how)))
    with pytest.raises(AuditBroken):
        again(log).verify()


@pytest.mark.parametrize("how", ["removed at the end", "last altered", "all removed", "cut off"])
def test_nothing_is_written_behind_an_end_that_was_tampered_with(log, how):
    """Else a line that was altered at the end would be taken for one that a killed process had left."""
    log.append([event(name) for name in "ABCDE"])
    (file,) = log.files()
    file.write_bytes(b"".join(tampered(file.read_bytes().splitlines(keepends=True), how)))
    with pytest.raises(AuditUnavailable):
        again(log).append([event("F")])
    with pytest.raises(AuditBroken):
        again(log).verify()


def test_a_whole_file_that_is_gone_is_found(log, monkeypatch):
    monkeypatch.setattr(chain, "LARGEST", 2_000)
    for name in "ABCDEFGH":
        log.append([event(name)])
    assert len(log.files()) > 2 and patients(again(log)) == list("ABCDEFGH")
    first, middle, *_, last = log.files()
    for file in (first, middle, last):
        kept = file.read_bytes()
        file.unlink()
        with pytest.raises(AuditBroken):
            again(log).verify()
        file.write_bytes(kept)
    again(log).verify()


def test_the_note_of_the_last_line_cannot_be_altered(log):
    log.append([event("A")])
    note = log.folder / "head"
    note.write_text(note.read_text().replace("1:", "0:", 1))
    with pytest.raises(AuditBroken, match="note"):
        again(log).verify()


def test_an_old_log_put_back_is_found_by_a_head_noted_elsewhere(log):
    log.append([event("A")])
    (file,) = log.files()
    old = {path: path.read_bytes() for path in (file, log.folder / "head")}
    log.append([event("B")])
    noted = log.verify().head
    assert again(log).verify(head=noted).lines == 2
    for path, content in old.items():
        path.write_bytes(content)
    assert again(log).verify().lines == 1  # with both put back, the log alone cannot tell
    with pytest.raises(AuditBroken, match="elsewhere"):
        again(log).verify(head=noted)


def test_another_secret_makes_no_chain_of_ours(log, tmp_path):
    log.append([event("A")])
    (tmp_path / "site.key").unlink()
    with pytest.raises(AuditBroken):
        again(log).verify()


def test_after_the_secret_is_rotated_old_lines_still_check_and_new_ones_use_the_new(log, tmp_path):
    log.append([event("A")])
    assert SiteSecret.rotate(tmp_path / "site.key").number == 2
    again(log).append([event("B")])
    assert [body["k"] for _, body in again(log).lines()] == [1, 2]
    assert again(log).verify().lines == 2


def test_a_secret_that_others_may_read_is_refused(log, tmp_path):
    log.append([event("A")])
    (tmp_path / "site.key").chmod(0o644)
    with pytest.raises(EngineError, match="chmod 600"):
        SiteSecret.load(tmp_path / "site.key")


@pytest.mark.parametrize("cut", [1, 30, 400, -1])
@pytest.mark.parametrize("times", [1, 2])
def test_what_a_killed_process_left_is_accounted_for_by_the_next_line(log, cut, times):
    log.append([event("A")])
    (file,) = log.files()
    whole = file.read_bytes()
    line = whole.replace(b'"n":1', b'"n":2')
    for _ in range(times):  # killed, and killed again while accounting for it
        with file.open("ab") as torn:
            torn.write(line[:cut] if times == 1 else line[:cut] + b"\n")
    assert again(log).verify().lines == 1  # nothing has been written behind it yet
    again(log).append([event("B")])
    again(log).append([event("C")])
    assert patients(again(log)) == ["A", "B", "C"]
    assert again(log).verify().torn == 1
    lines = file.read_bytes()
    file.write_bytes(lines.replace(line[: min(cut, 30)] if cut > 0 else line[:-1], b"x", 1)[: len(lines)])
    with pytest.raises(AuditBroken):
        again(log).verify()


def test_killed_in_mid_write_again_and_again(tmp_path, log):
    """Every access that was answered is in the log, whatever was being written when the process was killed."""
    answered = []
    for turn in range(6):
        process = writer(tmp_path, f"T{turn}", 100_000)
        answered.append(process.stdout.readline().strip())
        time.sleep(0.01 * turn)
        process.send_signal(signal.SIGKILL)
        answered += process.communicate()[0].split("\n")[:-1]
    found = log.verify()
    assert set(patients(log)) >= set(answered) and len(answered) >= 6
    assert found.lines >= len(answered)


def test_eight_writers_at_once_make_one_chain(tmp_path, log):
    processes = [writer(tmp_path, f"W{number}", 40) for number in range(8)]
    said = [line for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert all(process.returncode == 0 for process in processes)
    assert sorted(patients(log)) == sorted(said) and len(said) == 320
    assert log.verify().torn == 0


# --- threads of one process write together ----------------------------------------------------------------------------


def at_once(log, names, while_first_syncs, sync=os.fdatasync):
    """Append each name in a thread of its own: the first holds the disk until all others wait. What each raised."""
    waits, go_on, raised, syncs = threading.Event(), threading.Event(), {}, []

    def slow(handle):
        syncs.append(handle)
        if len(syncs) == 1:
            waits.set()
            go_on.wait(10)
        return sync(handle)

    def append(name):
        try:
            log.append([event(name)])
        except BaseException as error:  # noqa: BLE001  (Ctrl-C is one of those that are tried)
            raised[name] = error

    while_first_syncs(slow)
    threads = [threading.Thread(target=append, args=(name,)) for name in names]
    threads[0].start()
    assert waits.wait(10)
    for thread in threads[1:]:
        thread.start()
    deadline = time.monotonic() + 10
    while len(log._queue) < len(names) - 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    go_on.set()
    for thread in threads:
        thread.join(10)
    return raised, len(syncs)


def test_threads_that_wait_share_one_sync_and_keep_one_chain(log, monkeypatch):
    names = [f"T{number}" for number in range(9)]
    raised, syncs = at_once(log, names, lambda slow: monkeypatch.setattr(os, "fdatasync", slow))
    assert raised == {} and syncs == 2  # the first, then the eight that waited for it together
    assert sorted(patients(log)) == names and patients(log)[0] == "T0"
    assert again(log).verify().lines == 9


def test_when_the_shared_sync_fails_nobodys_line_counts_as_written(log, monkeypatch):
    calls = []

    def full_from_the_second(handle):
        calls.append(handle)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")

    names = [f"T{number}" for number in range(5)]
    patch = lambda slow: monkeypatch.setattr(os, "fdatasync", slow)  # noqa: E731
    raised, _ = at_once(log, names, patch, full_from_the_second)
    assert sorted(raised) == names[1:]
    assert all(isinstance(error, AuditUnavailable) and "No space left" in str(error) for error in raised.values())
    monkeypatch.undo()
    log.append([event("after")])
    again(log).verify()


def test_a_thread_that_is_ended_while_it_writes_for_others_tells_them(log, monkeypatch):
    calls = []

    def ended_in_the_second(handle):
        calls.append(handle)
        if len(calls) == 2:
            raise KeyboardInterrupt

    patch = lambda slow: monkeypatch.setattr(os, "fdatasync", slow)  # noqa: E731
    raised, _ = at_once(log, ["T0", "T1", "T2"], patch, ended_in_the_second)
    assert sorted(type(error).__name__ for error in raised.values()) == ["AuditUnavailable", "KeyboardInterrupt"]
    monkeypatch.undo()
    log.append([event("after")])
    again(log).verify()


def test_what_cannot_be_written_as_json_fails_alone(log):
    with pytest.raises(TypeError):
        log.append([{"patient": "\ud800"}])
    log.append([event("A")])
    assert patients(log) == ["A"] and again(log).verify().lines == 1


def test_a_full_disk_refuses_and_leaves_no_gap(log):
    """/dev/full is a disk without room; a limit on the file's size stops a write in its middle, as a full disk does."""
    log.append([event("A")])
    (file,) = log.files()
    code = (
        "import resource, signal, sys; from pathlib import Path; from recommender.audit import AuditLog\n"
        "from recommender.errors import AuditUnavailable\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({file.stat().st_size + 200}, -1))\n"
        "log = AuditLog(Path(sys.argv[1]), Path(sys.argv[1]) / 'site.key')\n"
        "for _ in range(3):\n"
        "    try: log.append([{'x': 'y' * 500}])\n"
        "    except AuditUnavailable: print('refused')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(log.folder.parent)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["refused"] * 3
    assert again(log).verify().lines == 1
    log.append([event("B")])
    assert patients(again(log)) == ["A", "B"]
    assert again(log).verify().torn == 0


def test_a_folder_that_cannot_be_written_refuses(log, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(AuditUnavailable, match="No space left"):
        log.append([event("A")])
