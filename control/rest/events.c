/* A followed stream as server-sent events (WHATWG HTML, 9.2): an event's cursor is its id, with which a client that was cut off comes back.
 */
#include <stdlib.h>
#include <string.h>

#include "control/grpc/status.h"
#include "control/rest/rest_p.h"

#include "holdfast/v1/events.pb-c.h"

static void hf_rest_put(struct hf_json_text *text, const char *plain)
{
    hf_json_put(text, plain, strlen(plain));
}

static void hf_rest_put_event(struct hf_json_text *text, const Holdfast__V1__Event *event)
{
    const ProtobufCEnumValue *kind = protobuf_c_enum_descriptor_get_value(&holdfast__v1__event_kind__descriptor, (int)event->kind);
    hf_rest_put(text, "id: ");
    hf_rest_put(text, event->cursor);
    hf_rest_put(text, "\nevent: ");
    hf_rest_put(text, kind ? kind->name : "EVENT_KIND_UNSPECIFIED");
    /* JSON as it is written here has no line ends. */
    hf_rest_put(text, "\ndata: ");
    hf_json_write(text, &event->base);
    hf_rest_put(text, "\n\n");
}

static int hf_rest_stream_begin(struct hf_rest_exchange *exchange)
{
    static const struct hf_http_field fields[] = {
        {"content-type", "text/event-stream"}, {"cache-control", "no-store"}, {"x-content-type-options", "nosniff"}};
    int failed = hf_http_begin_answer(exchange->request, 200, fields, sizeof fields / sizeof fields[0]);
    exchange->streaming = exchange->answered = failed == 0;
    return failed;
}

int hf_rest_stream(struct hf_rest_exchange *exchange, const ProtobufCMessage *message)
{
    const Holdfast__V1__FollowResponse *response = (const Holdfast__V1__FollowResponse *)(const void *)message;
    struct hf_json_text text = {0};
    int failed = exchange->streaming ? 0 : hf_rest_stream_begin(exchange);
    if (failed)
        return failed;
    for (size_t i = 0; i < response->n_events; i++)
        hf_rest_put_event(&text, response->events[i]);
    /* Where following stands when nothing of it was to be told. */
    if (response->n_events == 0 || strcmp(response->events[response->n_events - 1]->cursor, response->cursor) != 0) {
        hf_rest_put(&text, "id: ");
        hf_rest_put(&text, response->cursor);
        hf_rest_put(&text, "\n\n");
    }
    failed = text.failed ? HF_GRPC_E_MEMORY : hf_http_write(exchange->request, text.bytes, text.count);
    free(text.bytes);
    return failed;
}

void hf_rest_stream_end(struct hf_rest_exchange *exchange, const struct hf_grpc_status *status)
{
    struct hf_json_text text = {0};
    hf_rest_put(&text, "event: error\ndata: {\"code\":");
    hf_json_put_string(&text, hf_grpc_code_name(status->code));
    hf_rest_put(&text, ",\"detail\":");
    hf_json_put_string(&text, status->message ? status->message : "");
    hf_rest_put(&text, "}\n\n");
    hf_http_end_with(exchange->request, text.bytes, text.failed ? 0 : text.count);
    free(text.bytes);
}
