"""The cases that are known to fail, always or at times, and why. They count as failures; only the short form leaves them out, and says so."""

PY_READS = "py-libp2p keeps 64 messages for a stream's reader and drops further ones: bulk data loses bytes when py is slow"
PY_CLOSES = "py-libp2p drops its handler for the connection's state once it is connected, so it notices no remote close"
JS_YAMUX = "js-libp2p's yamux sends frames as long as our window; libp2p-yamux ends connections at frames above 1 MiB"

# (peer, side, transport, case): why. A side of None is both.
KNOWN = {
    ("py", None, "webrtc-direct", "4mib-up by=us"): PY_READS,
    ("py", None, "webrtc-direct", "4mib-down by=peer"): PY_READS,
    ("py", None, "webrtc-direct", "close by=us"): PY_CLOSES,
    **{
        (peer, None, transport, case): JS_YAMUX
        for peer in ("js", "chromium")
        for transport in ("tcp", "ws")
        for case in ("4mib-up by=peer", "4mib-down by=us")
    },
}


def cause(peer, side, transport, case):
    """Returns why a case is known to fail, if it is."""
    return KNOWN.get((peer, side, transport, case)) or KNOWN.get((peer, None, transport, case))
