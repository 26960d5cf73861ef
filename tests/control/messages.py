"""The messages of gRPC's standard services and of google.rpc, described here: no Debian package has modules of them for Python."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

F = descriptor_pb2.FieldDescriptorProto
FILE = descriptor_pb2.FileDescriptorProto(name='tests/control/messages.proto', package='t', syntax='proto3')


def message(name, *fields):
    """Fields are (name, number, type), the type a scalar's or a message's name; `repeated ` before it repeats."""
    described = FILE.message_type.add(name=name)
    for field, number, kind in fields:
        label = F.LABEL_REPEATED if kind.startswith('repeated ') else F.LABEL_OPTIONAL
        kind = kind.replace('repeated ', '')
        scalar = {'string': F.TYPE_STRING, 'bytes': F.TYPE_BYTES, 'int32': F.TYPE_INT32, 'int64': F.TYPE_INT64}.get(kind)
        described.field.add(name=field, number=number, label=label, type=scalar or F.TYPE_MESSAGE,
                            type_name=None if scalar else '.t.' + kind)
    return name


NAMES = [
    message('HealthCheckRequest', ('service', 1, 'string')),
    message('HealthCheckResponse', ('status', 1, 'int32')),
    message('ReflectionRequest', ('host', 1, 'string'), ('file_by_filename', 3, 'string'), ('file_containing_symbol', 4, 'string'),
            ('all_extension_numbers_of_type', 6, 'string'), ('list_services', 7, 'string')),
    message('Files', ('files', 1, 'repeated bytes')),
    message('Numbers', ('base_type_name', 1, 'string'), ('extension_number', 2, 'repeated int32')),
    message('Service', ('name', 1, 'string')),
    message('Services', ('service', 1, 'repeated Service')),
    message('Error', ('error_code', 1, 'int32'), ('error_message', 2, 'string')),
    message('ReflectionResponse', ('valid_host', 1, 'string'), ('original_request', 2, 'ReflectionRequest'),
            ('file_descriptor_response', 4, 'Files'), ('all_extension_numbers_response', 5, 'Numbers'),
            ('list_services_response', 6, 'Services'), ('error_response', 7, 'Error')),
    message('Any', ('type_url', 1, 'string'), ('value', 2, 'bytes')),
    message('Status', ('code', 1, 'int32'), ('message', 2, 'string'), ('details', 3, 'repeated Any')),
    message('Pair', ('key', 1, 'string'), ('value', 2, 'string')),
    message('ErrorInfo', ('reason', 1, 'string'), ('domain', 2, 'string'), ('metadata', 3, 'repeated Pair')),
    message('Duration', ('seconds', 1, 'int64'), ('nanos', 2, 'int32')),
    message('RetryInfo', ('delay', 1, 'Duration')),
    message('Violation', ('field', 1, 'string'), ('description', 2, 'string')),
    message('BadRequest', ('violations', 1, 'repeated Violation')),
]
POOL = descriptor_pool.DescriptorPool()
POOL.Add(FILE)
FACTORY = message_factory.MessageFactory(POOL)
globals().update({name: FACTORY.GetPrototype(POOL.FindMessageTypeByName('t.' + name)) for name in NAMES})
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
