"""A client of a protocol in which the server speaks first. Arguments: host, port, the greeting expected in hex. Prints
`right` if exactly the greeting comes, and then what is sent comes back; and how many milliseconds the greeting took."""

import socket
import sys
import time

host, port, greeting = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
started = time.monotonic()
with socket.create_connection((host, port), timeout=10) as connection:
    read = connection.makefile("rb")
    first = read.read(len(greeting))
    took = time.monotonic() - started
    assert first == greeting, first
    connection.sendall(b"QUIT\r\n")
    assert read.read(6) == b"QUIT\r\n"
print("right", int(took * 1000))
