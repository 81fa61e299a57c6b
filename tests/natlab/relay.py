#!/usr/bin/env python3
# Delay line, run in core: reads packets from a tun device, holds them, writes them back.
# Its argument is a file of lines "ADDRESS4 PREFIX6 MS JITTER", read again when it changes.
import fcntl, heapq, itertools, os, random, select, socket, struct, sys, time

tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"relay", 0x1001))  # TUNSETIFF, TUN | NO_PI
table, stamp, checked, queue, order = {}, None, 0.0, [], itertools.count()
while True:
    now = time.monotonic()
    if now - checked > 0.1:
        checked, found = now, os.stat(sys.argv[1]).st_mtime_ns
        if found != stamp:
            stamp, table = found, {}
            for v4, v6, *ms in map(str.split, open(sys.argv[1])):
                pair = tuple(float(x) / 1000 for x in ms)
                table[socket.inet_aton(v4)] = table[socket.inet_pton(socket.AF_INET6, v6)[:8]] = pair
    while queue and queue[0][0] <= now:
        try:
            os.write(tun, heapq.heappop(queue)[2])
        except OSError:
            pass
    wait = min(queue[0][0] - now, 0.1) if queue else 0.1
    if not select.select([tun], [], [], max(0.0, wait))[0]:
        continue
    for _ in range(64):
        try:
            packet = os.read(tun, 70000)
        except BlockingIOError:
            break
        ends = (packet[12:16], packet[16:20]) if packet[0] >> 4 == 4 else (packet[8:16], packet[24:32])
        hold = sum(max(0.0, d + random.uniform(-j, j)) for d, j in (table.get(e, (0.0, 0.0)) for e in ends))
        heapq.heappush(queue, (time.monotonic() + hold, next(order), packet))
