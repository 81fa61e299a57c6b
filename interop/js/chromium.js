// Chromium with js-libp2p in a page, told on standard input what to do: one JSON object a line. It knows one command
// more than Node: `reload`.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

const say = line => process.stdout.write(JSON.stringify(line) + '\n')
const bundle = readFileSync(process.argv[2])
const server = createServer((request, response) => {
  const isScript = request.url === '/page.js'
  response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html')
  response.end(isScript ? bundle : '<!doctype html><title>interop</title><script type=module src=/page.js></script>')
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))

const folder = mkdtempSync(join(tmpdir(), 'interop-chromium-'))
const context = await chromium.launchPersistentContext(folder, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--allow-loopback-in-peer-connection',
    ...(process.env.CHROMIUM_ARGS?.split(' ') ?? [])
  ]
})
// Only then Chromium gathers the addresses of loopback.
await context.grantPermissions(['microphone', 'camera'])
const page = await context.newPage()
page.on('console', message => process.stderr.write(`page: ${message.text()}\n`))
page.on('pageerror', error => process.stderr.write(`page: ${error.stack}\n`))
await page.exposeFunction('say', say)
await page.goto(`http://127.0.0.1:${server.address().port}/`)
await page.waitForFunction(() => globalThis.ready)

async function obey (command) {
  if (command.do !== 'reload') return await page.evaluate(command => globalThis.obey(command), command)
  const at = Date.now()
  await page.reload()
  await page.waitForFunction(() => globalThis.ready)
  return { id: command.id, at }
}

const lines = createInterface({ input: process.stdin })
lines.on('line', async line => {
  const command = JSON.parse(line)
  say(await obey(command).catch(error => ({ id: command.id, error: error.message })))
})
lines.on('close', async () => {
  await context.close().catch(() => {})
  rmSync(folder, { recursive: true, force: true })
  process.exit(0)
})
