"""Who may use the server: the token, the Host (DNS rebinding), the Origin, and the switch for control."""

from __future__ import annotations

import httpx
import pytest

from fastalex import AlexNet
from fastalex.cli import serve
from fastalex.cli.main import main
from fastalex.serve.errors import ServiceError
from fastalex.serve.security import Guard
from fastalex.serve.settings import Settings
from fastalex.serve.specs import ModelSpec
from tests.support import service

ORIGIN = "https://lab.example"
LOAD = "/v2/repository/models/digits/load"


@pytest.fixture(scope="module")
def client():
    options = {"token": "s3cret", "allowed_hosts": ("gpu.example",), "allowed_origins": (ORIGIN,)}
    with service.running(allow_control=True, **options) as running, httpx.Client(base_url=running.url) as client:
        yield client


def ask(client, method="GET", path="/v2", token="s3cret", **headers):
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return client.request(method, path, headers=headers)


# Token ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/v2", "/metrics", "/v2/models/digits", "/unknown", "/v2/health/live/"])
@pytest.mark.parametrize("token", [None, "S3CRET", "s3cre", "s3cret2", "\xe9"])
def test_everything_needs_the_token(client, path, token):
    headers = {} if token is None else {"Authorization": b"Bearer " + token.encode("latin-1")}
    answer = client.get(path, headers=headers)
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert "token" in answer.json()["error"] and "s3cret" not in answer.text


@pytest.mark.parametrize("authorization", ["s3cret", "Bearer", "Basic s3cret", "Token s3cret"])
def test_other_schemes_are_no_token(client, authorization):
    assert client.get("/v2", headers={"Authorization": authorization}).status_code == 401


def test_the_token_opens_and_probes_need_none(client):
    assert ask(client).status_code == 200
    assert client.get("/v2", headers={"Authorization": "bearer s3cret"}).status_code == 200
    for probe in ("/v2/health/live", "/v2/health/ready"):
        assert client.get(probe).status_code == 200


def test_paths_without_a_token_are_whole_folders():
    guard = Guard(Settings(token="x"), public=("/ui/", "/icon"))
    scope = {"headers": [(b"host", b"localhost")], "http_version": "1.1", "method": "GET"}
    for path in ("/ui/", "/ui/page.js", "/icon"):
        guard.check({**scope, "path": path})
    for path in ("/ui", "/icon/x", "/uix", "/v2"):
        with pytest.raises(ServiceError, match="token"):
            guard.check({**scope, "path": path})


# Host -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1234", "LOCALHOST", "127.0.0.1", "[::1]:80", "gpu.example:8000", "GPU.example"]
)
def test_names_of_the_server_are_taken(client, host):
    assert ask(client, Host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost@evil", "", "[::2]"],
)
def test_other_names_are_refused(client, host):
    answer = ask(client, Host=host)
    assert answer.status_code == 403 and "--allowed-host" in answer.json()["error"]


def test_a_request_has_one_host():
    with service.running() as running:
        for hosts in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
            answer = running.raw(b"GET /v2 HTTP/1.1\r\nConnection: close\r\n" + hosts + b"\r\n")
            assert b" 400 " in answer.splitlines()[0]
        assert b" 200 " in running.raw(b"GET /v2 HTTP/1.0\r\n\r\n").splitlines()[0], "as probes of long ago send it"


def test_bound_to_all_addresses_the_one_that_was_called_is_taken():
    with service.running(host="0.0.0.0") as running:
        for host, status in (("127.0.0.1", 200), ("0.0.0.0", 200), ("127.0.0.2", 403), ("evil.example", 403)):
            assert httpx.get(running.url + "/v2", headers={"Host": host}).status_code == status
        other = f"http://127.0.0.3:{running.port}/v2"
        assert httpx.get(other).status_code == 200
    with service.running(allowed_hosts=("*",)) as running:
        assert httpx.get(running.url + "/v2", headers={"Host": "any.example"}).status_code == 200


# Origin ---------------------------------------------------------------------------------------------------------------


def test_pages_of_the_server_and_of_allowed_origins_may_use_it(client):
    own = f"http://{client.base_url.host}:{client.base_url.port}"
    answer = ask(client, Origin=own)
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers
    answer = ask(client, Origin=ORIGIN)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["vary"] == "origin"
    assert ask(client, path="/unknown", Origin=ORIGIN).headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://localhost", "https://lab.example.evil", "http://["]
)
def test_pages_of_other_origins_may_not(client, origin):
    answer = ask(client, "POST", "/v1/classify", Origin=origin)
    assert answer.status_code == 403 and "origin" in answer.json()["error"]
    assert "access-control-allow-origin" not in answer.headers


