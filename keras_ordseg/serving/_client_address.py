"""The address of a server: checked, without its password, and whether the proxies of the environment stand before it."""

import base64
import ipaddress
import re
import urllib.parse
from typing import NamedTuple

from keras_ordseg._checks import ArgumentError

_URL = re.compile(r"(https?://[^/\s?#]+(/[^\s?#]*)?|grpc://[^/\s?#]+/?)", re.IGNORECASE)


class Address(NamedTuple):
    """Where a server is."""

    url: str  # with its scheme in small letters, without a user and without a slash at its end
    scheme: str
    authorization: str | None  # the header of a user and a password
    local: bool  # on this machine, where no proxy of the environment is asked


def parse(url):
    """The `Address` of a URL; an error that never repeats a password.

    >>> parse("GRPC://localhost:8500/").url
    'grpc://localhost:8500'
    >>> parse("http://anna:secret@host:8501").url
    'http://host:8501'
    """
    if not isinstance(url, str) or not _URL.fullmatch(url):
        raise ArgumentError("url", "'http://host:8501', 'https://...' or 'grpc://host:8500'", shown(url))
    scheme, rest = url.split("://", 1)
    scheme, rest = scheme.lower(), rest.rstrip("/")
    server, slash, path = rest.partition("/")
    user, at, host = server.rpartition("@")
    if "@" in path:
        raise ArgumentError("url", "no '@' behind the host", shown(url), "write / and @ of a password as %2F and %40")
    try:
        split = urllib.parse.urlsplit(f"//{host}")
        good = bool(split.hostname) and (split.port is None or split.port > 0)
    except ValueError:  # what is no port, or half an IPv6 address
        good = False
    if not good:
        raise ArgumentError("url", "a host, and a port from 1 to 65535", shown(url))
    if at and scheme == "grpc":
        raise ArgumentError("url", "no user and password, which gRPC without encryption cannot take", shown(url))
    header = None
    if at:
        name, _, password = user.partition(":")
        both = f"{urllib.parse.unquote(name)}:{urllib.parse.unquote(password)}"
        header = "Basic " + base64.b64encode(both.encode()).decode("ascii")
    return Address(f"{scheme}://{host}{slash}{path}", scheme, header, _is_local(split.hostname))


def shown(url):
    """A URL for a message: without user, password and query.

    >>> shown("http://anna:s@cret@host:8501/x?token=1")
    "'http://…@host:8501/x'"
    """
    if not isinstance(url, str):
        return f"a {type(url).__name__}"
    scheme, found, rest = url.partition("://") if "://" in url else ("", "", url)
    _, at, server = rest.rpartition("@")
    if at or "@" in scheme:
        scheme, server = scheme if scheme.isalnum() else "…", f"…@{server}"
    return repr(re.split(r"[?#]", f"{scheme}{found}{server}")[0])


def _is_local(host):
    if host.lower().rstrip(".") == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    return number.is_loopback or number.is_unspecified
