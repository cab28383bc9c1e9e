"""websockets, the Python library, as a peer.

`serve` listens, `connect` makes a connection for each line of standard input.
"""

import asyncio
import http
import json
import sys
import urllib.parse

import websockets
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Close

DEFLATE = {
    "none": None,
    "takeover": {},
    "fresh": {"server_no_context_takeover": True, "client_no_context_takeover": True},
    "window9": {"server_max_window_bits": 9, "client_max_window_bits": 9},
}
CHALLENGE = 'Bearer realm="interop"'
# Unlimited queues: the library stops reading when one is full, and then never sees a Close.
LIMITS = {"max_size": None, "max_queue": None, "compression": None, "ping_interval": None}


def show(value):
    print(json.dumps(value), flush=True)


def extensions(mode, factory):
    options = DEFLATE[mode]
    return None if options is None else [factory(**options)]


async def repeat(socket, count, step):
    done = 0
    while count == 0 or done < count:
        await step(await socket.recv())
        done += 1


async def in_three(socket, message):
    third = -(-len(message) // 3)
    await socket.send([message[at : at + third] for at in range(0, len(message), third)])


async def ping(socket, data, report):
    await (await socket.ping(data))
    # The library matches a pong to its ping by its data.
    report["pong"] = data


async def count(socket, report):
    report["received"] = 0
    async for _ in socket:
        report["received"] += 1


async def close(socket, code=None, reason=""):
    if code is not None:
        await socket.close(int(code), reason)
    else:
        await socket.write_close_frame(Close(1005, ""), b"")
        await socket.wait_closed()


async def perform(socket, steps, report):
    for step in steps.split(","):
        verb, *args = step.split(":")
        if verb == "echo":
            await repeat(socket, int(args[0]), socket.send)
        elif verb == "fragments":
            await repeat(socket, int(args[0]), lambda message: in_three(socket, message))
        elif verb == "flood":
            for sent in range(int(args[0])):
                await socket.send(bytes([sent % 256]) * int(args[1]))
        elif verb == "ping":
            await ping(socket, args[0], report)
        elif verb == "count":
            await count(socket, report)
        elif verb == "close":
            await close(socket, *args)


async def attend(socket, identity, steps):
    report = {"id": identity, "subprotocol": socket.subprotocol or ""}
    try:
        await perform(socket, steps, report)
        await socket.wait_closed()
    except websockets.ConnectionClosed:
        pass
    report.update(code=socket.close_code, reason=socket.close_reason)
    show(report)


async def connect(line):
    identity, url, steps, subprotocols, mode = line.split(" ")
    offered = None if subprotocols == "-" else subprotocols.split(",")
    agreed = extensions(mode, ClientPerMessageDeflateFactory)
    try:
        async with websockets.connect(url, subprotocols=offered, extensions=agreed, **LIMITS) as socket:
            await attend(socket, identity, steps)
    except websockets.InvalidStatusCode as error:
        challenge = error.headers.get("WWW-Authenticate")
        show({"id": identity, "status": error.status_code, "challenge": challenge})
    except Exception as error:
        show({"id": identity, "error": repr(error)})


async def process_request(path, _headers):
    if path.startswith("/refuse"):
        return http.HTTPStatus.UNAUTHORIZED, [("WWW-Authenticate", CHALLENGE)], b""
    return None


async def handle(socket):
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(socket.path).query)
    await attend(socket, query["id"][0], query["do"][0])


async def listen(mode):
    server = await websockets.serve(
        handle,
        "127.0.0.1",
        0,
        subprotocols=["chat.v2"],
        extensions=extensions(mode, ServerPerMessageDeflateFactory),
        process_request=process_request,
        **LIMITS,
    )
    return server, server.sockets[0].getsockname()[1]


async def lines():
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().rstrip("\n")


async def main():
    servers = {}
    tasks = set()
    if sys.argv[1] == "serve":
        servers = {mode: await listen(mode) for mode in DEFLATE}
        show({"listening": {mode: port for mode, (_, port) in servers.items()}})
    async for line in lines():
        tasks.add(asyncio.create_task(connect(line)))


asyncio.run(main())
