"""An HTTPS server for tests, on every address. Arguments: port, certificate chain and key in PEM. The answer to every GET
is the name the client asked for by SNI, and the address it came from."""

import http.server
import socket
import ssl
import sys

PORT, CHAIN, KEY = sys.argv[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        words = f"over tls as {self.connection.asked} from {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def note(connection, name, _context):
    connection.asked = name


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CHAIN, KEY)
context.sni_callback = note
server = Server(("::", int(PORT)), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(f"tls ready: addr=[::]:{PORT}", flush=True)
server.serve_forever()
