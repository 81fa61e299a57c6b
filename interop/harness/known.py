"""The cases that are known to fail, always or at times, and why. They may fail by this cause only."""

from typing import NamedTuple


class Known(NamedTuple):
    cause: str
    # A failure has this cause if its reason contains the mark.
    mark: str


PY_READS = Known(
    "py-libp2p keeps 64 messages for a stream's reader and drops further ones: bulk data loses bytes when py is slow",
    "read buffer full, dropping message",
)
PY_CLOSES = Known(
    "py-libp2p drops its handler for the connection's state once it is connected, so it notices no remote close",
    "py: no event disconnected",
)
JS_YAMUX = Known(
    "js-libp2p's yamux sends frames as long as our window; libp2p-yamux ends connections at frames above 1 MiB",
    "frame body is too large",
)

# (peer, transport, case), on both sides.
KNOWN = {
    ("py", "webrtc-direct", "4mib-up by=us"): PY_READS,
    ("py", "webrtc-direct", "4mib-down by=peer"): PY_READS,
    ("py", "webrtc-direct", "close by=us"): PY_CLOSES,
    **{
        (peer, transport, case): JS_YAMUX
        for peer in ("js", "chromium")
        for transport in ("tcp", "ws")
        for case in ("4mib-up by=peer", "4mib-down by=us")
    },
}
