"""Put this folder on PYTHONPATH: every Python started then refuses to leave the machine, and notes the attempt.

Connections and look-ups within the machine (loopback and Unix sockets) pass. Attempts go, one per line, to the file
that OFFLINE_LOG names, so that a library which swallows the error is found out too.
"""

import os
import socket

LOCAL = {"", "localhost", "::1", "0.0.0.0", "::", None}


def _refuse(what, host):
    if isinstance(host, bytes):
        host = host.decode()
    if host in LOCAL or str(host).startswith("127."):
        return
    if os.environ.get("OFFLINE_LOG"):
        with open(os.environ["OFFLINE_LOG"], "a") as log:
            log.write(f"{what} {host}\n")
    raise OSError(f"offline: {what} {host}")


def _guard(name):
    plain = getattr(socket.socket, name)

    def guarded(self, *args):
        address = args[-1]
        if self.family != getattr(socket, "AF_UNIX", None) and isinstance(address, tuple):
            _refuse(name, address[0])
        return plain(self, *args)

    setattr(socket.socket, name, guarded)


for _name in ("connect", "connect_ex", "sendto"):
    _guard(_name)

_getaddrinfo = socket.getaddrinfo


def _local_getaddrinfo(host, *args, **more):
    _refuse("look-up of", host)
    return _getaddrinfo(host, *args, **more)


socket.getaddrinfo = _local_getaddrinfo
