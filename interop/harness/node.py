"""One process of an implementation, which is told what to do and tells what happens."""

import json
import re
import subprocess
import threading
import time

from .install import HERE, LOGS

# A panic of our own process, or an error that this crate has logged.
ERROR = re.compile(r"panicked at|^\S+ +ERROR .*\bpxp(::\w+)*: ")

# Until an implementation listens. A browser and a busy machine take their time.
START = 60


class Fault(Exception):
    """A test has failed, for this reason."""


class Node:
    def __init__(self, name, command, environment=None):
        self.name = name
        self.log = open(LOGS / f"{name}.log", "a")
        self.process = subprocess.Popen(
            command, cwd=HERE, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log
        )
        self.answers, self.events, self.next = {}, [], 0
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        listening = self.event("listening", START)
        self.peer, self.addresses = listening["peer"], listening["addresses"]

    def _read(self):
        for line in self.process.stdout:
            self.log.write(line)
            self.log.flush()
            try:
                line = json.loads(line)
            except ValueError:
                continue
            with self.changed:
                if "event" in line:
                    self.events.append(line)
                else:
                    self.answers[line["id"]] = line
                self.changed.notify_all()
        with self.changed:
            self.process.wait()
            self.changed.notify_all()

    def _wait(self, find, what, patience):
        end = time.monotonic() + patience
        with self.changed:
            while True:
                found = find()
                if found is not None:
                    return found
                if self.process.poll() is not None:
                    raise Fault(f"{self.name} ended")
                left = end - time.monotonic()
                if left <= 0:
                    raise Fault(f"{self.name}: no {what} in {patience:.2g} s")
                self.changed.wait(min(left, 0.5))

    def tell(self, do, **details):
        """Gives a command. Returns its id."""
        self.next += 1
        line = json.dumps({"id": self.next, "do": do, **details})
        self.log.write(line + "\n")
        self.log.flush()
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Fault(f"{self.name} ended") from None
        return self.next

    def answer(self, command, what, patience):
        answer = self._wait(lambda: self.answers.pop(command, None), f"answer to {what}", patience)
        if "error" in answer:
            raise Fault(f"{self.name}: {answer['error']}")
        return answer

    def ask(self, do, patience, **details):
        """Gives a command and waits for its answer."""
        return self.answer(self.tell(do, **details), details.get("case", do), patience)

    def event(self, kind, patience, **details):
        """Waits for an event and takes it."""

        def find():
            for event in self.events:
                if event["event"] == kind and all(event[name] == value for name, value in details.items()):
                    self.events.remove(event)
                    return event

        return self._wait(find, f"event {kind}", patience)

    def take(self, kind):
        """Takes all events of this kind that are there."""
        with self.changed:
            taken = [event for event in self.events if event["event"] == kind]
            self.events = [event for event in self.events if event["event"] != kind]
        return taken

    def address(self, transport):
        """The address at which this node listens over a transport."""
        def fits(address):
            parts = address.split("/")
            return {"tcp": "tcp" in parts and "ws" not in parts}.get(transport, transport in parts)

        for address in self.addresses:
            if fits(address):
                return address
        raise Fault(f"{self.name} listens at no address for {transport}")

    def stop(self):
        """Ends the process, by force if need be."""
        try:
            self.process.stdin.close()
            self.process.wait(5)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.log.close()


def errors():
    """Returns the lines of our own processes' log that tell a panic or an error."""
    with open(LOGS / "us.log", "a+") as log:
        log.seek(0)
        return [line.strip() for line in log if ERROR.search(line)]
