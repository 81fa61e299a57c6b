"""The cases that are known to fail, and why. They count as failures; only the short form leaves them out, and says so."""

PY_READS = "py-libp2p keeps 64 messages for a stream's reader and drops further ones, so bulk data loses bytes"

# (peer, side, transport, case): why. A side of None is both.
KNOWN = {
    ("py", None, "webrtc-direct", "4mib-up by=us"): PY_READS,
    ("py", None, "webrtc-direct", "4mib-down by=peer"): PY_READS,
}


def cause(peer, side, transport, case):
    """Returns why a case is known to fail, if it is."""
    return KNOWN.get((peer, side, transport, case)) or KNOWN.get((peer, None, transport, case))
