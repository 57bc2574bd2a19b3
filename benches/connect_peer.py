#!/usr/bin/env python3
"""Opens CONNECTIONS to servers of its own as fast as plain Python does, and says how long that took.

A peer for `linerate run connect -c CONNECTIONS --delay 0`: so many processes accept on one port, so many connect from
source addresses of their own in 127.0.0.0/8, with blocking calls, one after the other.
"""

import multiprocessing
import os
import resource
import select
import signal
import socket
import sys
import time

CONNECTIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
PROCESSES = int(sys.argv[2]) if len(sys.argv) > 2 else 4


def bound(port):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.bind(("127.0.0.1", port))
    return server


def serve(port, ready, accepted):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    server, held = bound(port), []
    server.listen(4096)
    server.setblocking(False)
    ready.release()
    poll = select.epoll()
    poll.register(server, select.EPOLLIN)
    while True:
        poll.poll()
        try:
            while True:
                held.append(server.accept()[0])
                accepted.value += 1
        except BlockingIOError:
            pass


def load(number, port, go, done, end):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    held = []
    go.wait()
    for _ in range(CONNECTIONS // PROCESSES):
        client = socket.socket()
        client.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        client.bind((f"127.0.1.{number + 2}", 0))
        client.connect(("127.0.0.1", port))
        held.append(client)
    done.release()
    end.wait()


def main():
    signal.alarm(60)  # whatever happens
    probe = bound(0)
    port = probe.getsockname()[1]
    ready, done = multiprocessing.Semaphore(0), multiprocessing.Semaphore(0)
    go, end = multiprocessing.Event(), multiprocessing.Event()
    counts = [multiprocessing.Value("l", 0, lock=False) for _ in range(PROCESSES)]
    servers = [multiprocessing.Process(target=serve, args=(port, ready, count), daemon=True) for count in counts]
    loads = [multiprocessing.Process(target=load, args=(n, port, go, done, end), daemon=True) for n in range(PROCESSES)]
    for process in servers + loads:
        process.start()
    for _ in servers:
        ready.acquire()
    probe.close()
    time.sleep(0.5)
    begun = time.monotonic()
    go.set()
    for _ in loads:
        done.acquire()
    took = time.monotonic() - begun
    deadline = time.monotonic() + 10
    while sum(count.value for count in counts) < CONNECTIONS and time.monotonic() < deadline:
        time.sleep(0.01)
    accepted = sum(count.value for count in counts)
    print(f"{CONNECTIONS} connections established in {took:.3f} s, {accepted} accepted", flush=True)
    end.set()
    for process in servers:
        process.kill()
    for process in servers + loads:
        process.join()
    os._exit(0 if accepted == CONNECTIONS else 1)


main()
