"""The HTTP process: `/metrics`, `/healthz`, `/readyz` and the admin API.

It reads the venue's shared memory and holds nothing that anybody else needs, so it can die and come
back at any time. Admin commands go to the supervisor over a Unix socket, one JSON object a line
each way.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from numpy.typing import NDArray
from prometheus_client.exposition import choose_encoder

from openoutcry.server.memory import VenueMemory, VenueWord
from openoutcry.server.metrics import venue_registry
from openoutcry.server.processes import describe

log = logging.getLogger(__name__)

#: How long an admin command may take, and one that writes snapshots.
CONTROL_TIMEOUT_S = 10.0
SNAPSHOT_TIMEOUT_S = 130.0
#: How often to look whether the supervisor still lives.
_PARENT_CHECK_S = 0.5
_MAX_BODY_BYTES = 65536

_FOLDER = web.AppKey("folder", Path)
_CONTROL = web.AppKey("control", Path)


#: Longest symbol name that is passed on.
_MAX_NAME = 64


class ControlError(Exception):
    """The supervisor could not be asked."""


async def ask_supervisor(
    control: Path, command: dict[str, Any], timeout_s: float
) -> dict[str, Any]:
    """Send one command over the supervisor's control socket and return its answer.

    Raises ControlError where there is none.
    """
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(control))
            try:
                writer.write(json.dumps(command).encode() + b"\n")
                await writer.drain()
                line = await reader.readline()
            finally:
                writer.close()
        answer = json.loads(line)
    except TimeoutError:
        raise ControlError(f"the supervisor did not answer in {timeout_s:g} s") from None
    except (OSError, ValueError) as error:
        raise ControlError(f"the supervisor could not be asked: {error}") from None
    if not isinstance(answer, dict):
        raise ControlError("the supervisor's answer is no JSON object")
    return answer


async def _metrics(request: web.Request) -> web.Response:
    registry = venue_registry(request.app[_FOLDER])
    try:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    except (TypeError, ValueError):
        # A version that is no number: the plain text format serves everybody.
        encode, content_type = choose_encoder("")
    return web.Response(body=encode(registry), headers={"Content-Type": content_type})


async def _healthz(request: web.Request) -> web.Response:
    return web.json_response({"ok": True})


async def _readyz(request: web.Request) -> web.Response:
    try:
        told = describe(VenueMemory.open(request.app[_FOLDER]))
    except (OSError, ValueError):
        told = {"ready": False, "down": [], "processes": {}}
    return web.json_response(told, status=200 if told["ready"] else 503)


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"ok": False, "error": text}, status=status)


async def _body(request: web.Request, key: str, usage: str) -> Any:
    """Return what a JSON body says under its only key, None where it is left out.

    Raises web.HTTPException with the answer where the body is not right.
    """
    # A page in a browser on this machine cannot send JSON here without being asked first.
    if request.content_type != "application/json":
        raise _refusal(web.HTTPUnsupportedMediaType, "send JSON, as Content-Type: application/json")
    try:
        body = await request.json()
    except (ValueError, LookupError, RecursionError):
        # No JSON, in no known character set, or nested without end.
        raise _refusal(web.HTTPBadRequest, "the body is not JSON") from None
    if not isinstance(body, dict) or set(body) - {key}:
        raise _refusal(web.HTTPBadRequest, f"the body is {usage}")
    return body.get(key)


def _refusal(kind: type[web.HTTPError], text: str) -> web.HTTPError:
    answer = json.dumps({"ok": False, "error": text})
    return kind(text=answer, content_type="application/json")


async def _pass_on(request: web.Request, command: dict[str, Any], timeout_s: float) -> web.Response:
    try:
        answer = await ask_supervisor(request.app[_CONTROL], command, timeout_s)
    except ControlError as error:
        return _error(503, str(error))
    return web.json_response(answer, status=200 if answer.get("ok") else 400)


async def _day_end(request: web.Request) -> web.Response:
    symbol = await _body(request, "symbol", '{"symbol": NAME} or {}, for all symbols')
    if symbol is not None and not (isinstance(symbol, str) and len(symbol) <= _MAX_NAME):
        return _error(400, f"symbol is null or a string of at most {_MAX_NAME} characters")
    return await _pass_on(request, {"command": "day-end", "symbol": symbol}, CONTROL_TIMEOUT_S)


async def _snapshot(request: web.Request) -> web.Response:
    shard = await _body(request, "shard", '{"shard": NUMBER} or {}, for all shards')
    if shard is not None and (not isinstance(shard, int) or isinstance(shard, bool)):
        return _error(400, "shard is null or a number")
    return await _pass_on(request, {"command": "snapshot", "shard": shard}, SNAPSHOT_TIMEOUT_S)


def make_app(folder: Path, control: Path) -> web.Application:
    """Return the HTTP application of the venue in a shared-memory folder."""
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app[_FOLDER] = folder
    app[_CONTROL] = control
    app.add_routes(
        [
            web.get("/metrics", _metrics),
            web.get("/healthz", _healthz),
            web.get("/readyz", _readyz),
            web.post("/admin/day-end", _day_end),
            web.post("/admin/snapshot", _snapshot),
        ]
    )
    return app


async def _serve(
    app: web.Application,
    listener: socket.socket,
    parent_pid: int | None,
    heartbeat: NDArray[np.int64],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        while not stop.is_set():
            heartbeat[0] += 1
            if parent_pid is not None and os.getppid() != parent_pid:
                log.warning("event=supervisor_died pid=%d", parent_pid)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _PARENT_CHECK_S)
    finally:
        await runner.cleanup()


def run_exporter(
    folder: Path,
    control: Path,
    listener: socket.socket,
    *,
    parent_pid: int | None = None,
) -> None:
    """Serve HTTP until SIGTERM, SIGINT, or the death of the parent.

    Args:
        folder: the venue's shared-memory folder.
        control: the supervisor's Unix socket.
        listener: a listening TCP socket; the supervisor keeps it, so a successor has the same port.
        parent_pid: the supervisor; None to run without one.
    """
    listener.setblocking(False)
    heartbeat = np.zeros(1, np.int64)
    with contextlib.suppress(OSError, ValueError):
        heartbeat = VenueMemory.open(folder).venue[VenueWord.EXPORTER_HEARTBEAT :]
    asyncio.run(_serve(make_app(folder, control), listener, parent_pid, heartbeat))
