// js-libp2p in a page: `obey` does what the driver in `chromium.js` says.
import { webRTCDirect } from '@libp2p/webrtc'
import { webSockets } from '@libp2p/websockets'
import { createPeer } from './peer.js'

const say = line => globalThis.say(line)

// Tells when the browser has noticed the close of a connection. js-libp2p does not look at this.
globalThis.RTCPeerConnection = class extends globalThis.RTCPeerConnection {
  constructor (...args) {
    super(...args)
    this.addEventListener('connectionstatechange', () => {
      if (this.connectionState !== 'connected') return
      this.sctp.addEventListener('statechange', () => {
        if (this.sctp.state === 'closed') say({ event: 'closed', at: Date.now() })
      })
    })
  }
}

globalThis.obey = await createPeer([webSockets(), webRTCDirect()], [], say)
globalThis.ready = true
