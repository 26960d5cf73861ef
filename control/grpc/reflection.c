/* grpc.reflection v1 and v1alpha, which differ in nothing but the package's name. */
#include "control/grpc/reflection.pb-c.h"
#include "control/grpc/server_p.h"

extern const unsigned char hf_grpc_reflection_descriptors[];
extern const size_t hf_grpc_reflection_descriptors_bytes;

enum { HF_GRPC_REFLECTED_FILES_MAX = 256, HF_GRPC_REFLECTED_NUMBERS_MAX = 256 };

static void hf_grpc_reflect_error(Grpc__Reflection__V1__ServerReflectionResponse *response, Grpc__Reflection__V1__ErrorResponse *error,
                                  enum hf_grpc_code code, const char *message)
{
    grpc__reflection__v1__error_response__init(error);
    error->error_code = (int32_t)code;
    error->error_message = (char *)(uintptr_t)message;
    response->message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    response->error_response = error;
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

static void hf_grpc_reflect_file(struct hf_grpc_call *call, Grpc__Reflection__V1__ServerReflectionResponse *response,
                                 const struct hf_grpc_server *server, const struct hf_grpc_file *file)
{
    ProtobufCBinaryData files[HF_GRPC_REFLECTED_FILES_MAX];
    Grpc__Reflection__V1__FileDescriptorResponse found = GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    Grpc__Reflection__V1__ErrorResponse error;
    if (file) {
        found.n_file_descriptor_proto = hf_grpc_reflect_imports(server->descriptors, file, files);
        found.file_descriptor_proto = files;
        response->message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
        response->file_descriptor_response = &found;
    } else {
        hf_grpc_reflect_error(response, &error, HF_GRPC_NOT_FOUND, "not found");
    }
    hf_grpc_send(call, &response->base);
}

struct hf_grpc_reflected_numbers {
    int32_t numbers[HF_GRPC_REFLECTED_NUMBERS_MAX];
    size_t count;
};

static void hf_grpc_reflect_number(void *context, int32_t number)
{
    struct hf_grpc_reflected_numbers *all = context;
    if (all->count < HF_GRPC_REFLECTED_NUMBERS_MAX)
        all->numbers[all->count++] = number;
}

static void hf_grpc_reflect_extensions(struct hf_grpc_call *call, Grpc__Reflection__V1__ServerReflectionResponse *response,
                                       const struct hf_grpc_server *server, char *type)
{
    struct hf_grpc_reflected_numbers all = {.count = 0};
    Grpc__Reflection__V1__ExtensionNumberResponse numbers = GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;
    Grpc__Reflection__V1__ErrorResponse error;
    hf_grpc_descriptors_extensions(server->descriptors, type, hf_grpc_reflect_number, &all);
    if (all.count > 0 || hf_grpc_descriptors_symbol(server->descriptors, type)) {
        numbers.base_type_name = type;
        numbers.extension_number = all.numbers;
        numbers.n_extension_number = all.count;
        response->message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
        response->all_extension_numbers_response = &numbers;
    } else {
        hf_grpc_reflect_error(response, &error, HF_GRPC_NOT_FOUND, "not found");
    }
    hf_grpc_send(call, &response->base);
}

static void hf_grpc_reflect_services(struct hf_grpc_call *call, Grpc__Reflection__V1__ServerReflectionResponse *response,
                                     const struct hf_grpc_server *server)
{
    Grpc__Reflection__V1__ListServiceResponse list = GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse all[HF_GRPC_SERVICES_MAX], *pointers[HF_GRPC_SERVICES_MAX];
    for (unsigned i = 0; i < server->service_count; i++) {
        grpc__reflection__v1__service_response__init(&all[i]);
        all[i].name = (char *)(uintptr_t)server->service_names[i];
        pointers[i] = &all[i];
    }
    list.service = pointers;
    list.n_service = server->service_count;
    response->message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    response->list_services_response = &list;
    hf_grpc_send(call, &response->base);
}

static void hf_grpc_reflect(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Grpc__Reflection__V1__ServerReflectionRequest *request = (const void *)message;
    const struct hf_grpc_server *server = context;
    Grpc__Reflection__V1__ServerReflectionResponse response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    Grpc__Reflection__V1__ErrorResponse error;
    response.valid_host = request->host;
    response.original_request = (Grpc__Reflection__V1__ServerReflectionRequest *)(uintptr_t)request;
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        hf_grpc_reflect_file(call, &response, server, hf_grpc_descriptors_file(server->descriptors, request->file_by_filename));
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        hf_grpc_reflect_file(call, &response, server, hf_grpc_descriptors_symbol(server->descriptors, request->file_containing_symbol));
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        hf_grpc_reflect_file(call, &response, server,
                             hf_grpc_descriptors_extension(server->descriptors, request->file_containing_extension->containing_type,
                                                           request->file_containing_extension->extension_number));
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        hf_grpc_reflect_extensions(call, &response, server, request->all_extension_numbers_of_type);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        hf_grpc_reflect_services(call, &response, server);
        break;
    default:
        hf_grpc_reflect_error(&response, &error, HF_GRPC_INVALID_ARGUMENT, "the request asks for nothing known");
        hf_grpc_send(call, &response.base);
    }
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
