"""A DNS server for tests: names below `example.test` are 192.0.2.7 and 2001:db8::7, all others do not exist. Arguments:
the addresses to serve on, port 53. What is asked of names that begin with `long` over UDP is answered over TCP alone."""

import ipaddress
import select
import socket
import struct
import sys
import threading

ADDRESSES = {1: ipaddress.ip_address("192.0.2.7").packed, 28: ipaddress.ip_address("2001:db8::7").packed}
TRUNCATED = 0x0200


def answer(query, is_datagram):
    end = 12
    labels = []
    while query[end]:
        labels.append(query[end + 1 : end + 1 + query[end]].lower())
        end += 1 + query[end]
    (kind,) = struct.unpack("!H", query[end + 1 : end + 3])
    question = query[12 : end + 5]
    exists = labels[-2:] == [b"example", b"test"]
    address = ADDRESSES.get(kind) if exists else None
    flags = 0x8580 | (0 if exists else 3)
    if is_datagram and labels[0].startswith(b"long"):
        flags, address = flags | TRUNCATED, None
    head = query[:2] + struct.pack("!HHHHH", flags, 1, 1 if address else 0, 0, 0)
    if address is None:
        return head + question
    return head + question + struct.pack("!HHHIH", 0xC00C, kind, 1, 1, len(address)) + address


def converse(connection):
    with connection, connection.makefile("rwb") as stream:
        while length := stream.read(2):
            reply = answer(stream.read(*struct.unpack("!H", length)), False)
            stream.write(struct.pack("!H", len(reply)) + reply)
            stream.flush()


sockets = []
for address in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockets.append(socket.socket(family, socket.SOCK_DGRAM))
    sockets[-1].bind((address, 53))
    sockets.append(socket.create_server((address, 53), family=family))
print("dns ready: addr=" + sys.argv[1], flush=True)
while True:
    for ready in select.select(sockets, [], [])[0]:
        if ready.type == socket.SOCK_STREAM:
            threading.Thread(target=converse, args=(ready.accept()[0],), daemon=True).start()
            continue
        query, client = ready.recvfrom(512)
        ready.sendto(answer(query, True), client)
