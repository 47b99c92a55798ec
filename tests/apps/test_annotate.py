"""Annotation: who agrees with whom, what survives an interruption, what the files then say."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from occ_order import masks
from occ_order.apps.annotate.answers import Answer, AnswerLog, checked_answer, checked_name, settle
from occ_order.apps.annotate.project import Project
from occ_order.apps.annotate.server import Server
from occ_order.cli import main
from occ_order.formats import load_instaorder
from occ_order.formats.convert import DataSet, write_dataset
from occ_order.formats.validate import validate

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data(tmp_path, make_records, categories):
    """One picture with three instances and one with two: four pairs."""
    records = make_records(tmp_path / "pictures", 2)
    for record, count in zip(records, (3, 2), strict=True):
        record["annotations"] = record["annotations"][:count]
        for key in ("occlusion", "depth", "overlap", "count"):
            del record[key]
    return DataSet(records, categories, str(tmp_path / "pictures"))


@pytest.fixture
def project(data, tmp_path):
    return Project(data, tmp_path / "asked")


def say(project, annotator, occlusion="first", depth="first", range="distinct"):
    """A person answers the next pair that they are asked about."""
    pair = project.next_pair(annotator)
    project.answer(Answer(*pair, annotator, occlusion, depth, range))
    return pair


# --- agreement


@pytest.mark.parametrize(
    ("values", "agree", "expected"),
    [
        ([], 2, (None, 0)),
        (["a"], 2, (None, 1)),
        (["a"], 1, ("a", 1)),
        (["a", "a", "b"], 2, ("a", 2)),
        (["a", "b", "a"], 2, ("a", 3)),
        (["a", "b", "c"], 2, (None, 3)),
        (["a", "b", "c", "c", "a"], 2, ("c", 4)),
        (["a", "b", "a", "b", "a"], 3, ("a", 5)),
    ],
)
def test_a_pair_is_settled_when_enough_people_agree(values, agree, expected):
    assert settle(values, agree=agree) == expected


def test_occlusion_and_depth_are_settled_apart(project):
    pair = project.pairs[0]
    for name, occlusion, depth in (("a", "first", "first"), ("b", "first", "second")):
        project.answer(Answer(*pair, name, occlusion, depth, "distinct"))
    assert not project.settled(pair)
    (record,) = project.annotated_records() or [None]
    assert record is None or "depth" not in record
    project.answer(Answer(*pair, "c", "none", "second", "distinct"))
    assert project.settled(pair)
    (record,) = project.annotated_records()
    assert record["depth"][0, 1] == 0 and record["count"][0, 1] == 3


def test_a_depth_answer_is_the_relation_with_its_range(project):
    pair = project.pairs[0]
    for name, range in (("a", "distinct"), ("b", "overlap")):
        project.answer(Answer(*pair, name, "none", "first", range))
    assert not project.settled(pair)
    project.answer(Answer(*pair, "c", "none", "first", "overlap"))
    record = project.annotated_records()[0]
    assert record["overlap"][0, 1] == 1 and record["count"][0, 1] == 3


def test_nobody_is_asked_twice_and_settled_pairs_not_at_all(project):
    assert [say(project, "a") for _ in range(4)] == project.pairs
    assert project.next_pair("a") is None
    assert say(project, "b") == project.pairs[0]
    assert project.next_pair("c") == project.pairs[1]
    assert project.progress("b") == {"pairs": 4, "settled": 1, "answered": 1, "started": 4}


def test_a_correction_replaces_the_answer_and_keeps_its_place(project):
    pair = say(project, "a", "first")
    say(project, "b", "second")
    assert not project.settled(pair)
    project.answer(Answer(*pair, "a", "second", "first", "distinct"))
    assert project.settled(pair)
    assert [answer.annotator for answer in project.log.about(pair)] == ["a", "b"]
    project.answer(Answer(*pair, "a", "both", "first", "distinct"))
    assert not project.settled(pair)


def test_earlier_answers_can_be_looked_at(project):
    first, second = say(project, "a"), say(project, "a", "both", "equal", "overlap")
    assert project.earlier_pair("a", 1) == second and project.earlier_pair("a", 2) == first
    assert project.earlier_pair("a", 3) is None and project.earlier_pair("b", 1) is None
    assert project.question(second, "a")["earlier"] == ["both", "equal", "overlap"]
    assert project.question(second, "b")["earlier"] is None


def test_ten_instances_at_most_the_same_ones_every_time(tmp_path, make_records, categories):
    records = make_records(tmp_path / "pictures", 1)
    mask = records[0]["annotations"][0]
    records[0]["annotations"] = [{**mask, "id": k} for k in range(14)]
    records[0]["annotations"].append({**mask, "id": 99, "bbox": [0.0] * 4})  # nothing visible
    data = DataSet(records, categories, None)
    first, again = (Project(data, tmp_path / "asked") for _ in range(2))
    assert len(first.pairs) == 45 and first.pairs == again.pairs
    assert all(99 not in pair for pair in first.pairs)
    assert Project(data, tmp_path / "x", seed=1).pairs != first.pairs
    assert len(Project(data, tmp_path / "x", max_instances=3).pairs) == 3


# --- the files


def test_the_files_are_what_the_readers_accept(project, data, tmp_path):
    answers = [("both", "equal", "overlap"), ("second", "second", "distinct"),
               ("none", "first", "distinct"), ("first", "first", "overlap")]  # fmt: skip
    for name in ("a", "b"):
        for words in answers:
            say(project, name, *words)
    assert project.write() == {"images": 2, "complete": 2}
    folder = tmp_path / "asked"
    files = folder / "instaorder.json", folder / "instances.json"
    checked = validate(files[0], instances=files[1], images=data.image_root)
    assert checked.errors == []
    one, two = load_instaorder(*files, data.image_root)
    assert one["occlusion"].tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert one["depth"].tolist() == [[-1, 2, 0], [2, -1, 1], [1, 0, -1]]
    assert one["overlap"].tolist() == [[-1, 1, 0], [1, -1, 0], [0, 0, -1]]
    assert one["count"].tolist() == [[-1, 2, 2], [2, -1, 2], [2, 2, -1]]
    assert two["occlusion"].tolist() == [[0, 1], [0, 0]]
    first = data.records[0]["annotations"][0]
    size = data.records[0]["height"], data.records[0]["width"]
    assert one["annotations"][0]["id"] == first["id"]
    assert (
        masks.decode(one["annotations"][0]["segmentation"], *size)
        == masks.decode(first["segmentation"], *size)
    ).all()


def test_the_number_of_people_asked_is_kept(project, tmp_path):
    """The second picture: a says first, b says none, c says first."""
    pair = project.pairs[3]
    for name, occlusion in (("a", "first"), ("b", "none"), ("c", "first")):
        project.answer(Answer(*pair, name, occlusion, "first", "distinct"))
    project.write()
    (entry,) = json.loads((tmp_path / "asked" / "instaorder.json").read_text())["annotations"]
    assert entry["occlusion"] == [{"order": "0<1", "count": 3}]
    assert entry["depth"] == [{"order": "0<1", "count": 2, "overlap": False}]


def test_an_open_pair_is_never_written_as_no_occlusion(project, tmp_path):
    for name in ("a", "b"):
        say(project, name, "first")
        say(project, name, "none" if name == "a" else "both")
    assert project.write() == {"images": 1, "complete": 0}
    (entry,) = json.loads((tmp_path / "asked" / "instaorder.json").read_text())["annotations"]
    assert "occlusion" not in entry and [item["order"] for item in entry["depth"]] == ["0<1", "0<2"]


def test_nothing_answered_gives_readable_files(project, tmp_path):
    assert project.write() == {"images": 0, "complete": 0}
    files = [tmp_path / "asked" / name for name in ("instaorder.json", "instances.json")]
    assert load_instaorder(*files, ".") == []


# --- interruptions and damage


def test_it_goes_on_where_it_stopped(project, data, tmp_path):
    for _ in range(2):
        say(project, "a")
    again = Project(data, tmp_path / "asked")
    assert again.next_pair("a") == project.pairs[2] and again.next_pair("b") == project.pairs[0]


def test_a_half_written_line_is_cut_off(project, data, tmp_path):
    say(project, "a")
    path = tmp_path / "asked" / "answers.jsonl"
    whole = path.read_bytes()
    for length in (1, 10, len(whole) - 1):
        path.write_bytes(whole + whole[:length])
        again = Project(data, tmp_path / "asked")
        assert again.next_pair("a") == project.pairs[1]
    say(again, "a")
    assert path.read_bytes().startswith(whole)
    assert len(path.read_text().splitlines()) == 2


def test_a_half_written_line_that_comes_while_the_program_runs_is_cut_off(project, data, tmp_path):
    say(project, "a")
    path = tmp_path / "asked" / "answers.jsonl"
    with open(path, "ab") as file:
        file.write(b'{"image_id": 3, "first": 9, "sec')
    say(project, "a")
    assert len(path.read_bytes().splitlines()) == 2
    assert Project(data, tmp_path / "asked").next_pair("a") == project.pairs[2]


@contextmanager
def disk_of(size):
    """No file may become longer than `size` bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_costs_one_answer_and_is_told(server, project, data, tmp_path):
    say(project, "a")
    path = tmp_path / "asked" / "answers.jsonl"
    before = path.read_bytes()
    with disk_of(len(before) + 20):  # half a line fits
        status, body, _ = request(server, "POST", "/answer", answer_of(project), **JSON)
        assert status == 507
        error = json.loads(body)["error"]
        assert "answers.jsonl: the answer could not be written" in error
        assert request(server, "POST", "/write", "{}", **JSON)[0] == 507
    assert path.read_bytes() == before
    for name in ("b", "c"):
        body = answer_of(project, annotator=name)
        assert request(server, "POST", "/answer", body, **JSON)[0] == 200
    assert len(path.read_bytes().splitlines()) == 3
    assert Project(data, tmp_path / "asked").log.about(project.pairs[0])[-1].annotator == "c"


