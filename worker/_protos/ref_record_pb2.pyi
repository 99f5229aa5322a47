from worker._protos import remote_execution_pb2 as _remote_execution_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECTORY: _ClassVar[Kind]
    ARTIFACT: _ClassVar[Kind]
    ACTION_RESULT: _ClassVar[Kind]
    BLOB: _ClassVar[Kind]
DIRECTORY: Kind
ARTIFACT: Kind
ACTION_RESULT: Kind
BLOB: Kind

class Scope(_message.Message):
    __slots__ = ("excluded", "included")
    EXCLUDED_FIELD_NUMBER: _ClassVar[int]
    INCLUDED_FIELD_NUMBER: _ClassVar[int]
    excluded: _containers.RepeatedScalarFieldContainer[str]
    included: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, excluded: _Optional[_Iterable[str]] = ..., included: _Optional[_Iterable[str]] = ...) -> None: ...

class RefRecord(_message.Message):
    __slots__ = ("hash", "size_bytes", "kind", "further_roots", "scope", "serial", "created_ms", "labels", "origin", "name")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HASH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    FURTHER_ROOTS_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    hash: str
    size_bytes: int
    kind: Kind
    further_roots: _containers.RepeatedCompositeFieldContainer[_remote_execution_pb2.Digest]
    scope: Scope
    serial: int
    created_ms: int
    labels: _containers.ScalarMap[str, str]
    origin: str
    name: str
    def __init__(self, hash: _Optional[str] = ..., size_bytes: _Optional[int] = ..., kind: _Optional[_Union[Kind, str]] = ..., further_roots: _Optional[_Iterable[_Union[_remote_execution_pb2.Digest, _Mapping]]] = ..., scope: _Optional[_Union[Scope, _Mapping]] = ..., serial: _Optional[int] = ..., created_ms: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., origin: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...
