// js-libp2p on Node, told on its standard input what to do: one JSON object a line.
import { createInterface } from 'node:readline'
import { tcp } from '@libp2p/tcp'
import { webRTCDirect } from '@libp2p/webrtc'
import { webSockets } from '@libp2p/websockets'
import { createPeer } from './peer.js'

const say = line => process.stdout.write(JSON.stringify(line) + '\n')
const listen = process.argv.slice(2)
const obey = await createPeer([tcp(), webSockets(), webRTCDirect()], listen, say)
const lines = createInterface({ input: process.stdin })
lines.on('line', async line => say(await obey(JSON.parse(line))))
lines.on('close', () => process.exit(0))