def test_two_programs_take_up_what_the_other_adds(project, data, tmp_path):
    say(project, "a")
    other = Project(data, tmp_path / "asked")
    pair = say(other, "b")
    assert pair == project.pairs[0] and not project.settled(pair)
    say(project, "c")  # finds b's answer in the file
    assert project.settled(pair)
    assert [answer.annotator for answer in project.log.about(pair)] == ["a", "b", "c"]
    assert len((tmp_path / "asked" / "answers.jsonl").read_bytes().splitlines()) == 3


def test_a_log_that_was_cut_or_spoiled_meanwhile_is_not_written_over(project, tmp_path):
    say(project, "a")
    path = tmp_path / "asked" / "answers.jsonl"
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(ValueError, match=r"answers\.jsonl, line 2: an answer must be"):
        say(project, "a")
    path.write_bytes(b"")
    with pytest.raises(OSError, match=r"answers\.jsonl: .*it has become shorter"):
        say(project, "a")
    assert path.read_bytes() == b""


def test_the_folder_is_checked_before_anything_is_asked(data, tmp_path):
    (tmp_path / "file").write_text("")
    project = Project(data, tmp_path / "file" / "asked")
    with pytest.raises(OSError, match=r"the output folder .*asked' cannot be written"):
        Server(project)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x", "line 1: Expecting value"),
        ("[]", "line 1: an answer must be an object"),
        ('{"image_id": 1}', "line 1: an answer must be an object with the keys"),
        ("\xff", "line 1: "),
        ("[" * 100_000, "line 1: "),
    ],
)
def test_a_damaged_log_is_named(tmp_path, line, message):
    (tmp_path / "answers.jsonl").write_bytes(line.encode("latin-1") + b"\n")
    with pytest.raises(ValueError, match=f"answers.jsonl, {message}"):
        AnswerLog(tmp_path / "answers.jsonl")


