"""F30: the review page's server listens on loopback only and gives out nothing but its folder's episodes, to nobody
but the page it has served itself."""

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import review_folder as rf
from autofocus_core import results
from autofocus_core.review import review_path
from saliency_server.review.catalogue import key_of

COMMAND = "pytest tests/faults/test_f30_exposure.py"
SECRET = b"root-of-all-secrets"
LISTEN = "0A"
DECISION = {"do": "status", "status": "rejected"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sound episode; one that is a link to outside; one with an image file, one with a review that is such a link."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").write_bytes(SECRET)
    rf.write_annotated(outside / "private")
    folder = tmp_path_factory.mktemp("episodes")
    for name in ("sound", "linked_review", "linked_bag"):
        rf.write_annotated(folder / name)
    (folder / "linked").symlink_to(outside / "private")
    review_path(folder / "linked_review").symlink_to(outside / "secret.txt")
    bag = next((folder / "linked_bag").glob("*.mcap"))
    bag.unlink()
    bag.symlink_to(next((outside / "private").glob("*.mcap")))
    (folder / "secret.txt").write_bytes(SECRET)
    return folder


@pytest.fixture(scope="module")
def served(folder):
    with rf.serve(folder) as served:
        yield served


def ask(served, path, method="GET", body=None, token=True, **headers):
    """(status, headers, body) of a request whose path and headers go out exactly as they are given."""
    host = served.base.removeprefix("http://")
    port = host.rpartition(":")[2]
    sent = {"Host": host} | ({"Cookie": f"autofocus_review_{port}={rf.TOKEN}"} if token else {})
    if method == "POST":
        sent |= {"Origin": served.base, "X-Review-Token": rf.TOKEN, "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if method == "POST":
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def listeners(pid):
    """(protocol, address) of every socket on which a process accepts or receives, by /proc."""
    own = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("socket:["):
            own.add(target[8:-1])
    found = []
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in own and (name.startswith("udp") or fields[3] == LISTEN):
                found.append((name, fields[1]))
    return found


def test_f30_nothing_else_listens(folder):
    command = [sys.executable, "-m", "autofocus_cli.main", "review", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        port = int(lines[1].partition("127.0.0.1:")[2].partition("/")[0])
        http.client.HTTPConnection("127.0.0.1", port, timeout=30).request("GET", "/")
        found = listeners(process.pid)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
    others = [each for each in found if each != ("tcp", f"0100007F:{port:04X}")]
    assert len(found) == 1 + len(others)
    results.record("faults", "F30 review: listeners beside 127.0.0.1", len(others), "", "= 0", not others, COMMAND)
    assert not others


def test_f30_no_way_out_of_the_folder(served, folder):
    """Climbing, encoded in every way, through every part of an address that is a name."""
    climbs = ["../secret.txt", "../../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "%2e%2e%2fsecret.txt",
              "..%252fsecret.txt", "..\\secret.txt", "..%5csecret.txt", "..%c0%afsecret.txt", "%00secret.txt",
              "secret.txt%00.js", "....//secret.txt", str(folder / "secret.txt"), quote(str(folder / "secret.txt"), ""),
              "sound", "sound%2f..%2f..", "file:///etc/passwd"]  # fmt: skip
    paths = [place.format(climb) for climb in climbs for place in (
        "/{}", "/static/{}", "/api/episodes/{}", "/api/episodes/{}/thumbnail", "/api/episodes/{}/frames/0/0",
        f"/api/episodes/{key_of('sound')}/frames/0/{{}}", f"/api/episodes/{key_of('sound')}/{{}}",
    )]  # fmt: skip
    escapes = []
    for path in paths:
        status, _, body = ask(served, path)
        if status == 200 or SECRET in body:
            escapes.append(path)
    # Names of episodes are no keys, but keys that are looked up are found.
    assert ask(served, f"/api/episodes/{key_of('sound')}")[0] == 200
    for name in ("linked", "linked_review", "linked_bag"):
        for tail in ("", "/thumbnail", "/frames/0/0", "/maps/0/0"):
            status, _, body = ask(served, f"/api/episodes/{key_of(name)}{tail}")
            if status != 422 or b"leads out of" not in body:
                escapes.append(name + tail)
        status, _, _ = ask(served, f"/api/episodes/{key_of(name)}/review", "POST", DECISION)
        escapes += [name] if status != 422 else []
    listed = json.loads(ask(served, "/api/episodes")[2])
    assert [one["name"] for one in listed["episodes"]] == ["sound"] and len(listed["refused"]) == 3
    secret = review_path(folder / "linked_review").resolve()
    assert secret.read_bytes() == SECRET and not (secret.parent / "private.review.json").exists()
    tried = len(paths) + 15
    results.record("faults", f"F30 review: escapes in {tried} tries", len(escapes), "", "= 0", not escapes, COMMAND)
    assert not escapes


def test_f30_a_foreign_host_gets_nothing(served):
    """A name that someone points to 127.0.0.1 (DNS rebinding) makes their page same-origin: the name gives it away."""
    port = served.base.rpartition(":")[2]
    hosts = ["evil.example", f"evil.example:{port}", "127.0.0.1", "127.0.0.1:1", f"127.0.0.1:{port}.evil.example",
             f"0.0.0.0:{port}", f"[::1]:{port}", "", f"127.0.0.1:{port}@evil.example",
             f"LOCALHOST.:{port}"]  # fmt: skip
    answered = [host for host in hosts for path in ("/", "/api/episodes", f"/?token={rf.TOKEN}")
                if ask(served, path, Host=host)[0] not in (400, 421)]  # fmt: skip
    assert ask(served, "/api/episodes", Host=f"localhost:{port}")[0] == 200
    results.record("faults", f"F30 review: answers to {len(hosts)} foreign hosts", len(answered), "", "= 0",
                   not answered, COMMAND)  # fmt: skip
    assert not answered


def test_f30_only_the_page_itself_may_decide(served, folder):
    path, decision = f"/api/episodes/{key_of('sound')}/review", DECISION
    origins = [None, "null", "http://evil.example", "http://127.0.0.1:1", served.base + ".evil.example",
               served.base.replace("http:", "https:"), served.base.replace("127.0.0.1", "localhost")]  # fmt: skip
    refused = [ask(served, path, "POST", decision, Origin=origin)[0] for origin in origins]
    refused += [ask(served, path, "POST", decision, X_Review_Token=token)[0] for token in (None, "", "wrong", "é")]
    refused += [ask(served, path, "POST", decision, token=False)[0]]
    refused += [ask(served, path, method, decision)[0] for method in ("PUT", "DELETE", "OPTIONS", "TRACE")]
    refused += [ask(served, path, "POST", decision, Content_Type="text/plain")[0]]
    refused += [ask(served, path, "GET")[0]]
    refused += [ask(served, "/api/episodes", token=False)[0], ask(served, "/?token=wrong", token=False)[0]]
    done = sum(status < 400 for status in refused)
    results.record("faults", f"F30 review: {len(refused)} requests that are not the page's own, done", done, "", "= 0",
                   not done, COMMAND)  # fmt: skip
    assert done == 0 and not review_path(folder / "sound").exists()
    assert ask(served, path, "POST", decision)[0] == 200
    review_path(folder / "sound").unlink()


def test_f30_sizes_and_headers(served):
    path = f"/api/episodes/{key_of('sound')}/review"
    assert ask(served, path, "POST", b'{"do": "note", "note": "' + b"x" * 70_000 + b'"}')[0] == 413
    assert ask(served, path, "POST", b"[" * 60_000)[0] == 400
    assert ask(served, "/" + "x" * 4000)[0] == 414
    for asked in ("/", "/static/main.js", "/api/episodes", "/nothing"):
        _, headers, _ = ask(served, asked)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in headers
