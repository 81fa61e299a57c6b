"""py-libp2p, told on standard input what to do: one JSON object a line. The protocols and cases are those of
`../rust/src/streams.rs`."""

import json
import logging
import os
import sys
import time
import weakref

from libp2p import new_host
from libp2p.abc import INotifee
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.transport.webrtc import stream as webrtc
from libp2p.transport.webrtc.exceptions import WebRTCStreamError
from libp2p.transport.webrtc.pb.webrtc_pb2 import Message
from multiaddr import Multiaddr
import trio

ECHO, PERF, PUSH = (TProtocol(f"/interop/{name}/1") for name in ("echo", "perf", "push"))
PUSHED = 64 << 10
CHUNK = 16 << 10
MESSAGES = [5, 1000, 10_000]
PATTERN = bytes(range(251)) * (4 * 1024 * 1024 // 251 + 2)
PATIENCE = 30


def say(**line):
    print(json.dumps(line), flush=True)


def now():
    return time.time() * 1000


def data(length):
    return PATTERN[:length]


def reason(error):
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


async def write(stream, content):
    for place in range(0, len(content), CHUNK):
        await stream.write(content[place : place + CHUNK])


async def read(stream, length):
    """Returns nothing at the end: once the other end has closed its write side, and all is read."""
    try:
        return await stream.read(length)
    except StreamEOF:
        return b""
    except WebRTCStreamError:
        if stream in ENDED and stream._state is not webrtc.StreamState.RESET:
            return b""
        raise


# The WebRTC streams that the other end has ended. The library has the same error for an end, for a reset, and for a
# connection that is lost.
ENDED = weakref.WeakSet()


def apply(stream, messages, *args, library=webrtc.WebRTCStream._apply_batch_on_trio_thread, **kwargs):
    if any(flag == Message.FIN for _, flag in messages):
        ENDED.add(stream)
    library(stream, messages, *args, **kwargs)


webrtc.WebRTCStream._apply_batch_on_trio_thread = apply


class Warnings(logging.Handler):
    """Tells when a WebRTC stream drops a message or finds it malformed: the library logs this only."""

    def emit(self, record):
        say(event="fault", error=record.getMessage())


webrtc.logger.addHandler(Warnings(logging.WARNING))


async def read_exactly(stream, length):
    content = b""
    while len(content) < length:
        more = await read(stream, length - len(content))
        if not more:
            raise EOFError(f"{len(content)} of {length} bytes came")
        content += more
    return content


async def read_to_end(stream):
    place = 0
    while content := await read(stream, CHUNK):
        start = place % 251
        if content != PATTERN[start : start + len(content)]:
            raise ValueError(f"wrong data within {len(content)} bytes after {place}")
        place += len(content)
    return place


def usable(stream):
    """Over WebRTC the library's stream refuses to write once it has read the end: the stream below it does not."""
    return stream.muxed_stream if hasattr(stream.muxed_stream, "_close_write") else stream


async def close_write(stream):
    """A WebRTC stream has no public method for this: `close` ends both directions."""
    await (stream._close_write() if hasattr(stream, "_close_write") else stream.close_write())


def complete(length, wanted):
    if length != wanted:
        raise EOFError(f"{length} of {wanted} bytes came")


async def answer_echo(stream):
    """Returns how many bytes of data came, as each answer does."""
    length = 0
    while content := await read(stream, CHUNK):
        await write(stream, content)
        length += len(content)
    await close_write(stream)
    return length


async def answer_perf(stream):
    wanted = int.from_bytes(await read_exactly(stream, 8), "big")
    length = await read_to_end(stream)
    await write(stream, data(wanted))
    await close_write(stream)
    return length


async def answer_push(stream):
    await write(stream, data(PUSHED))
    await close_write(stream)
    return await read_to_end(stream)


def handler(answer):
    async def handle(stream):
        try:
            with trio.fail_after(PATIENCE):
                say(event="answered", bytes=await answer(usable(stream)))
        except Exception as error:
            say(event="fault", error=reason(error))
            await stream.reset()

    return handle


async def messages(stream):
    for length in MESSAGES:
        await write(stream, data(length))
        if await read_exactly(stream, length) != data(length):
            raise ValueError(f"a message of {length} bytes came back changed")
    await close_write(stream)
    complete(await read_to_end(stream), 0)


async def echo(stream, length):
    async def send():
        await write(stream, data(length))
        await close_write(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        complete(await read_to_end(stream), length)


async def perf(stream, up, down):
    await stream.write(down.to_bytes(8, "big"))
    await write(stream, data(up))
    await close_write(stream)
    complete(await read_to_end(stream), down)


async def pushed(stream):
    complete(await read_to_end(stream), PUSHED)
    await write(stream, data(PUSHED))
    await close_write(stream)


CASES = {
    "messages": (ECHO, lambda stream, _: messages(stream)),
    "echo": (ECHO, echo),
    "upload": (PERF, lambda stream, length: perf(stream, length, 1)),
    "download": (PERF, lambda stream, length: perf(stream, 0, length)),
    "half-close": (PERF, lambda stream, _: perf(stream, 5000, PUSHED)),
    "half-close-by-listener": (PUSH, lambda stream, _: pushed(stream)),
}


class Watch(INotifee):
    async def connected(self, network, conn):
        say(event="connected", peer=str(conn.muxed_conn.peer_id), at=now())

    async def disconnected(self, network, conn):
        say(event="disconnected", peer=str(conn.muxed_conn.peer_id), at=now())

    async def opened_stream(self, network, stream):
        pass

    async def closed_stream(self, network, stream):
        pass

    async def listen(self, network, multiaddr):
        pass

    async def listen_close(self, network, multiaddr):
        pass


async def obey(host, command):
    if command["do"] == "connect":
        info = info_from_p2p_addr(Multiaddr(command["address"]))
        await host.connect(info)
        return {"peer": str(info.peer_id)}
    peer = ID.from_string(command["peer"])
    if command["do"] == "disconnect":
        await host.disconnect(peer)
        return {}
    protocol, case = CASES[command["case"]]
    # `new_stream` would dial by itself.
    if not host.get_network().get_connections(peer):
        raise ConnectionError("not connected")
    start = time.monotonic()
    stream = await host.new_stream(peer, [protocol])
    await case(usable(stream), command.get("bytes", 0))
    return {"ms": (time.monotonic() - start) * 1000}


async def answer(host, command):
    try:
        with trio.fail_after(PATIENCE):
            say(id=command["id"], **await obey(host, command))
    except Exception as error:
        say(id=command["id"], error=reason(error))


async def lines():
    buffer = b""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
        async for content in stream:
            *whole, buffer = (buffer + content).split(b"\n")
            for line in whole:
                yield json.loads(line)


async def main(listen):
    listen = [Multiaddr(address) for address in listen]
    host = new_host(key_pair=create_new_key_pair(), listen_addrs=listen)
    for protocol, handle in ((ECHO, answer_echo), (PERF, answer_perf), (PUSH, answer_push)):
        host.set_stream_handler(protocol, handler(handle))
    host.get_network().register_notifee(Watch())
    async with host.run(listen_addrs=listen), trio.open_nursery() as nursery:
        peer = str(host.get_id())
        addresses = [str(address) for address in host.get_addrs()]
        say(event="listening", peer=peer, addresses=addresses)
        async for command in lines():
            nursery.start_soon(answer, host, command)
        os._exit(0)


trio.run(main, sys.argv[1:])
