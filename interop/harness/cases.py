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
# No dial and no small stream takes so many seconds, also on a busy machine.
SOON = 8
# No stream with megabytes takes so many seconds.
LATER = 25
# A connection is held for so many seconds.
HOLD = 30

# name: (what the opener runs, bytes, seconds)
STREAMS = {
    "messages": ("messages", 0, SOON),
    "256kib": ("echo", 256 * KIB, SOON),
    "4mib-up": ("upload", 4 * MIB, LATER),
    "4mib-down": ("download", 4 * MIB, LATER),
    "half-close": ("half-close", 0, SOON),
    "half-close-by-listener": ("half-close-by-listener", 0, SOON),
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

    def disconnect(self, closer):
        """Closes. Returns how many milliseconds the close took, and until the other end had noticed it."""
        other = self.theirs if closer is self.ours else self.ours
        self.is_connected = False
        # js-libp2p tells the end of a connection twice, at times after the next has begun.
        other.take("disconnected"), other.take("closed")
        start = time.time()
        closer.ask("disconnect", SOON + LATER, peer=other.peer)
        took = (time.time() - start) * 1000
        if (other.name, self.transport) == ("chromium", "webrtc-direct"):
            noticed = other.event("closed", SOON)
            other.event("disconnected", NEXT_CHECK, peer=closer.peer)
        else:
            noticed = other.event("disconnected", SOON, peer=closer.peer)
        return took, noticed["at"] - start * 1000

    def run(self, opener, case, size, patience):
        self.connect()
        other = self.theirs if opener is self.ours else self.ours
        other.take("pushed"), other.take("fault")
        try:
            took = opener.ask("run", patience, peer=other.peer, case=case, bytes=size)["ms"]
            if case == "half-close-by-listener":
                pushed = other.event("pushed", patience)["bytes"]
                if pushed != 64 * KIB:
                    raise Fault(f"{other.name}: {pushed} of {64 * KIB} bytes came")
            return took
        except Fault as fault:
            faults = [f"{other.name}: {it['error']}" for it in other.take("fault")]
            raise Fault("; ".join([str(fault), *faults])) from None

    def down(self):
        """Ends both, after a failure or when all is done."""
        for node in (self.ours, self.theirs):
            if node is not None:
                node.stop()
        self.ours = self.theirs = None
        self.is_connected = False


def stream(opener, case, size, patience):
    def once(pair):
        pair.connect()
        return pair.run(pair.theirs if opener == "peer" else pair.ours, case, size, patience)

    return once


def connects(pair):
    took = pair.connect()
    pair.run(pair.dialer, "messages", 0, SOON)
    # Not all peers notice our close: that is a case of its own.
    pair.disconnect(pair.theirs)
    return took


def close(closer):
    def once(pair):
        pair.connect()
        pair.run(pair.dialer, "messages", 0, SOON)
        took, noticed = pair.disconnect(pair.theirs if closer == "peer" else pair.ours)
        if max(took, noticed) > CLOSE * 1000:
            raise Fault(f"closed after {took:.0f} ms, noticed after {noticed:.0f} ms")
        return max(took, noticed)

    return once


def hold(pair):
    pair.connect()
    pair.run(pair.dialer, "messages", 0, SOON)
    time.sleep(HOLD)
    for node in (pair.ours, pair.theirs):
        if ended := node.take("disconnected"):
            raise Fault(f"{node.name}: the connection ended by itself ({ended[0].get('cause')})")
    return pair.run(pair.dialer, "messages", 0, SOON)


def reload(pair):
    pair.connect()
    pair.run(pair.dialer, "messages", 0, SOON)
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
            case, size, patience = STREAMS[name]
            for opener in ("peer", "us"):
                yield f"{name} by={opener}", times, stream(opener, case, size, patience)


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


def row(what, took, reasons):
    """One line of the table."""
    line = f"RESULT interop {what} ok={len(took)}/{len(took) + len(reasons)}"
    if took:
        line += f" median_ms={statistics.median(took):.1f} max_ms={max(took):.1f}"
    if reasons:
        common = max(set(reasons), key=reasons.count)
        line += f' why="{" ".join(common.split())[:240]}"'
    return line

