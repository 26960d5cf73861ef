/* Units per customer and SKU, by window (I6). */
#include "tests/oracle/oracle_p.h"

/* Before the first window only a late settle grants: its units count in the first. */
void hf_model_window_now(const struct hf_m_sku *sku, uint64_t time_ns, uint64_t *start_ms, uint32_t *length_s)
{
    uint64_t now_ms = time_ns / 1000000, length_ms = sku->window_s * 1000ull;
    *length_s = sku->window_s;
    *start_ms = sku->opens_ms;
    if (length_ms == 0)
        *start_ms = 0; /* for ever, whenever the sale opens */
    else if (now_ms >= sku->opens_ms)
        *start_ms += (now_ms - sku->opens_ms) / length_ms * length_ms;
}

static uint32_t window_at(const struct hf_m_limit *limit, uint64_t start_ms, uint32_t length_s)
{
    uint32_t at = 0;
    while (at < limit->count && (limit->window[at].start_ms != start_ms || limit->window[at].length_s != length_s))
        at++;
    return at;
}

const struct hf_m_window *hf_model_limit_window(const struct hf_m_limit *limit, uint64_t start_ms, uint32_t length_s)
{
    uint32_t at = window_at(limit, start_ms, length_s);
    return at < limit->count ? &limit->window[at] : NULL;
}

/* Whether a window of another policy shares time with this one: whether its units count here is not said. */
static bool overlap(const struct hf_m_window *window, uint64_t start_ms, uint32_t length_s)
{
    uint64_t end_ms = length_s ? start_ms + length_s * 1000ull : UINT64_MAX;
    uint64_t window_end_ms = window->length_s ? window->start_ms + window->length_s * 1000ull : UINT64_MAX;
    return window->start_ms < end_ms && start_ms < window_end_ms;
}

void hf_model_view_units(const struct hf_view *view, const struct hf_sku *sku, const struct hf_m_sku *policy, uint64_t customer,
                         int64_t *units, int64_t *loose)
{
    struct hf_key key = hf_model_key_limit(sku, customer);
    const struct hf_m_limit *limit = hf_model_store_at(&view->oracle->store[HF_LIMITS], &key, view->position);
    uint64_t start_ms;
    uint32_t length_s;
    *units = *loose = 0;
    if (!limit)
        return;
    hf_model_window_now(policy, view->time_ns, &start_ms, &length_s);
    *loose = limit->dropped ? INT32_MAX : 0;
    for (uint32_t i = 0; i < limit->count; i++) {
        const struct hf_m_window *window = &limit->window[i];
        bool current = window->start_ms == start_ms && window->length_s == length_s;
        if (current)
            *units = window->units;
        if (current || overlap(window, start_ms, length_s))
            *loose += window->loose + (current ? 0 : window->units);
    }
}

/* Makes room for one more window: those that are over never come again; else one that only another policy could bring back goes. */
static void window_room(struct hf_m_limit *limit, uint64_t now_ms)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < limit->count; i++) {
        const struct hf_m_window *window = &limit->window[i];
        if (window->length_s == 0 || window->start_ms + window->length_s * 1000ull > now_ms)
            limit->window[kept++] = *window;
    }
    limit->dropped |= kept == HF_WINDOWS_MAX;
    limit->count = kept == HF_WINDOWS_MAX ? kept - 1 : kept;
}

static struct hf_m_limit *limit_write(struct hf_oracle *oracle, uint64_t customer, const struct hf_sku *sku)
{
    struct hf_key key = hf_model_key_limit(sku, customer);
    return hf_model_store_write(&oracle->store[HF_LIMITS], &key);
}

/* From here on these units may count or not. */
static void loosen(const struct hf_oracle *oracle, struct hf_m_window *window)
{
    window->loose += window->units;
    window->units = 0;
    window->certain_from = oracle->applying;
}

void hf_model_limit_grant(struct hf_oracle *oracle, uint64_t customer, struct hf_m_line *line, uint64_t time_ns)
{
    struct hf_view view = {oracle, HF_NEWEST, time_ns};
    const struct hf_m_sku *policy = hf_model_view_sku(&view, &line->sku);
    struct hf_m_limit *limit = limit_write(oracle, customer, &line->sku);
    hf_model_window_now(policy, time_ns, &line->start_ms, &line->length_s);
    line->counted = policy->per_customer > 0;
    line->granted = oracle->applying;
    uint32_t at = window_at(limit, line->start_ms, line->length_s);
    if (at == limit->count) {
        window_room(limit, time_ns / 1000000);
        at = limit->count++;
        limit->window[at] = (struct hf_m_window){
            .start_ms = line->start_ms, .length_s = line->length_s, .loose = limit->dropped ? INT32_MAX : 0};
    }
    /* Once units were granted in another window, those of the ones before are not certain to be kept. */
    for (uint32_t i = 0; i < limit->count; i++) {
        if (i == at)
            continue;
        loosen(oracle, &limit->window[i]);
    }
    *(line->counted ? &limit->window[at].units : &limit->window[at].loose) += line->quantity;
}

void hf_model_limit_give_back(struct hf_oracle *oracle, uint64_t customer, const struct hf_m_line *line, uint64_t time_ns)
{
    struct hf_view view = {oracle, HF_NEWEST, time_ns};
    struct hf_m_limit *limit = limit_write(oracle, customer, &line->sku);
    uint32_t at = window_at(limit, line->start_ms, line->length_s), length_s;
    uint64_t start_ms;
    if (at == limit->count)
        return;
    struct hf_m_window *window = &limit->window[at];
    hf_model_window_now(hf_model_view_sku(&view, &line->sku), time_ns, &start_ms, &length_s);
    bool current = start_ms == line->start_ms && length_s == line->length_s;
    if (!line->counted || line->granted < window->certain_from)
        return;
    /* A window that is not the current one is not given back to, nor need its units be kept. */
    window->units -= line->quantity;
    if (!current)
        window->loose += line->quantity;
}

bool hf_model_limit_purge(struct hf_oracle *oracle, uint64_t customer, const struct hf_sku *sku, uint64_t time_ns)
{
    struct hf_view view = {oracle, HF_NEWEST, time_ns};
    const struct hf_m_sku *policy = hf_model_view_sku(&view, sku);
    struct hf_key key = hf_model_key_limit(sku, customer);
    uint64_t start_ms;
    uint32_t length_s, past = 0;
    if (!policy || !hf_model_store_at(&oracle->store[HF_LIMITS], &key, HF_NEWEST))
        return policy != NULL;
    struct hf_m_limit *limit = limit_write(oracle, customer, sku);
    hf_model_window_now(policy, time_ns, &start_ms, &length_s);
    for (uint32_t i = 0; i < limit->count; i++) {
        struct hf_m_window *window = &limit->window[i];
        if (window->start_ms == start_ms && window->length_s == length_s && window->units > 0)
            continue;
        loosen(oracle, window);
        past++;
    }
    return past > 0 || limit->count == 0 || limit->dropped;
}
