"""A gRPC server with generic handlers: no generated code, bytes in and bytes out."""

from concurrent import futures

import grpc


def unary(request, context):
    context.set_trailing_metadata((("x-trailer", "after"),))
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked: 100% of it")
    if request == b"slow":
        # Longer than the client's deadline; ends when the client gives up.
        done = futures.Future()
        context.add_callback(lambda: done.set_result(None))
        done.result(timeout=30)
    return request


def expand(request, context):
    for n in range(int(request)):
        yield b"%d" % n


def collect(requests, context):
    return b",".join(requests)


def mirror(requests, context):
    for request in requests:
        yield request


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Expand": grpc.unary_stream_rpc_method_handler(expand),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Mirror": grpc.stream_stream_rpc_method_handler(mirror),
}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Chat", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"chat ready: addr=127.0.0.1:{port}")
server.wait_for_termination()
