/* grpc.reflection v1 and v1alpha, which differ in nothing but the package's name. */
#include "control/grpc/reflection.pb-c.h"
#include "control/grpc/server_p.h"

extern const unsigned char hf_grpc_reflection_descriptors[];
extern const size_t hf_grpc_reflection_descriptors_bytes;

enum { HF_GRPC_REFLECTED_FILES_MAX = 256, HF_GRPC_REFLECTED_NUMBERS_MAX = 256 };

/* One answer and what it may point to. */
struct hf_grpc_reflected {
    Grpc__Reflection__V1__ServerReflectionResponse response;
    Grpc__Reflection__V1__FileDescriptorResponse found;
    Grpc__Reflection__V1__ExtensionNumberResponse numbers;
    Grpc__Reflection__V1__ListServiceResponse list;
    Grpc__Reflection__V1__ErrorResponse error;
    ProtobufCBinaryData files[HF_GRPC_REFLECTED_FILES_MAX];
    int32_t extension_numbers[HF_GRPC_REFLECTED_NUMBERS_MAX];
    Grpc__Reflection__V1__ServiceResponse services[HF_GRPC_SERVICES_MAX], *service_pointers[HF_GRPC_SERVICES_MAX];
};

static void hf_grpc_reflect_error(struct hf_grpc_reflected *answer, enum hf_grpc_code code, const char *message)
{
    grpc__reflection__v1__error_response__init(&answer->error);
    answer->error.error_code = (int32_t)code;
    answer->error.error_message = (char *)(uintptr_t)message;
    answer->response.message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    answer->response.error_response = &answer->error;
}

/* The file and, behind it, everything it imports, once each. */
static size_t hf_grpc_reflect_imports(const struct hf_grpc_descriptors *descriptors, const struct hf_grpc_file *file,
                                      ProtobufCBinaryData *out)
{
    const struct hf_grpc_file *files[HF_GRPC_REFLECTED_FILES_MAX];
    size_t count = 1;
    files[0] = file;
    for (size_t at = 0; at < count; at++) {
        bool more = true;
        out[at] = (ProtobufCBinaryData){files[at]->length, (uint8_t *)(uintptr_t)files[at]->bytes};
        for (unsigned i = 0; more; i++) {
            const struct hf_grpc_file *import = hf_grpc_descriptors_import(descriptors, files[at], i, &more);
            bool known = !import;
            for (size_t seen = 0; seen < count && !known; seen++)
                known = files[seen] == import;
            if (!known && count < HF_GRPC_REFLECTED_FILES_MAX)
                files[count++] = import;
        }
    }
    return count;
}

static void hf_grpc_reflect_file(struct hf_grpc_reflected *answer, const struct hf_grpc_server *server, const struct hf_grpc_file *file)
{
    if (!file) {
        hf_grpc_reflect_error(answer, HF_GRPC_NOT_FOUND, "not found");
        return;
    }
    grpc__reflection__v1__file_descriptor_response__init(&answer->found);
    answer->found.n_file_descriptor_proto = hf_grpc_reflect_imports(server->descriptors, file, answer->files);
    answer->found.file_descriptor_proto = answer->files;
    answer->response.message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    answer->response.file_descriptor_response = &answer->found;
}

static void hf_grpc_reflect_number(void *context, int32_t number)
{
    struct hf_grpc_reflected *answer = context;
    if (answer->numbers.n_extension_number < HF_GRPC_REFLECTED_NUMBERS_MAX)
        answer->extension_numbers[answer->numbers.n_extension_number++] = number;
}

static void hf_grpc_reflect_extensions(struct hf_grpc_reflected *answer, const struct hf_grpc_server *server, char *type)
{
    grpc__reflection__v1__extension_number_response__init(&answer->numbers);
    hf_grpc_descriptors_extensions(server->descriptors, type, hf_grpc_reflect_number, answer);
    if (answer->numbers.n_extension_number == 0 && !hf_grpc_descriptors_symbol(server->descriptors, type)) {
        hf_grpc_reflect_error(answer, HF_GRPC_NOT_FOUND, "not found");
        return;
    }
    answer->numbers.base_type_name = type;
    answer->numbers.extension_number = answer->extension_numbers;
    answer->response
        .message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
    answer->response.all_extension_numbers_response = &answer->numbers;
}

static void hf_grpc_reflect_services(struct hf_grpc_reflected *answer, const struct hf_grpc_server *server)
{
    grpc__reflection__v1__list_service_response__init(&answer->list);
    for (unsigned i = 0; i < server->service_count; i++) {
        grpc__reflection__v1__service_response__init(&answer->services[i]);
        answer->services[i].name = (char *)(uintptr_t)server->service_names[i];
        answer->service_pointers[i] = &answer->services[i];
    }
    answer->list.service = answer->service_pointers;
    answer->list.n_service = server->service_count;
    answer->response.message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    answer->response.list_services_response = &answer->list;
}

static void hf_grpc_reflect(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Grpc__Reflection__V1__ServerReflectionRequest *request = (const void *)message;
    const struct hf_grpc_server *server = context;
    const struct hf_grpc_descriptors *all = server->descriptors;
    struct hf_grpc_reflected answer;
    grpc__reflection__v1__server_reflection_response__init(&answer.response);
    answer.response.valid_host = request->host;
    answer.response.original_request = (Grpc__Reflection__V1__ServerReflectionRequest *)(uintptr_t)request;
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        hf_grpc_reflect_file(&answer, server, hf_grpc_descriptors_file(all, request->file_by_filename));
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        hf_grpc_reflect_file(&answer, server, hf_grpc_descriptors_symbol(all, request->file_containing_symbol));
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        hf_grpc_reflect_file(&answer, server,
                             hf_grpc_descriptors_extension(all, request->file_containing_extension->containing_type,
                                                           request->file_containing_extension->extension_number));
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        hf_grpc_reflect_extensions(&answer, server, request->all_extension_numbers_of_type);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        hf_grpc_reflect_services(&answer, server);
        break;
    default:
        hf_grpc_reflect_error(&answer, HF_GRPC_INVALID_ARGUMENT, "the request asks for nothing known");
    }
    hf_grpc_send(call, &answer.response.base);
    /* A client that asks and does not read is held by its own window. */
    hf_grpc_pause_while_full(call);
}

static void hf_grpc_reflect_end(struct hf_grpc_call *call, void *context)
{
    (void)context;
    hf_grpc_finish(call, HF_GRPC_OK, NULL);
}

int hf_grpc_server_add_reflection(struct hf_grpc_server *server)
{
    static const struct hf_grpc_method methods[] = {
        {.name = "ServerReflectionInfo",
         .message = hf_grpc_reflect,
         .half_close = hf_grpc_reflect_end,
         .writable = hf_grpc_resume_writable},
    };
    int failed = hf_grpc_server_add_descriptors(server, hf_grpc_reflection_descriptors, hf_grpc_reflection_descriptors_bytes);
    for (unsigned i = 0; i < 2 && !failed; i++) {
        server->reflection_services[i] = (struct hf_grpc_service){.descriptor = &grpc__reflection__v1__server_reflection__descriptor,
                                                                  .name = i ? "grpc.reflection.v1alpha.ServerReflection" : NULL,
                                                                  .methods = methods,
                                                                  .method_count = 1,
                                                                  .context = server};
        failed = hf_grpc_server_add_service(server, &server->reflection_services[i]);
    }
    return failed;
}
