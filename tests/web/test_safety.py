"""Nobody but this page on this machine is answered, and only of what was opened."""

import random
import string
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from histomend.web.guard import MOST_BODY, Guard
from histomend.web.server import VIEW_FILES, view_app
from histomend.web.work import Bench

TOKEN = "a-token-of-the-tests"  # noqa: S105


def test_the_page_and_its_files_are_given(client: TestClient) -> None:
    page = client.get("")
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    for name in VIEW_FILES:
        assert client.get(f"static/{name}").status_code == 200, name


def test_without_the_slash_the_page_is_found_as_well(client: TestClient) -> None:
    answer = client.get(f"http://127.0.0.1/{TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, f"/{TOKEN}/")


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1], TOKEN.upper(), "é"])
def test_another_token_finds_nothing(client: TestClient, token: str) -> None:
    for path in ("", "api/desk", "static/app.js", "tiles/0/0/image/0/0/0"):
        answer = client.get(f"http://127.0.0.1/{token}/{path}")
        assert answer.status_code == 404
        assert answer.json() == {"error": "Refused: not found."}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:80", ""])
def test_another_name_of_this_machine_is_refused(client: TestClient, host: str) -> None:
    """A site whose own name points to this machine (DNS rebinding) reads nothing."""
    assert client.get("api/desk", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8123", "localhost:8123", "[::1]:8123", "localhost"])
def test_the_names_of_this_machine_are_taken(client: TestClient, host: str) -> None:
    assert client.get("api/desk", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    ],
)
def test_other_pages_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("api/desk", headers=headers).status_code == 403
    assert client.post("api/jobs", headers=headers, json={}).status_code == 403


def test_the_page_itself_may_ask(client: TestClient) -> None:
    headers = {"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}
    assert client.get("api/desk", headers=headers).status_code == 200


def test_every_answer_is_sealed(client: TestClient) -> None:
    for path in ("", "api/desk", "api/items/99", "http://127.0.0.1/wrong/"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "static/",
        "static/../server.py",
        "static/%2e%2e/server.py",
        "static/..%2fserver.py",
        "static//etc/passwd",
        "static/openseadragon",
        "static/openseadragon/",
        "../../etc/passwd",
        "docs",
        "openapi.json",
        "api",
        "tiles/0/0/..%2f..%2fmask.png/0/0/0",
    ],
)
def test_nothing_else_is_found_and_nothing_is_listed(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "passwd" not in answer.text
    assert "import" not in answer.text


def test_files_beside_what_was_opened_cannot_be_reached(client: TestClient, folder: Path) -> None:
    names = [item["name"] for item in client.get("api/desk").json()["items"]]
    assert names == ["tissue.png"]
    assert client.get("api/items/1").status_code == 404
    wish = {"task": "denoise", "item": 0, "options": {"model": str(folder)}}
    refused = client.post("api/plan", json=wish)
    assert refused.status_code == 422
    assert "knows no model" in refused.json()["error"]


def test_bodies_are_bounded(bench: Bench) -> None:
    app = Guard(view_app(bench), TOKEN, most_body=1000)
    with TestClient(app, base_url=f"http://127.0.0.1/{TOKEN}/") as client:
        assert client.post("api/items/0/geojson", content=b"[" * 1001).status_code == 413
        # In pieces, without a length that is said before.
        pieces = iter([b"[" * 600, b"[" * 600])
        assert client.post("api/items/0/geojson", content=pieces).status_code == 413
        lie = {"content-length": "-5"}
        assert client.post("api/items/0/geojson", content=b"[]", headers=lie).status_code == 413
        assert client.post("api/items/0/geojson", content=b"[]").status_code in (200, 422)
    assert MOST_BODY < 100e6


def test_anything_may_be_asked_without_a_fault(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    """500 requests of all kinds: each is answered in words, and none with a fault of ours."""
    draw = random.Random(0)  # noqa: S311  not for secrets
    words = ["0", "1", "-1", "99", "image", "mask", "1e9", "nan", "é", "%00", "..", "x" * 300, ""]
    paths = ["api/items/{}", "api/items/{}/detect", "api/items/{}/geojson", "api/jobs/{}",
             "api/items/{}/drawing", "tiles/{}/{}/{}/{}/{}/{}", "api/plan", "static/{}",
             "api/items/{}/versions/{}/record", "{}", "api/{}"]  # fmt: skip
    keys = ["task", "item", "drawing", "region", "options", "low", "plane", "rings", "kind"]

    def value(depth: int = 0) -> object:
        kind = draw.randrange(8 if depth < 3 else 5)
        if kind == 0:
            return draw.choice([0, 1, -1, 1e308, 2**70, 0.5])
        if kind == 1:
            return "".join(draw.choices(string.printable, k=draw.randrange(20)))
        if kind == 2:
            return draw.choice([None, True, False])
        if kind in (3, 4):
            return draw.choice(["restore", "polygon", "stroke", "Polygon", "FeatureCollection"])
        if kind == 5:
            return [value(depth + 1) for _ in range(draw.randrange(4))]
        return {draw.choice([*keys, "type", "coordinates"]): value(depth + 1) for _ in range(4)}

    for _ in range(500):
        path = draw.choice(paths)
        while "{}" in path:
            path = path.replace("{}", draw.choice(words), 1)
        method = draw.choice(["GET", "GET", "POST", "POST", "DELETE", "PUT"])
        query = {draw.choice(["plane", "low", "high", "gamma", "channels"]): draw.choice(words)}
        if method == "POST":
            answer = client.post(path, json=value(), params=query)
        else:
            answer = client.request(method, path, params=query)
        assert answer.status_code < 500, (method, path, answer.text)
        assert "Traceback" not in answer.text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
