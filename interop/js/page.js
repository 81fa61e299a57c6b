// js-libp2p in a page: `obey` does what the driver in `chromium.js` says.
import { webRTCDirect } from '@libp2p/webrtc'
import { webSockets } from '@libp2p/websockets'
import { createPeer } from './peer.js'

globalThis.obey = await createPeer([webSockets(), webRTCDirect()], [], line => globalThis.say(line))
globalThis.ready = true
