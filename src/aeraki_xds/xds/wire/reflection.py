"""gRPC reflection (v1 and v1alpha): what grpcurl and the like need to call us without our protos.

In: the names of the services that are mounted, and `descriptors.binpb`, a FileDescriptorSet that
protos/generate.py makes from the official descriptors. Out: files by name or by symbol, with all
that they import. Guaranteed: only who is allowed is answered; what is not known is an error in the
answer, and the stream goes on. Descriptors are handed out as bytes: to index them by symbol takes
`field.scan` and no protobuf library.
Source: github.com/grpc/grpc-proto, grpc/reflection/v1/reflection.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from importlib.resources import files
from typing import Final

from grpclib.const import Cardinality, Handler, Status

from aeraki_xds.xds.field import LENGTH, length_delimited, scan, text, to_text
from aeraki_xds.xds.wire.calls import Allowed, Call, integer, rpc

REFLECTION: Final = (
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)
"""The same service under two names: most clients still ask for the second one."""

_SHOWN: Final = 200
"""Characters of a name that an error repeats."""


class _Kind(Enum):
    """What a descriptor describes, as far as it matters to the names within."""

    FILE = auto()
    MESSAGE = auto()
    ENUM = auto()
    SERVICE = auto()
    MEMBER = auto()


_WITHIN: Final = {
    _Kind.FILE: {4: _Kind.MESSAGE, 5: _Kind.ENUM, 6: _Kind.SERVICE, 7: _Kind.MEMBER},
    _Kind.MESSAGE: {
        2: _Kind.MEMBER,
        3: _Kind.MESSAGE,
        4: _Kind.ENUM,
        6: _Kind.MEMBER,
        8: _Kind.MEMBER,
    },
    _Kind.ENUM: {2: _Kind.MEMBER},
    _Kind.SERVICE: {2: _Kind.MEMBER},
    _Kind.MEMBER: {},
}
"""Field numbers of descriptor.proto under which there are further named descriptors."""


@dataclass(frozen=True, slots=True)
class _File:
    """A FileDescriptorProto and the names of those that it imports."""

    encoded: bytes
    imports: tuple[str, ...]


class Descriptors:
    """A FileDescriptorSet, by file name and by symbol. Raises MalformedError."""

    def __init__(self, encoded: bytes) -> None:
        self._files: dict[str, _File] = {}
        self._file_of: dict[str, str] = {}
        self._messages: set[str] = set()
        for number, _, file in scan(encoded):
            if number == 1:
                self._add(file)

    @classmethod
    def of_all_services(cls) -> Descriptors:
        """Those of every service that this package can serve."""
        packaged = files("aeraki_xds.xds.wire").joinpath("descriptors.binpb")
        return cls(packaged.read_bytes())

    def file(self, name: str) -> tuple[bytes, ...]:
        """A file and, behind it, all that it imports; nothing when there is none of that name."""
        if name not in self._files:
            return ()
        found = {name: None}
        waiting = [name]
        while waiting:
            new = [each for each in self._files[waiting.pop()].imports if each not in found]
            found.update(dict.fromkeys(new))
            waiting += new
        return tuple(self._files[each].encoded for each in found)

    def file_containing(self, symbol: str) -> tuple[bytes, ...]:
        """The same for the file that declares a symbol, given in full."""
        return self.file(self._file_of.get(symbol, ""))

    def is_message(self, symbol: str) -> bool:
        """Whether a message has that name."""
        return symbol in self._messages

    def _add(self, file: memoryview) -> None:
        name = package = ""
        imports: list[str] = []
        for number, _, value in scan(file):
            if number == 1:
                name = to_text(value)
            elif number == 2:
                package = f"{to_text(value)}."
            elif number == 3:
                imports.append(to_text(value))
        self._files[name] = _File(bytes(file), tuple(imports))
        for kind, symbol in _symbols(_Kind.FILE, file, package):
            self._file_of[symbol] = name
            if kind is _Kind.MESSAGE:
                self._messages.add(symbol)


def _symbols(kind: _Kind, descriptor: memoryview, scope: str) -> Iterator[tuple[_Kind, str]]:
    """The symbols within a descriptor; `scope` is the prefix of their names."""
    for number, _, value in scan(descriptor):
        within = _WITHIN[kind].get(number)
        if within is None:
            continue
        name = scope + next(to_text(raw) for number, _, raw in scan(value) if number == 1)
        yield within, name
        # The values of an enum are its siblings, as in C++.
        yield from _symbols(within, value, scope if within is _Kind.ENUM else f"{name}.")


class Reflection:
    """The service, under both its names."""

    def __init__(
        self, *, services: Iterable[str], allowed: Allowed, descriptors: Descriptors
    ) -> None:
        self._services = tuple(sorted({*services, *REFLECTION}))
        self._allowed = allowed
        self._descriptors = descriptors

    def __mapping__(self) -> dict[str, Handler]:
        return {
            f"/{service}/ServerReflectionInfo": rpc(
                self._info, Cardinality.STREAM_STREAM, allowed=self._allowed
            )
            for service in REFLECTION
        }

    async def _info(self, call: Call) -> None:
        async for request in call.requests():
            await call.answer(self._respond(request))

    def _respond(self, request: bytes) -> bytes:
        """A ServerReflectionResponse: valid_host 1, original_request 2, and one of the rest."""
        host, asked, value = "", 0, memoryview(b"")
        for number, wire_type, raw in scan(request):
            if wire_type == LENGTH and number == 1:
                host = to_text(raw)
            elif wire_type == LENGTH and 3 <= number <= 7:
                asked, value = number, raw
        return text(1, host) + length_delimited(2, request) + self._result(asked, value)

    def _result(self, asked: int, value: memoryview) -> bytes:
        match asked:
            case 3:
                return _files_or_error(self._descriptors.file(name := to_text(value)), name)
            case 4:
                name = to_text(value)
                return _files_or_error(self._descriptors.file_containing(name), name)
            case 5:
                return _error(Status.NOT_FOUND, "there are no extensions here")
            case 6:
                name = to_text(value)
                if self._descriptors.is_message(name):
                    return length_delimited(5, text(1, name))
                return _unknown(name)
            case 7:
                named = (length_delimited(1, text(1, service)) for service in self._services)
                return length_delimited(6, b"".join(named))
        return _error(Status.INVALID_ARGUMENT, "the request asks for nothing")


def _files_or_error(found: tuple[bytes, ...], name: str) -> bytes:
    """A FileDescriptorResponse, or the error that there is no such file or symbol."""
    if not found:
        return _unknown(name)
    return length_delimited(4, b"".join(length_delimited(1, encoded) for encoded in found))


def _unknown(name: str) -> bytes:
    return _error(Status.NOT_FOUND, f"{name[:_SHOWN]} is not known here")


def _error(status: Status, message: str) -> bytes:
    """An ErrorResponse."""
    return length_delimited(7, integer(1, status.value) + text(2, message))
