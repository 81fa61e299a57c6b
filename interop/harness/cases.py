"""The cases: what is done with two nodes, one of ours and a foreign one, over one transport, dialed by either side."""

import statistics
import time

from .node import Fault

KIB, MIB = 1 << 10, 1 << 20
# A close has returned, and the other end has noticed it, within this many seconds. So it is with a page's reload.
CLOSE = 1
# js-libp2p in a page looks at ICE only, which fails with Chromium's next check. These come 2.5 s apart at most, to half
# a second. The browser itself has noticed within `CLOSE`.
NEXT_CHECK = 3
# No dial takes so many seconds, also on a busy machine.
SOON = 8
# No small stream takes so many seconds at both ends. It is below the 5 s after which js-libp2p and py-libp2p close a
# stream without its FIN_ACK.
SMALL = 3
# No stream with megabytes takes so many seconds.
LATER = 25
# What an end tells so many seconds after a failure may be its cause.
AFTERWARDS = 0.5
# A connection is held for so many seconds.
HOLD = 30

# name: (what the opener runs, its bytes, the bytes of data that come at the other end, seconds)
STREAMS = {
    "messages": ("messages", 0, 5 + 1000 + 10_000, SMALL),
    "256kib": ("echo", 256 * KIB, 256 * KIB, SMALL),
    "4mib-up": ("upload", 4 * MIB, 4 * MIB, LATER),
    "4mib-down": ("download", 4 * MIB, 0, LATER),
    "half-close": ("half-close", 0, 5000, SMALL),
    "half-close-by-listener": ("half-close-by-listener", 0, 64 * KIB, SMALL),
}


class Pair:
    """A node of ours and a foreign one, connected as a case needs it."""

    def __init__(self, start, side, transport):
        self.start, self.side, self.transport = start, side, transport
        self.ours = self.theirs = None
        self.is_connected = False

    def up(self):
        if self.ours is None:
            self.ours, self.theirs = self.start()

    @property
    def dialer(self):
        return self.theirs if self.side == "dialer" else self.ours

    @property
    def listener(self):
        return self.ours if self.side == "dialer" else self.theirs

    def connect(self):
        """Connects if that is to be done. Returns after how many milliseconds."""
        self.up()
        if self.is_connected:
            return 0
        for node in (self.ours, self.theirs):
            node.take("connected"), node.take("disconnected")
        start = time.monotonic()
        self.dialer.ask("connect", SOON, address=self.listener.address(self.transport))
        took = (time.monotonic() - start) * 1000
        self.listener.event("connected", SOON, peer=self.dialer.peer)
        self.is_connected = True
        return took

    def disconnect(self, closer, bound=SOON):
        """Closes. Returns after how many milliseconds, at most `bound` seconds, that was done and noticed."""
        other = self.theirs if closer is self.ours else self.ours
        self.is_connected = False
        other.take("closed")
        start = time.time()
        closer.ask("disconnect", SOON + LATER, peer=other.peer)
        took = (time.time() - start) * 1000
        if took > bound * 1000:
            raise Fault(f"{closer.name}: closed after {took:.0f} ms")
        closer.event("disconnected", SOON, peer=other.peer)
        if (other.name, self.transport) == ("chromium", "webrtc-direct"):
            noticed = other.event("closed", SOON)
            other.event("disconnected", NEXT_CHECK, peer=closer.peer)
        else:
            noticed = other.event("disconnected", SOON, peer=closer.peer)
        noticed = noticed["at"] - start * 1000
        if noticed > bound * 1000:
            raise Fault(f"{other.name}: noticed the close after {noticed:.0f} ms")
        return max(took, noticed)

    def run(self, opener, case):
        """Runs a stream. Returns how many milliseconds it took the opener. Both ends must have done it without fault."""
        self.connect()
        other = self.theirs if opener is self.ours else self.ours
        does, size, wanted, patience = STREAMS[case]
        end = time.monotonic() + patience
        reasons = []
        try:
            took = opener.ask("run", patience, peer=other.peer, case=does, bytes=size)["ms"]
            came = other.event("answered", end - time.monotonic())["bytes"]
            if came != wanted:
                raise Fault(f"{other.name}: {came} of {wanted} bytes came")
        except Fault as fault:
            reasons.append(str(fault))
            time.sleep(AFTERWARDS)
        reasons += self.complaints()
        if reasons:
            raise Fault("; ".join(dict.fromkeys(reasons)))
        return took

    def complaints(self):
        """Takes the faults of streams, and the ends of a connection that nobody has closed."""
        for node in (self.ours, self.theirs):
            for fault in node.take("fault"):
                yield f"{node.name}: {fault['error']}"
            for ended in node.take("disconnected"):
                yield f"{node.name}: the connection ended by itself ({ended.get('cause')})"

    def down(self):
        """Ends both, after a failure or when all is done."""
        for node in (self.ours, self.theirs):
            if node is not None:
                node.stop()
        self.ours = self.theirs = None
        self.is_connected = False


def stream(opener, case):
    def once(pair):
        pair.connect()
        return pair.run(pair.theirs if opener == "peer" else pair.ours, case)

    return once


def connects(pair):
    took = pair.connect()
    pair.run(pair.dialer, "messages")
    # Not all peers notice our close: that is a case of its own.
    pair.disconnect(pair.theirs)
    return took


def close(closer):
    def once(pair):
        pair.connect()
        pair.run(pair.dialer, "messages")
        return pair.disconnect(pair.theirs if closer == "peer" else pair.ours, CLOSE)

    return once


def hold(pair):
    pair.connect()
    pair.run(pair.dialer, "messages")
    time.sleep(HOLD)
    return pair.run(pair.dialer, "messages")


def reload(pair):
    pair.connect()
    pair.run(pair.dialer, "messages")
    command = pair.theirs.tell("reload")
    page = pair.theirs.peer
    noticed = pair.ours.event("disconnected", SOON + LATER, peer=page)
    at = pair.theirs.answer(command, "reload", LATER)["at"]
    pair.theirs.peer = pair.theirs.event("listening", SOON)["peer"]
    pair.is_connected = False
    took = noticed["at"] - at
    if took > CLOSE * 1000:
        raise Fault(f"noticed after {took:.0f} ms")
    return took


def cases(plan):
    """Yields (name, repetitions, what is done once) for the case names and repetitions of a plan."""
    for name, times in plan.items():
        if name == "connects":
            yield name, times, connects
        elif name == "hold":
            yield name, times, hold
        elif name == "reload":
            yield name, times, reload
        elif name == "close":
            for closer in ("peer", "us"):
                yield f"{name} by={closer}", times, close(closer)
        else:
            for opener in ("peer", "us"):
                yield f"{name} by={opener}", times, stream(opener, name)


def measure(pair, once, times, give_up):
    """Does it so many times, or until `give_up` failures. Returns what each success took, and each failure's reason."""
    took, reasons = [], []
    for _ in range(times):
        try:
            took.append(once(pair))
        except Fault as fault:
            reasons.append(str(fault))
            pair.down()
            if len(reasons) == give_up:
                break
    return took, reasons


def row(kind, what, took, reasons, told):
    """One line of the table, with the commonest of the reasons that are to be told."""
    line = f"{kind} interop {what} ok={len(took)}/{len(took) + len(reasons)}"
    if took:
        line += f" median_ms={statistics.median(took):.1f} max_ms={max(took):.1f}"
    if told:
        common = max(told, key=told.count)
        line += f' why="{" ".join(common.split())[:240]}"'
    return line