def test_answers_of_other_data_are_refused(project, data, tmp_path):
    say(project, "a")
    data.records[0]["annotations"][0]["id"] = 77
    with pytest.raises(ValueError, match="holds an answer about image 1, instances"):
        Project(data, tmp_path / "asked")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("occlusion", "maybe", "'occlusion' must be one of"),
        ("depth", 1, "'depth' must be one of"),
        ("range", None, "'range' must be one of"),
        ("first", "1", "'first' must be an integer"),
        ("image_id", True, "'image_id' must be an integer"),
        ("annotator", " ", "the name must be printable text"),
        ("annotator", "a\nb", "the name must be printable text"),
        ("annotator", "a" * 41, "longer than 40"),
    ],
)
def test_a_wrong_answer_is_refused(key, value, message):
    entry = {"image_id": 1, "first": 1, "second": 2, "annotator": " a ", "occlusion": "none",
             "depth": "equal", "range": "overlap"}  # fmt: skip
    assert checked_answer(entry).annotator == "a" and checked_name("\u4e2d ") == "\u4e2d"
    with pytest.raises(ValueError, match=message):
        checked_answer({**entry, key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file_name": "no.png"}, "image 1: no such image: no.png"),
        ({"image_id": 2}, "two images have the same id"),
    ],
)
def test_data_that_cannot_be_asked_about(data, tmp_path, change, message):
    data.records[0].update(change)
    with pytest.raises(ValueError, match=message):
        Project(data, tmp_path)
    with pytest.raises(ValueError, match="agree must be >= 1"):
        Project(data, tmp_path, agree=0)


def test_a_pair_that_is_not_asked_about_is_not_answered(project):
    with pytest.raises(ValueError, match=r"no question is asked about the pair \(1, 2, 3\)"):
        project.answer(Answer(1, 2, 3, "a", "none", "equal", "overlap"))


