"""Calls every kind of method through a proxy and checks every answer. Arguments: the proxy's address, the authority."""

import queue
import sys

import grpc

via, authority = sys.argv[1:]
channel = grpc.insecure_channel(via, options=[("grpc.default_authority", authority), ("grpc.enable_http_proxy", 0)])
unary = channel.unary_unary("/test.Chat/Unary")

answer, call = unary.with_call(b"ahoy", timeout=10)
assert answer == b"ahoy", answer
assert ("x-trailer", "after") in call.trailing_metadata(), call.trailing_metadata()

large = b"x" * (3 * 1024 * 1024)
assert unary(large, timeout=20) == large

assert list(channel.unary_stream("/test.Chat/Expand")(b"500", timeout=10)) == [b"%d" % n for n in range(500)]
assert channel.stream_unary("/test.Chat/Collect")(iter([b"a", b"b", b"c"]), timeout=10) == b"a,b,c"

# Both directions at once, in lock step: an answer must come before the next message is sent.
outgoing = queue.Queue()
mirrored = channel.stream_stream("/test.Chat/Mirror")(iter(outgoing.get, None), timeout=10)
for n in range(50):
    outgoing.put(b"%d" % n)
    assert next(mirrored) == b"%d" % n
outgoing.put(None)
assert list(mirrored) == []


def failure(payload, timeout, method="/test.Chat/Unary"):
    try:
        channel.unary_unary(method)(payload, timeout=timeout)
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("no error")


assert failure(b"fail", 10) == (grpc.StatusCode.FAILED_PRECONDITION, "as asked: 100% of it")
assert failure(b"x", 10, "/test.Chat/Nothing")[0] == grpc.StatusCode.UNIMPLEMENTED
assert failure(b"slow", 0.5)[0] == grpc.StatusCode.DEADLINE_EXCEEDED

lost = grpc.insecure_channel(via, options=[("grpc.default_authority", "chta.demo:50051"), ("grpc.enable_http_proxy", 0)])
try:
    lost.unary_unary("/test.Chat/Unary")(b"x", timeout=10)
    raise AssertionError("no error")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    assert "chta" in error.details() and "chat" in error.details(), error.details()
print("all calls answered as they should be")
