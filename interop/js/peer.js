// A node of js-libp2p, in Node or in a page, that does what it is told. The protocols and cases are those of
// `../rust/src/streams.rs`.
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const [ECHO, PERF, PUSH] = ['/interop/echo/1', '/interop/perf/1', '/interop/push/1']
const PUSHED = 64 << 10
const CHUNK = 16 << 10
const MESSAGES = [5, 1000, 10_000]
const PATTERN = new Uint8Array(4 << 20).map((_, i) => i % 251)
const data = length => PATTERN.subarray(0, length)

// Makes a node. `say` takes each event.
export async function createPeer (transports, listen, say) {
  const node = await createLibp2p({
    addresses: { listen },
    transports,
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    // By default a sixth connection within a second is refused.
    connectionManager: { inboundConnectionThreshold: Infinity },
    // A page refuses private addresses by default.
    connectionGater: { denyDialMultiaddr: () => false }
  })
  node.addEventListener('peer:connect', ({ detail: peer }) => {
    say({ event: 'connected', peer: peer.toString(), at: Date.now() })
  })
  // The library tells the end of a connection twice, at times after the next has begun.
  const ended = new WeakSet()
  node.addEventListener('connection:close', ({ detail: connection }) => {
    if (ended.has(connection)) return
    ended.add(connection)
    say({ event: 'disconnected', peer: connection.remotePeer.toString(), at: Date.now() })
  })
  for (const [protocol, answer] of [[ECHO, answerEcho], [PERF, answerPerf], [PUSH, answerPush]]) {
    await node.handle(protocol, async stream => {
      try {
        say({ event: 'answered', bytes: await answer(stream) })
      } catch (error) {
        say({ event: 'fault', error: reason(error) })
        stream.abort(error)
      }
    })
  }
  const peer = node.peerId.toString()
  const connection = remote => {
    const found = node.getConnections().find(it => it.remotePeer.toString() === remote && it.status === 'open')
    if (found == null) throw new Error('not connected')
    return found
  }
  const commands = {
    async connect ({ address }) {
      const dialed = await node.dial(multiaddr(address))
      return { peer: dialed.remotePeer.toString() }
    },
    async disconnect ({ peer }) {
      await connection(peer).close()
      return {}
    },
    async run (command) {
      const start = performance.now()
      await cases[command.case](protocol => connection(command.peer).newStream(protocol), command.bytes)
      return { ms: performance.now() - start }
    }
  }
  say({ event: 'listening', peer, addresses: node.getMultiaddrs().map(it => it.toString()) })
  return async command => {
    try {
      return { id: command.id, ...await commands[command.do](command) }
    } catch (error) {
      return { id: command.id, error: reason(error) }
    }
  }
}

// Some errors are several, some are events.
function reason (error) {
  const inner = error.errors?.[0] ?? error.cause ?? error.error ?? error
  return inner.stack?.split('\n').slice(0, 2).map(it => it.trim()).join(' ') ?? inner.message ?? `event ${inner.type}`
}

async function write (stream, bytes) {
  for (let place = 0; place < bytes.length; place += CHUNK) {
    if (!stream.send(bytes.subarray(place, place + CHUNK))) await stream.onDrain()
  }
}

// Reads a stream from now on. The library's own iterator loses what comes before it is asked for the first time.
class Reader {
  #chunks = []
  #wake = () => {}
  #isEnded = false
  #end

  constructor (stream) {
    this.#end = this.#run(stream).finally(() => {
      this.#isEnded = true
      this.#wake()
    })
    this.#end.catch(() => {})
  }

  async #run (stream) {
    for await (const read of stream) {
      this.#chunks.push(read.subarray())
      this.#wake()
    }
  }

  // Waits for the next bytes, of which it returns at most so many. Returns undefined at the end.
  async next (most = Infinity) {
    while (this.#chunks.length === 0 && !this.#isEnded) await new Promise(resolve => { this.#wake = resolve })
    if (this.#chunks.length === 0) return await this.#end
    const [chunk] = this.#chunks
    if (chunk.length <= most) return this.#chunks.shift()
    this.#chunks[0] = chunk.subarray(most)
    return chunk.subarray(0, most)
  }

  // Reads data that must be the pattern, of this length or to the end. Returns its length.
  async check (length = Infinity) {
    let place = 0
    while (place < length) {
      const bytes = await this.next(length - place)
      if (bytes == null) break
      for (const byte of bytes) {
        if (byte !== place++ % 251) throw new Error(`wrong data at ${place - 1}`)
      }
    }
    return place
  }
}

function complete (length, wanted) {
  if (length !== wanted) throw new Error(`${length} of ${wanted} bytes came`)
}

// Each answer returns how many bytes of data came.
async function answerEcho (stream) {
  const reader = new Reader(stream)
  let length = 0
  for (let bytes; (bytes = await reader.next()) != null; length += bytes.length) await write(stream, bytes)
  await stream.close()
  return length
}

async function answerPerf (stream) {
  const reader = new Reader(stream)
  let length = 0
  for (let i = 0; i < 8; i++) {
    const [byte] = await reader.next(1) ?? []
    length = length * 256 + byte
  }
  const came = await reader.check()
  await write(stream, data(length))
  await stream.close()
  return came
}

async function answerPush (stream) {
  const reader = new Reader(stream)
  await write(stream, data(PUSHED))
  await stream.close()
  return await reader.check()
}

async function perf (stream, up, down) {
  const reader = new Reader(stream)
  const header = new Uint8Array(8)
  new DataView(header.buffer).setBigUint64(0, BigInt(down))
  await write(stream, header)
  await write(stream, data(up))
  await stream.close()
  complete(await reader.check(), down)
}

const cases = {
  async messages (open) {
    const stream = await open(ECHO)
    const reader = new Reader(stream)
    for (const length of MESSAGES) {
      await write(stream, data(length))
      complete(await reader.check(length), length)
    }
    await stream.close()
    complete(await reader.check(), 0)
  },
  async echo (open, length) {
    const stream = await open(ECHO)
    const reader = new Reader(stream)
    const [, back] = await Promise.all([write(stream, data(length)).then(() => stream.close()), reader.check()])
    complete(back, length)
  },
  upload: async (open, length) => perf(await open(PERF), length, 1),
  download: async (open, length) => perf(await open(PERF), 0, length),
  'half-close': async open => perf(await open(PERF), 5000, PUSHED),
  async 'half-close-by-listener' (open) {
    const stream = await open(PUSH)
    const reader = new Reader(stream)
    complete(await reader.check(), PUSHED)
    await write(stream, data(PUSHED))
    await stream.close()
  }
}
