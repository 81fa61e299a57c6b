"""Installs what the foreign implementations need, once for each state of the lock files, and builds our own end."""

import hashlib
import json
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
RUN = HERE / ".run"
# What the processes of this run say.
LOGS = RUN / "logs" / str(os.getpid())
# Debian's packages are installed one after the other.
DEBIAN = threading.Lock()
# No step of an installation takes longer, with a registry that answers.
PATIENCE = 300


def sh(*command, cwd=HERE, **options):
    print("+", *command, flush=True)
    subprocess.run(command, cwd=cwd, check=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, **options)


def debian(*packages):
    """Installs the packages of these (program or file, package) pairs that are missing."""
    with DEBIAN:
        missing = [name for needed, name in packages if not (shutil.which(needed) or Path(needed).exists())]
        if missing:
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            sh("apt-get", "update", "-q", stdout=subprocess.DEVNULL)
            command = ["apt-get", "install", "-qy", "--no-install-recommends", *missing]
            sh(*command, env=environment, stdout=subprocess.DEVNULL)


def fresh(marker, *files):
    """Returns true if `marker` was written for these contents of the files, and what is to be written to it."""
    contents = b"".join(Path(file).read_bytes() for file in files)
    digest = hashlib.sha256(contents).hexdigest()
    return marker.exists() and marker.read_text() == digest, digest


def js():
    debian(("npm", "npm"))
    folder = HERE / "js"
    marker = folder / "node_modules/.installed"
    is_fresh, digest = fresh(marker, folder / "package-lock.json", folder / ".npmrc")
    if not is_fresh:
        sh("npm", "ci", "--loglevel=error", cwd=folder)
        marker.write_text(digest)


def chromium():
    debian(("chromium", "chromium"))


def bundle():
    """Bundles the page."""
    command = ["js/node_modules/.bin/esbuild", "js/page.js", "--bundle", "--format=esm", "--define:global=globalThis"]
    sh(*command, "--log-level=warning", f"--outfile={RUN / 'page.js'}")


def py():
    # One package is compiled.
    debian(("cc", "gcc"), ("/usr/share/doc/libgmp-dev", "libgmp-dev"), ("python3", "python3-venv"))
    folder = HERE / "py"
    venv = folder / ".venv"
    marker = venv / ".installed"
    is_fresh, digest = fresh(marker, folder / "requirements.txt")
    if not is_fresh:
        shutil.rmtree(venv, ignore_errors=True)
        sh("python3", "-m", "venv", str(venv))
        sh(str(venv / "bin/pip"), "install", "-q", "--disable-pip-version-check", "-r", "requirements.txt", cwd=folder)
        marker.write_text(digest)


def rust():
    """Builds our own end. Returns the path of the program."""
    command = ["cargo", "build", "--locked", "--example", "interop"]
    print("+", *command, flush=True)
    lines = subprocess.run(
        [*command, "--message-format=json-render-diagnostics"], cwd=HERE.parent, check=True, stdout=subprocess.PIPE
    )
    for line in lines.stdout.splitlines():
        built = json.loads(line)
        if built.get("executable") and built["target"]["name"] == "interop":
            return built["executable"]
    raise RuntimeError("cargo built no program")


def everything(peers):
    """Installs what these peers need, side by side. Fails if anything of it cannot be had."""
    steps = {js if peer == "js" else chromium if peer == "chromium" else py for peer in peers}
    if chromium in steps:
        steps.add(js)
    with ThreadPoolExecutor() as pool:
        for step in [pool.submit(step) for step in steps]:
            step.result()
    if chromium in steps:
        bundle()
