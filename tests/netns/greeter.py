"""A server that speaks first. Arguments: port, the greeting in hex. Echoes what it is sent afterwards."""

import socket
import sys
import threading


def serve(connection, greeting):
    with connection:
        connection.sendall(greeting)
        while data := connection.recv(4096):
            connection.sendall(data)


port, greeting = int(sys.argv[1]), bytes.fromhex(sys.argv[2])
with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    print(f"greeter ready: port={port}", flush=True)
    while True:
        threading.Thread(target=serve, args=(server.accept()[0], greeting), daemon=True).start()
