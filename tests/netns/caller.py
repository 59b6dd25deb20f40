"""A web server that knows nothing of the mesh and answers with the address of whoever calls, on every address. Argument:
the port."""

import http.server
import ipaddress
import socket
import sys


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        address = ipaddress.ip_address(self.client_address[0].split("%")[0])
        text = f"called from {getattr(address, 'ipv4_mapped', None) or address}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 256

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


with Server(("::", int(sys.argv[1])), Answer) as server:
    print(f"caller ready: port={sys.argv[1]}", flush=True)
    server.serve_forever()
