"""A DNS server for tests: names below `example.test` are 192.0.2.7 and 2001:db8::7, all others do not exist. Arguments:
the addresses to serve on, port 53. Over UDP alone."""

import ipaddress
import select
import socket
import struct
import sys

ADDRESSES = {1: ipaddress.ip_address("192.0.2.7").packed, 28: ipaddress.ip_address("2001:db8::7").packed}


def answer(query):
    end = 12
    labels = []
    while query[end]:
        labels.append(query[end + 1 : end + 1 + query[end]].lower())
        end += 1 + query[end]
    (kind,) = struct.unpack("!H", query[end + 1 : end + 3])
    question = query[12 : end + 5]
    exists = labels[-2:] == [b"example", b"test"]
    address = ADDRESSES.get(kind) if exists else None
    head = query[:2] + struct.pack("!HHHHH", 0x8580 | (0 if exists else 3), 1, 1 if address else 0, 0, 0)
    if address is None:
        return head + question
    return head + question + struct.pack("!HHHIH", 0xC00C, kind, 1, 1, len(address)) + address


sockets = []
for address in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockets.append(socket.socket(family, socket.SOCK_DGRAM))
    sockets[-1].bind((address, 53))
print("dns ready: addr=" + sys.argv[1], flush=True)
while True:
    for ready in select.select(sockets, [], [])[0]:
        query, client = ready.recvfrom(512)
        ready.sendto(answer(query), client)
