#include "server/slow_log.h"

#include "server/log_line.h"

static struct hf_log_line_field micros(const char *key, uint64_t ns)
{
    return hf_field_number(key, ns / 1000);
}

void hf_slow_log_write(void *context, const struct hf_slow_report *report)
{
    struct hf_log_line_field fields[12];
    unsigned count = 0;
    (void)context;
    fields[count++] = hf_field_text("method", report->method);
    fields[count++] = hf_field_text("result", report->result);
    fields[count++] = micros("total_us", report->total_ns);
    fields[count++] = micros("queued_us", report->queued_ns);
    fields[count++] = micros("engine_us", report->engine_ns);
    fields[count++] = micros("durable_us", report->durable_ns);
    fields[count++] = micros("answered_us", report->answered_ns);
    if (report->order)
        fields[count++] = hf_field_text("order", report->order);
    if (report->sku)
        fields[count++] = hf_field_text("sku", report->sku);
    if (report->trace)
        fields[count++] = hf_field_text("trace", report->trace);
    if (report->left)
        fields[count++] = hf_field_bool("left", true);
    if (report->suppressed != 0)
        fields[count++] = hf_field_number("suppressed", report->suppressed);
    hf_log_line_write(HF_LEVEL_WARN, "slow request", fields, count);
}