def preflight(client, origin):
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return client.options("/v1/classify", headers=headers)


def test_preflights_are_answered_for_allowed_origins_alone(client):
    answer = preflight(client, ORIGIN)
    assert answer.status_code == 204 and answer.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in answer.headers["access-control-allow-headers"]
    refused = preflight(client, "https://evil.example")
    assert refused.status_code == 403 and "access-control-allow-origin" not in refused.headers
    assert client.options("/v1/classify").status_code == 401, "without a question it is a request as any"


# Control --------------------------------------------------------------------------------------------------------------


def test_control_needs_the_switch_the_token_and_the_origin(client):
    assert ask(client, "POST", LOAD).status_code == 200
    assert ask(client, "POST", LOAD, token=None).status_code == 401
    assert ask(client, "POST", LOAD, Origin="https://evil.example").status_code == 403
    with service.running(token="s3cret") as running, httpx.Client(base_url=running.url) as fixed:
        for path in (LOAD, LOAD.replace("load", "unload")):
            answer = ask(fixed, "POST", path)
            assert answer.status_code == 403 and "--allow-control" in answer.json()["error"]
        assert ask(fixed, path="/v2/models/digits/ready").status_code == 200
    with service.running(allow_control=True) as running:
        assert httpx.post(running.url + LOAD).status_code == 403, "without a token nothing can be changed"


def test_those_without_the_token_are_not_told_of_files(tmp_path):
    path = tmp_path / "net.npz"
    AlexNet(weights="digits", device="cpu").save(path)
    with service.running([ModelSpec.parse(f"net={path},device=cpu")], token="s3cret", allow_control=True) as running:
        running.repository.unload("net")
        path.unlink()
        with pytest.raises(ServiceError, match="net.npz"):
            running.repository.load("net")
        answer = httpx.get(running.url + "/v2/health/ready")
        assert answer.status_code == 503
        sentence = "model 'net' is not available; POST /v2/repository/index says why"
        assert answer.json() == {"error": sentence}
        index = httpx.post(running.url + "/v2/repository/index", headers={"Authorization": "Bearer s3cret"})
        assert str(path) in index.json()[0]["reason"]


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b'{"parameters": 3}', b'{"a": ' + b"[" * 9000])
def test_bodies_of_control_are_small_objects(client, body):
    answer = client.post(LOAD, content=body, headers={"Authorization": "Bearer s3cret"})
    assert answer.status_code == 400 and "JSON object" in answer.json()["error"]


# The command ----------------------------------------------------------------------------------------------------------


def test_the_token_may_come_from_a_file_or_the_environment(tmp_path):
    file = tmp_path / "token"
    file.write_text("from-file\nmore\n")
    models = ("--model", "digits,device=cpu,threads=1")
    with service.process(*models, "--token-file", str(file), environment={"FASTALEX_TOKEN": "other"}) as (_, url):
        for token, status in (("from-file", 200), ("other", 401)):
            assert httpx.get(url + "/v2", headers={"Authorization": f"Bearer {token}"}).status_code == status


TOKENS = [
    (["--allow-control"], "--allow-control needs a token"),
    (["--token", "a", "--token-file", "b"], "not both"),
    (["--token-file", "/does/not/exist"], "cannot be read: No such file"),
    (["--token", ""], "printable ASCII"),
    (["--token", "a b"], "printable ASCII"),
    (["--token", "é"], "printable ASCII"),
]


def test_a_token_of_a_file_is_not_cut(tmp_path, capsys):
    file = tmp_path / "token"
    file.write_text("x" * 1001)
    assert main(["serve", "--model", "digits", "--token-file", str(file)]) == 2
    assert "1 to 1000 printable ASCII" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "sentence"), TOKENS)
def test_tokens_that_cannot_be_are_refused(arguments, sentence, capsys, monkeypatch):
    monkeypatch.delenv("FASTALEX_TOKEN", raising=False)
    assert main(["serve", "--model", "digits", *arguments]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "token", "warned"),
    [("0.0.0.0", None, True), ("0.0.0.0", "x", False), ("127.0.0.1", None, False), ("::1", None, False)],
)
def test_a_server_for_everybody_is_warned_about(host, token, warned, capsys):
    serve.warn_open(Settings(host=host, token=token))
    assert ("everybody who reaches 0.0.0.0 can use this server" in capsys.readouterr().err) == warned
