"""A DNS server for tests, over UDP and TCP. Arguments: the addresses to serve on, port 53. Prints `asked NAME TYPE` for
each question.

- names below `example.test` are 192.0.2.7 and 2001:db8::7; `six.example.test` is the latter alone;
- `many.example.test` and `more.example.test` are 50 and 300 addresses of IPv4;
- names below it that begin with `long` are answered over TCP alone;
- `_ldap._tcp.example.test` has an SRV record, and 192.0.2.7 a name;
- all others do not exist, which may be remembered for a minute.

What is too long for the asker's datagram is cut, and is to be had over TCP."""

import ipaddress
import socket
import socketserver
import struct
import sys
import threading

A, SOA, PTR, AAAA, SRV, OPT = 1, 6, 12, 28, 33, 41
COUNTS = {"many.example.test": 50, "more.example.test": 300}
V4, V6 = ipaddress.ip_address("192.0.2.7").packed, ipaddress.ip_address("2001:db8::7").packed


def encode(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def find(name, kind):
    """The data of the records, and whether the name exists."""
    if name == "7.2.0.192.in-addr.arpa":
        return [encode("www.example.test")] if kind == PTR else [], True
    if name == "_ldap._tcp.example.test":
        return [struct.pack("!HHH", 1, 2, 389) + encode("ldap.example.test")] if kind == SRV else [], True
    if name.split(".")[-2:] != ["example", "test"]:
        return [], False
    if name in COUNTS:
        return [bytes([198, 18, n >> 8, n & 255]) for n in range(COUNTS[name])] if kind == A else [], True
    if kind == AAAA:
        return [V6], True
    return [V4] if kind == A and name != "six.example.test" else [], True


def answer(query, room):
    end, labels = 12, []
    while query[end]:
        labels.append(query[end + 1 : end + 1 + query[end]].decode().lower())
        end += 1 + query[end]
    (kind,) = struct.unpack("!H", query[end + 1 : end + 3])
    question, name = query[12 : end + 5], ".".join(labels)
    print(f"asked {name} {kind}", flush=True)
    opt = b""
    if query[10:12] != b"\0\0":
        # An OPT record is all that askers have there: its class is the room they have.
        (size,) = struct.unpack("!H", query[end + 8 : end + 10])
        room, opt = max(room, size), b"\0" + struct.pack("!HHIH", OPT, 1232, 0, 0)
    found, exists = find(name, kind)
    answers = [struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(data)) + data for data in found]
    denial = b""
    if not found:
        data = encode("ns.test") + encode("hostmaster.test") + struct.pack("!IIIII", 1, 60, 60, 60, 60)
        denial = encode("test") + struct.pack("!HHIH", SOA, 1, 60, len(data)) + data
    flags = 0x8580 | (0 if exists else 3)
    is_long = labels[0].startswith("long") and room < 65535
    if is_long or 12 + len(question) + len(b"".join(answers)) + len(denial) + len(opt) > room:
        answers, denial, flags = [], b"", flags | 0x0200
    counts = struct.pack("!HHHH", 1, len(answers), 1 if denial else 0, 1 if opt else 0)
    return query[:2] + struct.pack("!H", flags) + counts + question + b"".join(answers) + denial + opt


class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        query, server = self.request
        print(f"datagram from port {self.client_address[1]}", flush=True)
        server.sendto(answer(query, 512), self.client_address)


class Stream(socketserver.StreamRequestHandler):
    def handle(self):
        while length := self.rfile.read(2):
            reply = answer(self.rfile.read(struct.unpack("!H", length)[0]), 65535)
            self.wfile.write(struct.pack("!H", len(reply)) + reply)


def serve(kind, handler, address):
    class Server(kind):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        allow_reuse_address = daemon_threads = True

    threading.Thread(target=Server((address, 53), handler).serve_forever).start()


for address in sys.argv[1:]:
    serve(socketserver.UDPServer, Datagram, address)
    serve(socketserver.ThreadingTCPServer, Stream, address)
print("dns ready: addr=" + sys.argv[1], flush=True)
