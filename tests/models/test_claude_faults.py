"""Every fault of the model's side, over the real SDK: what passes is waited for, what does not is explained at once."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.errors import ModelError, UsageError
from flue_ci.core.messages import Reply
from flue_ci.core.ports import ModelOptions
from flue_ci.models.claude.client import Claude
from flue_ci.models.claude.errors import MOST_BREAKS, ErrorResponse, classify_error
from flue_ci.settings import Settings
from tests.support.conversations import Clock, Watcher, claude, converse, request
from tests.support.messages_server import API_KEY, Fault, MessagesServer, Turn, text, thinking, tool

WORK = Turn(blocks=[thinking("Let me look."), text("I run it."), tool("bash", {"command": "make test"}, id="t1")])
LAST = Turn(blocks=[text("Done.")])

BEFORE_THE_STREAM = {
    "rate limit": Fault(kind="status", status=429),
    "server error": Fault(kind="status", status=500),
    "server error of a proxy": Fault(kind="status", status=500, body="<html><h1>Oops</h1></html>"),
    "bad gateway": Fault(kind="status", status=502, body=""),
    "unavailable": Fault(kind="status", status=503),
    "gateway timeout": Fault(kind="status", status=504),
    "overloaded": Fault(kind="status", status=529),
    "request timeout": Fault(kind="status", status=408),
    "conflict": Fault(kind="status", status=409),
    "connection dropped before the response": Fault(kind="drop", after=-1),
    "silence before the response": Fault(kind="silence", after=-1),
}
WITHIN_THE_STREAM = {
    "connection dropped after the headers": Fault(kind="drop", after=0),
    "connection dropped after the first event": Fault(kind="drop", after=1),
    "connection dropped within the text": Fault(kind="drop", after=9),
    "connection dropped within the tool call": Fault(kind="drop", after=13),
    "proper end before anything": Fault(kind="end", after=0),
    "proper end within the tool call": Fault(kind="end", after=13),
    "proper end without message_stop": Fault(kind="end", after=14),
    "overloaded event": Fault(kind="error", after=9),
    "api_error event": Fault(kind="error", error_type="api_error", after=2),
    "rate limit event": Fault(kind="error", error_type="rate_limit_error", after=0),
    "unknown error event": Fault(kind="error", error_type="error_of_2027", after=3),
    "malformed event": Fault(kind="malformed", after=9),
    "malformed first event": Fault(kind="malformed", after=0),
    "silence": Fault(kind="silence", after=9),
    "silence after the headers": Fault(kind="silence", after=0),
}
SILENCE = 1.0  # seconds; on a busy machine everything is silent for a part of it
RECOVERABLE = {**BEFORE_THE_STREAM, **WITHIN_THE_STREAM}


def of_turn(reply: Reply) -> tuple[str, tuple[Any, ...], str]:
    return reply.text, reply.calls, reply.stop_reason


@pytest.mark.parametrize("fault", RECOVERABLE.values(), ids=RECOVERABLE.keys())
async def test_a_fault_that_may_pass_costs_one_more_request_and_nothing_else(fault: Fault) -> None:
    watcher = Watcher()
    with MessagesServer([WORK, LAST], faults={1: fault}) as server:
        model = claude(server, idle_seconds=SILENCE, first_byte_seconds=SILENCE)
        replies = await converse(model, 2, watcher)
        await model.close()
        assert len(server.requests) == 3
        assert server.requests[0].raw == server.requests[1].raw
    assert of_turn(replies[0])[0] == "I run it."
    assert [call.input for call in replies[0].calls] == [{"command": "make test"}]
    assert replies[1].text == "Done."
    assert len(watcher.notices) == 1
    assert "trying again in" in watcher.notices[0]
    assert API_KEY not in repr(watcher.events)


@pytest.mark.family(30)
@pytest.mark.parametrize("after", range(15))
@pytest.mark.parametrize("kind", ["drop", "end", "error", "malformed"])
async def test_wherever_a_stream_breaks_the_turn_is_repeated_whole(kind: Any, after: int) -> None:
    watcher = Watcher()
    with MessagesServer([WORK], faults={1: Fault(kind=kind, after=after)}) as server:
        reply = await claude(server).turn(request(), watcher)
    assert of_turn(reply)[0] == "I run it."
    assert len(reply.calls) == 1
    assert len(watcher.restarts) == (1 if after >= 3 else 0)  # after message_start, ping and the start of a block
    assert watcher.final_text == "Let me look.\n\nI run it."


async def test_pings_during_a_long_thought_are_not_silence() -> None:
    pinging = Fault(kind="silence", after=3, seconds=2 * SILENCE, ping_seconds=0.1)
    with MessagesServer([LAST], faults={1: pinging}) as server:
        reply = await claude(server, idle_seconds=SILENCE).turn(request(), Watcher())
        assert len(server.requests) == 1
    assert reply.text == "Done."


async def test_a_message_that_is_complete_counts_even_when_the_connection_breaks_behind_it() -> None:
    with MessagesServer([LAST], faults={1: Fault(kind="drop", after=50)}) as server:
        reply = await claude(server).turn(request(), Watcher())
        assert len(server.requests) == 1
    assert reply.text == "Done."


async def test_tokens_of_a_broken_attempt_are_counted_and_paid_for() -> None:
    usage = {"input_tokens": 1000, "output_tokens": 50, "cache_read_input_tokens": 300}
    turn = Turn(blocks=WORK.blocks, usage=usage)
    with MessagesServer([turn], faults={1: Fault(kind="drop", after=9), 2: Fault(kind="status", status=529)}) as server:
        reply = await claude(server).turn(request(), Watcher())
    assert reply.usage.turns == 1
    assert reply.usage.input_tokens == 2000
    assert reply.usage.cache_read_tokens == 600
    assert reply.usage.output_tokens == 51
    assert reply.usage.cost_usd == pytest.approx((2000 * 2 + 600 * 0.1 + 51 * 10) / 1e6)


async def test_two_minutes_of_overload_are_waited_for() -> None:
    clock = Clock()
    start = clock.now
    overload = Fault(kind="status", status=529)
    with MessagesServer([LAST], faults=lambda number: overload if clock.now < start + 120 else None) as server:
        reply = await claude(server, clock).turn(request(), Watcher())
    assert reply.text == "Done."
    assert clock.waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(clock.waits) <= 30


async def test_a_rate_limit_for_ever_ends_with_an_error_when_patience_does() -> None:
    clock = Clock()
    watcher = Watcher()
    rate_limit = Fault(kind="status", status=429, message="This request would exceed your rate limit.")
    with MessagesServer([], faults=lambda number: rate_limit) as server:
        with pytest.raises(ModelError, match="out of reach") as error:
            await claude(server, clock).turn(request(), watcher)
        assert len(server.requests) == len(clock.waits) + 1
    assert 240 <= sum(clock.waits) <= 300
    assert "would exceed your rate limit" in str(error.value)
    assert error.value.hint


async def test_a_server_that_nobody_runs_ends_with_an_error() -> None:
    clock = Clock()
    with MessagesServer([]) as server:
        model = claude(server, clock, timeout=20)
    with pytest.raises(ModelError, match="cannot be reached"):
        await model.turn(request(), Watcher())
    assert clock.waits


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "17"}, 17.0), ({"retry-after-ms": "2500"}, 2.5), ({"Retry-After": "0"}, 0.0)],
)
async def test_the_servers_wish_when_to_come_back_is_kept(headers: dict[str, str], seconds: float) -> None:
    clock = Clock()
    with MessagesServer([LAST], faults={1: Fault(kind="status", status=429, headers=headers)}) as server:
        await claude(server, clock).turn(request(), Watcher())
    assert clock.waits == [seconds]


async def test_a_wish_beyond_all_patience_ends_at_once_and_is_named() -> None:
    clock = Clock()
    far = Fault(kind="status", status=429, headers={"retry-after": "3600"})
    with MessagesServer([LAST], faults={1: far}) as server:
        with pytest.raises(ModelError, match="asked to wait 1h 00m"):
            await claude(server, clock).turn(request(), Watcher())
        assert len(server.requests) == 1
    assert clock.waits == []


async def test_a_stream_that_always_breaks_is_not_repeated_for_ever() -> None:
    clock = Clock()
    with MessagesServer([WORK], faults=lambda number: Fault(kind="drop", after=9)) as server:
        with pytest.raises(ModelError, match="broke off"):
            await claude(server, clock, timeout=1e9).turn(request(), Watcher())
        assert len(server.requests) == MOST_BREAKS + 1


async def test_one_fault_of_every_kind_in_one_conversation_loses_nothing() -> None:
    all_faults = list(RECOVERABLE.values())
    commands = [f"make target number {number}" for number in range(len(all_faults))]
    work = [Turn(blocks=[thinking("Hm."), text("Go."), tool("bash", {"command": command})]) for command in commands]
    faults = {2 * number + 1: fault for number, fault in enumerate(all_faults)}
    with MessagesServer([*work, LAST], faults=faults) as server:
        replies = await converse(claude(server, idle_seconds=SILENCE, first_byte_seconds=SILENCE), len(work) + 1)
        assert len(server.requests) == 2 * len(work) + 1
    assert [call.input for reply in replies for call in reply.calls] == [{"command": command} for command in commands]
    assert replies[-1].text == "Done."


FATAL = {
    "bad request": (
        Fault(kind="status", status=400, message="max_tokens: too high"),
        "refused the request .*max_tokens: too high",
        "Check the model's settings",
    ),
    "no credit": (
        Fault(kind="status", status=400, message="Your credit balance is too low to access the Anthropic API."),
        "nothing left to spend",
        "Add credit",
    ),
    "billing": (Fault(kind="status", status=402), "nothing left to spend", "Add credit"),
    "forbidden": (Fault(kind="status", status=403), "may not do this", "workspace"),
    "no such address": (Fault(kind="status", status=404, body="nothing here"), "no Messages API", "ANTHROPIC_BASE_URL"),
    "too large": (Fault(kind="status", status=413), "too long for the model", "smaller task"),
    "prompt too long": (
        Fault(kind="status", status=400, message="prompt is too long: 1200000 tokens > 1000000 maximum"),
        "too long for the model",
        "smaller task",
    ),
    "not implemented": (Fault(kind="status", status=501), "refused the request", ""),
    "told not to retry": (
        Fault(kind="status", status=529, headers={"x-should-retry": "false"}),
        "refused the request",
        "",
    ),
    "refused within the stream": (
        Fault(kind="error", error_type="invalid_request_error", after=5),
        "refused the request .*within the stream",
        "Check",
    ),
    "spend limit": (
        Fault(
            kind="status",
            status=429,
            body='{"type":"error","error":{"type":"rate_limit_error","message":"Limit reached.",'
            '"details":{"error_code":"enforced_spend_limit_reached"}}}',
        ),
        "nothing left to spend",
        "spend limit",
    ),
}


@pytest.mark.parametrize(("fault", "message", "hint"), FATAL.values(), ids=FATAL.keys())
async def test_a_fault_that_will_not_pass_ends_at_once_and_says_what_to_do(
    fault: Fault, message: str, hint: str
) -> None:
    clock = Clock()
    with MessagesServer([WORK], faults=lambda number: fault) as server:
        with pytest.raises(ModelError, match=message) as error:
            await claude(server, clock).turn(request(), Watcher())
        assert len(server.requests) == 1
    assert hint in error.value.hint
    assert "\n" not in str(error.value)
    assert clock.waits == []


async def test_a_wrong_key_ends_at_once_without_being_shown() -> None:
    with MessagesServer([LAST]) as server, pytest.raises(ModelError, match="refused the key") as error:
        await claude(server, api_key="sk-ant-wrong-key-000").turn(request(), Watcher())
    assert "ANTHROPIC_API_KEY" in error.value.hint
    assert "sk-ant" not in f"{error.value} {error.value.hint}"


@pytest.mark.parametrize(
    "how", [{"kind": "status", "status": 403}, {"kind": "error", "error_type": "permission_error", "after": 3}]
)
async def test_a_key_that_the_server_repeats_is_not_shown(how: dict[str, Any]) -> None:
    fault = Fault(message=f"key {API_KEY} may not use this model", **how)
    with (
        MessagesServer([LAST], faults={1: fault}) as server,
        pytest.raises(ModelError, match=r"key \*\*\* may not") as error,
    ):
        await claude(server).turn(request(), Watcher())
    assert API_KEY not in repr(error.value)


async def test_no_key_at_all_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with MessagesServer([LAST]) as server:
        with pytest.raises(ModelError, match="no key") as error:
            await claude(server, api_key=None).turn(request(), Watcher())
        assert server.requests == []
    assert error.value.hint == "Set ANTHROPIC_API_KEY."


async def test_credentials_that_cannot_be_used_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    with MessagesServer([LAST]) as server, pytest.raises(ModelError, match=r"no usable key: .*default"):
        await claude(server, api_key=None).turn(request(), Watcher())


@pytest.mark.parametrize(
    ("model", "hint"), [("claude-sonet-5-5", "Did you mean claude-sonnet-5-5?"), ("zzz", "Check the model's name.")]
)
async def test_an_unknown_model_ends_at_once_with_the_nearest_name(model: str, hint: str) -> None:
    with MessagesServer([LAST]) as server:
        with pytest.raises(ModelError, match=f"does not know {model}") as error:
            await claude(server, model=model).turn(request(), Watcher())
        assert len(server.requests) == 1
    assert error.value.hint == hint


async def test_a_server_that_speaks_another_protocol_is_recognised() -> None:
    page = Fault(kind="status", status=200, body="<html>Welcome to the portal</html>")
    with (
        MessagesServer([LAST], faults={1: page}) as server,
        pytest.raises(ModelError, match="instead of a stream of events") as error,
    ):
        await claude(server).turn(request(), Watcher())
    assert "ANTHROPIC_BASE_URL" in error.value.hint


def test_an_error_of_an_unknown_type_within_a_stream_may_pass() -> None:
    assert not isinstance(
        classify_error(ErrorResponse(status=200, type="something_new"), "claude-sonnet-5-5"), ModelError
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_the_conversation_follows_no_redirect(status: int, host: str) -> None:
    with MessagesServer([LAST]) as elsewhere:
        address = f"{elsewhere.url.replace('127.0.0.1', host)}/v1/messages"
        fault = Fault(kind="status", status=status, headers={"location": address})
        await _assert_not_followed(fault, address)
        assert elsewhere.requests == []


async def _assert_not_followed(fault: Fault, address: str) -> None:
    with MessagesServer([LAST], faults={1: fault}) as server:
        model = claude(server)
        with pytest.raises(ModelError, match="elsewhere, which is not followed") as error:
            await model.turn(request(), Watcher())
        await model.close()
        assert len(server.requests) == 1
    assert address in error.value.hint


@pytest.mark.parametrize(
    "environ",
    [{"ALL_PROXY": "socks5://127.0.0.1:1"}, {"NO_PROXY": "fd00::/8"}, {"SSL_CERT_FILE": "/nowhere.pem"}],
    ids=lambda environ: next(iter(environ)),
)
async def test_a_variable_that_no_client_can_be_made_with_is_named_at_once(environ: dict[str, str]) -> None:
    settings = Settings(anthropic_api_key=API_KEY, environ=environ)
    with pytest.raises(UsageError, match=next(iter(environ))):
        Claude.from_options(ModelOptions(name="claude-sonnet-5-5"), settings)
    row = await Claude.diagnose(settings, offline=False)
    assert (row.severity, next(iter(environ)) in row.message) == ("error", True)


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/messages"])
async def test_an_address_that_says_more_than_the_server_works(ending: str) -> None:
    with MessagesServer([LAST]) as server:
        settings = Settings(anthropic_api_key=API_KEY, anthropic_base_url=f"{server.url}{ending}")
        model = Claude.from_options(ModelOptions(name="claude-sonnet-5-5"), settings)
        assert (await model.turn(request(), Watcher())).text == "Done."
        await model.check()
        await model.close()


ANSWERS = {
    "a page": ("text/html", b"<html>Log in</html>"),
    "a list": ("application/json", b"[]"),
    "another object": ("application/json", b'{"status":"ok"}'),
    "no JSON": ("application/json", b"ok"),
    "nothing": ("", b""),
    "another stream": ("text/event-stream", b'data: {"choices":[]}\n\n'),
    "a stream of nothing ours": ("text/event-stream", b"data: 7\n\n"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_an_answer_that_is_not_the_api_s_names_the_address_at_once(answer: tuple[str, bytes]) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(200)
            self.send_header("content-type", answer[0])
            self.send_header("content-length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        settings = Settings(anthropic_api_key=API_KEY, anthropic_base_url=address)
        model = Claude.from_options(ModelOptions(name="claude-sonnet-5-5"), settings)
        for ask in (model.check, lambda: model.turn(request(), Watcher())):
            with pytest.raises(ModelError, match=address) as error:
                await ask()
            assert "ANTHROPIC_BASE_URL" in error.value.hint
        await model.close()
        row = await Claude.diagnose(settings, offline=False)
        assert row.severity == "error"
        server.shutdown()


def test_a_page_of_a_proxy_is_not_explained_as_an_answer_of_the_api() -> None:
    error = classify_error(ErrorResponse(status=403, is_page=True), "claude-sonnet-5-5")
    assert isinstance(error, ModelError)
    assert "A page came in place of an answer" in str(error)
    assert "HTTPS_PROXY" in error.hint