# --- the server


@contextmanager
def serving(project):
    with Server(project) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(project):
    with serving(project) as running:
        yield running


def request(server, method, path, body=None, **headers):
    """Status and body of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, given)
    response = connection.getresponse()
    result = response.status, response.read(), dict(response.getheaders())
    connection.close()
    return result


def answer_of(project, **changes):
    image_id, first, second = project.pairs[0]
    entry = {"image_id": image_id, "first": first, "second": second, "annotator": "a",
             "occlusion": "first", "depth": "first", "range": "distinct"}  # fmt: skip
    return json.dumps({**entry, **changes})


def test_only_this_machine_is_listened_to(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/"


def test_the_page_and_a_picture(server):
    status, body, headers = request(server, "GET", "/")
    assert status == 200 and b"Which is in front?" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    status, body, headers = request(server, "GET", "/picture/1")
    assert (status, headers["Content-Type"], body[:2]) == (200, "image/jpeg", b"\xff\xd8")
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/picture/2", "/picture/-1", "/picture/../page.html", "/..%2f..%2fetc/passwd", "/etc/passwd",
     "//etc/passwd", "/picture/1/../../x", "/picture/\\x", "/answers.jsonl"],
)  # fmt: skip
def test_no_other_file_can_be_had(server, path):
    status, body, _ = request(server, "GET", path)
    assert status == 404 and "error" in json.loads(body)


def test_a_question_and_its_answer(server, project):
    status, body, _ = request(server, "GET", "/question?annotator=a")
    question = json.loads(body)["question"]
    assert status == 200 and question["things"][0]["id"] == project.pairs[0][1]
    assert question["things"][1]["path"].startswith("M")
    status, body, _ = request(
        server, "POST", "/answer", answer_of(project), Content_Type="application/json"
    )
    assert status == 200 and json.loads(body)["progress"]["answered"] == 1
    assert len(project.log.about(project.pairs[0])) == 1


JSON = {"Content_Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("{", JSON, 400),
        ("[" * 5000, JSON, 400),
        ("x" * 20_000, JSON, 413),
        (b"\xff", JSON, 400),
        ("{}", {"Content_Type": "text/plain"}, 415),
        ("{}", {**JSON, "Origin": "http://evil.example"}, 403),
        ("{}", {**JSON, "Origin": "null"}, 403),
        ("{}", {**JSON, "Host": "evil.example"}, 403),
        ("{}", JSON, 400),
    ],
)
def test_requests_that_do_not_come_from_the_page_are_refused(
    server, project, body, headers, status
):
    assert request(server, "POST", "/answer", body, **headers)[0] == status
    assert project.log.pairs() == []


def test_other_refusals(server, project):
    assert request(server, "GET", "/", Host="evil.example:80")[0] == 403
    assert request(server, "GET", "/question")[0] == 400
    assert request(server, "GET", "/question?annotator=a&back=x")[0] == 400
    assert request(server, "POST", "/other", "{}", **JSON)[0] == 404
    assert request(server, "DELETE", "/")[0] == 501
    wrong = answer_of(project, first=5)
    status, body, _ = request(server, "POST", "/answer", wrong, **JSON)
    assert status == 400 and "no question is asked" in json.loads(body)["error"]


# --- in a browser


def settled_text(page):
    return page.text("#progress")


def test_two_people_settle_a_data_set_in_a_browser(page, server, project, tmp_path):
    """One with the mouse, one with the keyboard; they differ about the last pair."""
    page.open(server.address)
    page.wait("document.activeElement.id === 'name'")
    page.type("Ada")
    page.press("Enter")
    page.wait("document.querySelector('#picture path.two')")
    assert settled_text(page) == "Ada: 0 answered, 0 of 4 pairs settled"
    for number in range(4):
        page.wait(f"document.getElementById('progress').innerText.startsWith('Ada: {number} ')")
        page.wait("!document.getElementById('asking').hidden")
        assert page.run("document.getElementById('send').disabled")
        for name, value in (("occlusion", "first"), ("depth", "first"), ("range", "overlap")):
            page.click(f"input[name={name}][value={value}]")
        page.wait("!document.getElementById('send').disabled")
        page.click("#send")
    page.wait("!document.getElementById('done').hidden")
    assert page.text("#rest") == "4 of 4 pairs still need the answer of somebody else."

    page.open(f"{server.address}?annotator=Bob")
    for number in range(4):
        page.wait(f"document.getElementById('progress').innerText.startsWith('Bob: {number} ')")
        page.wait("document.querySelector('#picture path.two')")
        for key in ("1" if number < 3 else "4", "q", "s", "Enter"):
            page.press(key)
    page.wait("!document.getElementById('done').hidden")
    assert settled_text(page) == "Bob: 4 answered, 3 of 4 pairs settled"

    page.click("#done .back")  # Bob thinks again about the last one
    page.wait("!document.getElementById('asking').hidden")
    assert page.run("document.querySelector('input[name=occlusion][value=none]').checked")
    assert "answered this one before" in page.text("#note")
    page.press("1")
    page.press("Enter")
    page.wait("!document.getElementById('done').hidden")
    assert page.text("#rest") == "All 4 pairs are settled."
    page.click("#write")
    page.wait("document.getElementById('write').innerText.startsWith('written')")
    assert page.text("#write") == "written: 2 images, 2 complete"
    files = [tmp_path / "asked" / name for name in ("instaorder.json", "instances.json")]
    records = load_instaorder(*files, ".")
    for record in records:
        assert (record["occlusion"] == np.triu(np.ones_like(record["occlusion"]), 1)).all()


def test_zoom_outlines_and_narrow_windows(page, server, tmp_path):
    page.open(f"{server.address}?annotator=Ada", width=380, height=1100, dark=True)
    page.wait("document.querySelector('#picture path.two')")
    assert page.run("document.documentElement.scrollWidth") <= 380
    view = "document.getElementById('picture').getAttribute('viewBox')"
    assert page.run(view) == "0 0 80 64"
    page.press("z")
    x, y, width, height = map(float, page.run(view).split())
    assert width * height < 80 * 64 and x >= 0 and y >= 0
    page.press("x")
    hidden = "getComputedStyle(document.querySelector('#picture path.two')).display"
    assert page.run(hidden) == "none"
    assert page.picture(tmp_path / "page.png")[:4].mean() < 70


def test_the_page_says_when_the_program_has_ended(page, project):
    with serving(project) as server:
        page.open(f"{server.address}?annotator=Ada")
        page.wait("document.querySelector('#picture path.two')")
    for key in ("1", "q", "s", "Enter"):
        page.press(key)
    page.wait("!document.getElementById('error').hidden")
    assert "Is it still running? Nothing answered so far is lost." in page.text("#error")
    page.messages.clear()  # the browser's own word about the failed request


# --- the command


def test_an_answer_survives_a_killed_program(data, tmp_path, capsys):
    instances, _ = write_dataset("coco", data, tmp_path / "in")
    arguments = [
        "--from", "coco", "--input", str(instances), "--images", data.image_root,
        "--output", str(tmp_path / "asked"), "--agree", "1", "--port", "0",
    ]  # fmt: skip
    command = [sys.executable, "-m", "occ_order", "annotate", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("4 pairs to ask about: http://127.0.0.1:")
            port = int(line.split(":")[3].split("/")[0])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/question?annotator=a")
            question = json.loads(connection.getresponse().read())["question"]
            entry = {"image_id": question["image_id"], "first": question["things"][0]["id"],
                     "second": question["things"][1]["id"], "annotator": "a",
                     "occlusion": "both", "depth": "equal", "range": "overlap"}  # fmt: skip
            kind = {"Content-Type": "application/json"}
            connection.request("POST", "/answer", json.dumps(entry), kind)
            assert connection.getresponse().status == 200
        finally:
            process.kill()
    assert main(["annotate", *arguments, "--write"]) == 0
    assert "1 of 4 pairs settled; 1 images written to" in capsys.readouterr().out
    (entry,) = json.loads((tmp_path / "asked" / "instaorder.json").read_text())["annotations"]
    assert entry["depth"] == [{"order": "0=1", "count": 1, "overlap": True}]


def test_ctrl_c_writes_the_files(data, tmp_path, capsys, monkeypatch):
    def interrupted(server):
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    instances, _ = write_dataset("coco", data, tmp_path / "in")
    arguments = ["--from", "coco", "--input", str(instances), "--images", data.image_root]
    assert main(["annotate", *arguments, "--output", str(tmp_path / "asked"), "--port", "0"]) == 0
    assert "0 of 4 pairs settled; 0 images written" in capsys.readouterr().out
    assert (tmp_path / "asked" / "instaorder.json").is_file()


def test_the_command_names_what_is_wrong(tmp_path, capsys):
    arguments = ["--from", "labelme", "--input", str(tmp_path), "--output", str(tmp_path)]
    assert main(["annotate", *arguments, "--write"]) == 2
    assert "no labelme files" in capsys.readouterr().err
