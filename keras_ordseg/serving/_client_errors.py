"""What a server said when it did not answer."""


class ServingError(RuntimeError):
    """The server refused a request, in its own words.

    `status` is the name of the reason, the same over REST and gRPC: `"INVALID_ARGUMENT"` for a wrong shape, type or file,
    `"NOT_FOUND"` for a model or version that is not served, `"UNAVAILABLE"` for one that is not ready.

    Args:
        message: What went wrong.
        status: Name of a gRPC status.

    >>> ServingError("the image is too large", "INVALID_ARGUMENT").status
    'INVALID_ARGUMENT'
    """

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


def unreachable(url, reason):
    return ConnectionError(f"{url}: no server answers there ({reason}). Is it running, and is the port the right one?")


def timed_out(url, timeout):
    return TimeoutError(
        f"{url}: no answer within {timeout:g} seconds. Give Client(..., timeout=) more, or send fewer or smaller images."
    )
