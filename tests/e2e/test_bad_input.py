"""Bad input yields the message a person needs, harms no other release, and loses nothing once it is mended.

One release of a healthy version is played beside three applications whose inputs are wrong, and through a
Prometheus that answers HTML for a while; the tests look at what each of them was told.
"""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from canaryd.cluster.resources import SERVICES, VIRTUALSERVICES, Json
from canaryd.sandbox.outcome import Moment, Report
from canaryd.sandbox.rehearsal import Rehearsal
from canaryd.sandbox.scenarios import SCENARIOS
from canaryd.sandbox.shop import Shop
from e2e.conftest import rehearsed
from e2e.neighbour import Neighbour

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


class LoginPage:
    """In front of Prometheus: passes requests on, or answers every one with a page of HTML."""

    def __init__(self) -> None:
        self.upstream = ""
        self.closed = False
        login = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                login.answer(self, None)

            def do_POST(self) -> None:
                login.answer(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
                del format, args

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def answer(self, request: BaseHTTPRequestHandler, data: bytes | None) -> None:
        status, body, media = 200, PAGE, "text/html"
        if not self.closed:
            headers = {"Content-Type": request.headers.get("Content-Type", "text/plain")}
            asked = urllib.request.Request(f"{self.upstream}{request.path}", data, headers)
            try:
                with urllib.request.urlopen(asked, timeout=10) as answer:
                    body, media = answer.read(), "application/json"
            except urllib.error.HTTPError as error:
                status, body, media = error.code, error.read(), "application/json"
        request.send_response(status)
        request.send_header("Content-Type", media)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@dataclass
class Told:
    """What was seen while the good release was played."""

    report: Report
    blind: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def login() -> Iterator[LoginPage]:
    page = LoginPage()
    yield page
    page.stop()


@pytest.fixture(scope="module")
def shop(login: LoginPage) -> Iterator[Rehearsal]:
    def address(box: object) -> str:
        login.upstream = box.prometheus.url  # type: ignore[attr-defined]
        return login.url

    yield from rehearsed(prometheus=address)


@pytest.fixture(scope="module")
def neighbours(shop: Rehearsal) -> dict[str, Neighbour]:
    """Three applications at rest, whose inputs are then spoilt before a new version comes."""
    names = ("annotation", "services", "route")
    found = {name: Neighbour(shop.box, Shop(name, "cart")) for name in names}
    for neighbour in found.values():
        neighbour.install()
    for name, neighbour in found.items():
        shop.wait(f"{name} at rest", lambda neighbour=neighbour: neighbour.at_rest, 60)  # type: ignore[misc]
    api = shop.box.api
    found["annotation"].annotate(step_min="soon")
    api.create(SERVICES, "services", found["services"].shop.service("cart-internal"))
    _route(found["route"], [("cart", 90), ("elsewhere", 10)])
    for neighbour in found.values():
        neighbour.release("v2")
    return found


def _route(neighbour: Neighbour, destinations: list[tuple[str, int]]) -> None:
    route: list[Json] = [
        {"destination": {"host": host, "port": {"number": 80}}} | ({"weight": weight} if weight < 100 else {})
        for host, weight in destinations
    ]
    body = [{"op": "replace", "path": "/spec/http/1/route", "value": route}]
    neighbour.box.api.patch(
        VIRTUALSERVICES, neighbour.shop.namespace, "cart", body, kind="json", field_manager="kubectl-edit"
    )


@pytest.fixture(scope="module")
def told(shop: Rehearsal, login: LoginPage, neighbours: dict[str, Neighbour]) -> Told:
    """The good release, played to its end; at 5 % Prometheus shows a log-in page until that is noticed."""
    del neighbours
    blind: list[str] = []

    def watch(moment: Moment) -> None:
        status = moment.run.get("status") or {}
        if status.get("hold") == "Blind":
            blind.append(status["because"])
            login.closed = False
        elif not blind and status.get("stage") == "judge" and status["weight"]["wanted"] >= 5:
            login.closed = True

    return Told(shop.play(SCENARIOS["healthy"], watch), blind)


def test_the_good_release_is_not_harmed(told: Told) -> None:
    report = told.report
    assert (report.outcome, report.reason) == ("Succeeded", "Promoted"), report.because
    assert report.restored, report.left
    assert report.violations == report.misrouted == []
    assert report.unanswered == {}


def test_a_prometheus_that_answers_html_is_blindness(told: Told, login: LoginPage) -> None:
    assert told.blind, "nobody noticed"
    assert "HTML" in told.blind[0]
    assert login.url in told.blind[0]


MESSAGES = {
    "annotation": ("canaryd.io/step-min", '"soon"', "a duration"),
    "services": ("2 Services", "cart, cart-internal", "canaryd.io/service"),
    "route": ("VirtualService route/cart route all", "elsewhere", "one destination"),
}
CURES: dict[str, Callable[[Neighbour], None]] = {
    "annotation": lambda it: it.annotate(step_min=None),
    "services": lambda it: it.box.api.delete(SERVICES, "services", "cart-internal"),
    "route": lambda it: _route(it, [("cart", 100)]),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_message_names_object_value_and_cure(
    told: Told, neighbours: dict[str, Neighbour], name: str
) -> None:
    del told
    neighbour = neighbours[name]
    for words in MESSAGES[name]:
        assert words in neighbour.condition
        assert any(words in event for event in neighbour.events), neighbour.events
    assert neighbour.serving == {"v1"}
    assert (neighbour.phase, neighbour.weight) == ("Pending", 0)


@pytest.mark.parametrize("name", CURES)
def test_once_mended_the_release_goes_on_by_itself(
    told: Told, shop: Rehearsal, neighbours: dict[str, Neighbour], name: str
) -> None:
    del told
    neighbour = neighbours[name]
    CURES[name](neighbour)
    shop.wait(f"{name} at its first weight", lambda: neighbour.weight == 1, 45)
    assert len(neighbour.runs) == 1
    assert neighbour.serving == {"v1"}
    neighbour.annotate(abort="true")
    shop.wait(f"{name} ended", lambda: neighbour.phase == "RolledBack", 45)
