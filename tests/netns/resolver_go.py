"""Asks as Go's own resolver does (net/dnsclient_unix.go, Go 1.19 and later), since no Go program need be here:

- the names to try come from `search` and `ndots` of /etc/resolv.conf, one after the other;
- A and AAAA of a name are asked for at the same time, from a socket each, every message with EDNS0 and 1232 bytes;
- a server that is silent for five seconds is passed over for the next, twice round;
- an answer that is cut is asked for again over TCP;
- an answer to another question is not looked at; one that does not claim to know, offers no recursion and has no records
  is a lame referral, and the next server is asked.

Arguments: NAME, `srv NAME` or `ptr ADDRESS`. Prints what is found, one a line, and `datagrams N, streams N` at the end;
ends with 1 and the reason if nothing is."""

import concurrent.futures
import ipaddress
import random
import socket
import struct
import sys
import threading

A, PTR, AAAA, SRV = 1, 12, 28, 33
TRUNCATED, AUTHORITATIVE, RECURSION_AVAILABLE = 0x0200, 0x0400, 0x0080
TIMEOUT, ATTEMPTS = 5, 2


class Missing(Exception):
    """There is no such name, or nothing of this kind."""


class Failed(Exception):
    """A server did not answer, or not as it should."""


class Conf:
    servers, search, ndots, trust_ad = [], [], 1, False

    def __init__(self):
        with open("/etc/resolv.conf") as lines:
            for line in lines:
                word, *rest = line.split() or [""]
                if word == "nameserver" and len(self.servers) < 3:
                    self.servers = self.servers + rest[:1]
                elif word == "search":
                    self.search = [name.rstrip(".") + "." for name in rest]
                elif word == "options":
                    for option in rest:
                        if option.startswith("ndots:"):
                            self.ndots = int(option[6:])
                        self.trust_ad = self.trust_ad or option == "trust-ad"

    def names(self, name):
        if name.endswith("."):
            return [name]
        below = [f"{name}.{domain}" for domain in self.search]
        itself = [name + "."]
        return itself + below if name.count(".") >= self.ndots else below + itself


lock = threading.Lock()
counts = {"datagrams": 0, "streams": 0}


def count(what):
    with lock:
        counts[what] += 1


def encode(name):
    labels = [label.encode() for label in name.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def decode(message, at):
    labels, end = [], None
    while message[at]:
        if message[at] & 0xC0 == 0xC0:
            end = end or at + 2
            at = struct.unpack("!H", message[at : at + 2])[0] & 0x3FFF
            continue
        labels.append(message[at + 1 : at + 1 + message[at]].decode())
        at += 1 + message[at]
    return ".".join(labels) + ".", end or at + 1


def exchange(server, question, flags):
    number = random.randrange(1 << 16)
    # A root name, OPT, 1232 bytes, no extended code, version 0, no flags, no options.
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
    query = struct.pack("!HHHHHH", number, flags, 1, 0, 0, 1) + question + opt

    def is_answer(message):
        same = len(message) >= 12 + len(question) and message[:2] == query[:2] and message[2] & 0x80
        return same and message[12 : 12 + len(question)].lower() == question.lower()

    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(TIMEOUT)
        datagrams.connect((server, 53))
        count("datagrams")
        datagrams.send(query)
        while not is_answer(message := datagrams.recv(1232)):
            pass
    if not struct.unpack("!H", message[2:4])[0] & TRUNCATED:
        return message
    with socket.create_connection((server, 53), TIMEOUT) as stream:
        count("streams")
        stream.sendall(struct.pack("!H", len(query)) + query)
        read = stream.makefile("rb")
        message = read.read(struct.unpack("!H", read.read(2))[0])
    if not is_answer(message):
        raise Failed("the answer over TCP is to another question")
    return message


def records(message, question, kind):
    _, flags, _, answers, _, additionals = struct.unpack("!HHHHHH", message[:12])
    code = flags & 15
    if code == 3:
        raise Missing("no such host")
    if not code and not answers and not flags & (AUTHORITATIVE | RECURSION_AVAILABLE) and not additionals:
        raise Failed("lame referral")
    if code:
        raise Failed(f"server misbehaving: code {code}")
    found, at = [], 12 + len(question)
    for _ in range(answers):
        _, at = decode(message, at)
        its, _, _, length = struct.unpack("!HHIH", message[at : at + 10])
        at += 10
        if its == kind:
            found.append(read_data(message, at, length, kind))
        at += length
    if not found:
        raise Missing("no such host")
    return found


def read_data(message, at, length, kind):
    if kind == SRV:
        priority, weight, port = struct.unpack("!HHH", message[at : at + 6])
        return f"{priority} {weight} {port} {decode(message, at + 6)[0]}"
    if kind == PTR:
        return decode(message, at)[0]
    return str(ipaddress.ip_address(message[at : at + length]))


def ask(conf, name, kind):
    question = encode(name) + struct.pack("!HH", kind, 1)
    flags = 0x0100 | (0x0020 if conf.trust_ad else 0)
    last = Failed("no servers")
    for _ in range(ATTEMPTS):
        for server in conf.servers:
            try:
                return records(exchange(server, question, flags), question, kind)
            except (OSError, Failed) as failure:
                last = failure
    raise last


def look_up(conf, name, kinds):
    last = Missing("no such host")
    for full in conf.names(name):
        found = []
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for asked in [pool.submit(ask, conf, full, kind) for kind in kinds]:
                try:
                    found += asked.result()
                except (OSError, Missing, Failed) as failure:
                    last = failure
        if found:
            return found
    raise last


def main(words):
    conf = Conf()
    if words[0] == "srv":
        found = look_up(conf, words[1], [SRV])
    elif words[0] == "ptr":
        found = look_up(conf, ipaddress.ip_address(words[1]).reverse_pointer + ".", [PTR])
    else:
        found = look_up(conf, words[0], [A, AAAA])
    print("\n".join(found))


try:
    main(sys.argv[1:])
except (OSError, Missing, Failed) as failure:
    sys.exit(f"{type(failure).__name__}: {failure}")
print("datagrams {datagrams}, streams {streams}".format(**counts))
