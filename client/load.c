#include "client/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "client/load_acked.h"
#include "client/load_source.h"

/* What is to be done to an order that was granted. */
struct verb {
    struct hf_id order;
    int64_t amount;
    uint32_t intent;
    uint16_t opcode;
};

/* What a frame's answers need to know; given back when the frame is answered. */
struct frame {
    struct connection *connection;
    struct frame *next;
    struct hf_batch *batch;
    uint64_t first_ns; /* when its first command was ready */
    uint32_t places;
    uint64_t intended_ns[]; /* of each place, in their order */
};

struct connection {
    struct load *load;
    struct hf_client *client;
    bool ready; /* it was welcomed once: ids and shards are known */
    unsigned inflight;
    struct frame *free;
    struct frame *open[HF_CLIENT_SHARDS_MAX];
    unsigned shards;
    struct verb *verbs; /* a ring of verbs_room */
    uint64_t verb_first, verb_next;
};

struct load {
    const struct hf_load_options *options;
    struct hf_load_report *report;
    struct hf_loop *loop;
    struct hf_load_source source;
    struct hf_random random; /* which orders are settled or cancelled */
    struct hf_acked acked;
    struct connection *connections;
    uint8_t *frames;
    size_t frame_bytes;
    unsigned turn; /* the connection that gets the next order */
    uint64_t verbs_room, total;
    uint64_t start_ns, last_answer_ns, last_heard_ns, places_inflight;
    uint64_t frames_inflight, waiting_ns; /* since when the oldest silence lasts, while frames are in flight */
    bool blocked;                         /* an order is due and no connection has a frame for it */
};

static const uint64_t connect_ns = 3000000000, settle_down_ns = 2000000000, gone_ns = 10000000000, patience_default_ns = 30000000000;
static const uint64_t no_deadline_ns = 86400000000000;
static const char payment_reference[] = "load";

/* ---- set-up ---- */

static unsigned frames_each(const struct hf_load_options *options)
{
    unsigned frames = options->inflight + HF_CLIENT_SHARDS_MAX;
    return frames < 65535 ? frames : 65535;
}

/* A frame for `batch` of the largest orders, within what the protocol allows. */
static uint32_t frame_bytes(const struct hf_load_options *options)
{
    uint64_t lines = options->trace ? HF_LINES_MAX : options->lines;
    uint64_t bytes = sizeof(struct hf_frame) + options->batch * (sizeof(struct hf_command) + lines * sizeof(struct hf_line));
    return bytes < HF_FRAME_BYTES_MAX ? (uint32_t)bytes : HF_FRAME_BYTES_MAX;
}

static int open_connection(struct load *load, unsigned index)
{
    const struct hf_load_options *options = load->options;
    struct connection *connection = &load->connections[index];
    unsigned frames = frames_each(options);
    struct hf_client_options client = {.server = options->server,
                                       .frames_max = frames,
                                       .frame_bytes_max = frame_bytes(options),
                                       .deadline_ns = no_deadline_ns,
                                       .first_number = options->first_number};
    connection->load = load;
    for (unsigned i = 0; i < frames; i++) {
        struct frame *frame = (struct frame *)(void *)(load->frames + ((size_t)index * frames + i) * load->frame_bytes);
        frame->connection = connection;
        frame->next = connection->free;
        connection->free = frame;
    }
    if (options->settle_percent > 0 || options->cancel_percent > 0) {
        connection->verbs = calloc(load->verbs_room, sizeof *connection->verbs);
        if (!connection->verbs)
            return HF_E_MEMORY;
    }
    return hf_client_create(load->loop, &client, &connection->client, load->report->error, sizeof load->report->error);
}

static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int open_load(struct load *load)
{
    const struct hf_load_options *options = load->options;
    raise_descriptors();
    /* The default slack of 50 us would make every sleep between sends late by as much. */
    prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul);
    hf_load_source_init(&load->source, options);
    load->random.state = options->seed ^ 0x5eedull;
    load->total = hf_load_source_total(&load->source);
    load->frame_bytes = (sizeof(struct frame) + options->batch * sizeof(uint64_t) + 63) & ~(size_t)63;
    load->verbs_room = 2ull * (options->inflight + 1) * options->batch;
    if (hf_acked_open(&load->acked, options->acked_path) != 0) {
        snprintf(load->report->error, sizeof load->report->error, "%s cannot be written: %s", options->acked_path, strerror(errno));
        return HF_E_USAGE;
    }
    load->connections = calloc(options->connections, sizeof *load->connections);
    load->frames = calloc((size_t)options->connections * frames_each(options), load->frame_bytes);
    if (!load->connections || !load->frames || hf_loop_create(&load->loop) != 0) {
        snprintf(load->report->error, sizeof load->report->error, "no memory for %u connections", options->connections);
        return HF_E_MEMORY;
    }
    for (unsigned i = 0; i < options->connections; i++) {
        int failed = open_connection(load, i);
        if (failed)
            return failed;
    }
    return 0;
}

static void close_load(struct load *load)
{
    for (unsigned i = 0; load->connections && i < load->options->connections; i++) {
        hf_client_destroy(load->connections[i].client);
        free(load->connections[i].verbs);
    }
    hf_acked_close(&load->acked);
    if (load->loop)
        hf_loop_destroy(load->loop);
    free(load->connections);
    free(load->frames);
}

/* ---- answers ---- */

static void want_verb(struct connection *connection, const struct verb *verb)
{
    struct load *load = connection->load;
    if (!connection->verbs || connection->verb_next - connection->verb_first == load->verbs_room) {
        load->report->verbs_dropped++;
        return;
    }
    connection->verbs[connection->verb_next++ % load->verbs_room] = *verb;
}

static int64_t order_amount(const struct hf_command *command)
{
    const struct hf_line *line = hf_command_lines(command);
    int64_t amount = 0;
    for (unsigned i = 0; i < command->line_count; i++)
        amount += (int64_t)(line[i].price * line[i].quantity);
    return amount;
}

/* Draws what becomes of a granted order. */
static void granted(struct connection *connection, const struct hf_command *command)
{
    struct load *load = connection->load;
    const struct hf_load_options *options = load->options;
    if (!connection->verbs)
        return;
    double drawn = hf_random_unit(&load->random) * 100;
    if (drawn < options->settle_percent)
        want_verb(connection, &(struct verb){.order = command->id, .amount = order_amount(command), .opcode = HF_SETTLE});
    else if (drawn < options->settle_percent + options->cancel_percent)
        want_verb(connection, &(struct verb){.order = command->id, .opcode = HF_CANCEL});
}

static void count_place(struct load *load, unsigned result, uint64_t times)
{
    struct hf_load_report *report = load->report;
    report->answered += times;
    load->places_inflight -= times;
    if (result == HF_OK)
        report->granted += times;
    else if (result == HF_SHORT)
        report->shorted += times;
    else if (result == HF_BUSY || result == HF_NO_SPACE || result == HF_DRAINING || result == HF_FULL)
        report->busy += times;
    if (result != HF_OK && result != HF_SHORT)
        report->refused[result < HF_RESULT_COUNT ? result : HF_RESULT_COUNT - 1] += times;
}

static struct hf_load_verbs *verb_counts(struct hf_load_report *report, unsigned opcode, const char **name)
{
    switch (opcode) {
    case HF_SETTLE:
        *name = "settle";
        return &report->settle;
    case HF_PAYMENT_RESULT:
        *name = "result";
        return &report->result;
    case HF_SHIP:
        *name = "ship";
        return &report->ship;
    default:
        *name = "cancel";
        return &report->cancel;
    }
}

static void on_verb(struct connection *connection, const struct hf_command *command, unsigned result, const struct hf_answer *answer)
{
    const char *name;
    struct hf_load_verbs *counts = verb_counts(connection->load->report, command->opcode, &name);
    struct hf_id order = command->body.verb.order;
    hf_acked_add(&connection->load->acked, order, name, hf_result_name(result));
    if (result != HF_OK) {
        counts->refused++;
        return;
    }
    counts->ok++;
    if (command->opcode == HF_SETTLE && answer)
        want_verb(connection,
                  &(struct verb){
                      .order = order, .amount = command->body.verb.amount, .intent = (uint32_t)answer->value, .opcode = HF_PAYMENT_RESULT});
    else if (command->opcode == HF_PAYMENT_RESULT)
        want_verb(connection, &(struct verb){.order = order, .opcode = HF_SHIP});
}

static void count_latency(struct load *load, const struct frame *frame, uint32_t place, bool ok, uint64_t now_ns)
{
    struct hf_load_report *report = load->report;
    if (now_ns < load->start_ns + load->options->warmup_ns)
        return;
    uint64_t intended_ns = frame->intended_ns[place], response_ns = now_ns > intended_ns ? now_ns - intended_ns : 0;
    hf_histogram_add(&report->response, response_ns, 1);
    if (ok)
        hf_histogram_add(&report->granted_response, response_ns, 1);
}

/* Commands and answers side by side; a frame refused as a whole has one result for all. */
static void read_answers(struct connection *connection, const struct frame *frame, const struct hf_reply *reply)
{
    struct load *load = connection->load;
    const struct hf_command *command = reply->commands;
    const struct hf_answer *answer = reply->refused ? NULL : reply->answers;
    uint32_t place = 0;
    for (unsigned i = 0; i < reply->count; i++) {
        unsigned result = answer ? answer->result : reply->refused;
        if (command->opcode == HF_PLACE) {
            count_place(load, result, 1);
            count_latency(load, frame, place++, result == HF_OK, reply->answered_ns);
            hf_acked_add(&load->acked, command->id, NULL, hf_result_name(result));
            load->report->repeated += answer && (answer->flags & HF_ANSWER_REPEATED) != 0;
            if (result == HF_OK)
                granted(connection, command);
        } else {
            on_verb(connection, command, result, answer);
        }
        command = hf_command_next(command);
        answer = answer ? hf_answer_next(answer) : NULL;
    }
    if (reply->answered_ns >= load->start_ns + load->options->warmup_ns && place > 0)
        hf_histogram_add(&load->report->service, reply->answered_ns - reply->submitted_ns, place);
}

static void frame_done(void *context, const struct hf_reply *reply)
{
    struct frame *frame = context;
    struct connection *connection = frame->connection;
    connection->inflight--;
    connection->load->frames_inflight--;
    if (!reply->error) {
        connection->load->last_answer_ns = connection->load->waiting_ns = reply->answered_ns;
        read_answers(connection, frame, reply);
    }
    frame->next = connection->free;
    connection->free = frame;
}

/* ---- offers ---- */

static void send_frame(struct connection *connection, unsigned shard)
{
    struct frame *frame = connection->open[shard];
    connection->open[shard] = NULL;
    connection->inflight++;
    if (connection->load->frames_inflight++ == 0)
        connection->load->waiting_ns = hf_loop_now_ns(connection->load->loop);
    connection->load->report->frames++;
    hf_client_submit(connection->client, frame->batch, 0, frame_done, frame);
}

/* The frame being filled for the shard. A connection with room for one in flight always has one: there are as many more as shards. */
static struct frame *open_frame(struct connection *connection, unsigned shard, uint64_t now_ns)
{
    struct frame *frame = connection->open[shard];
    if (frame)
        return frame;
    frame = connection->free;
    assert(frame);
    connection->free = frame->next;
    frame->batch = hf_client_batch(connection->client, shard);
    assert(frame->batch);
    frame->first_ns = now_ns;
    frame->places = 0;
    connection->open[shard] = frame;
    connection->shards = shard >= connection->shards ? shard + 1 : connection->shards;
    return frame;
}

/* Room for a command, in a fresh frame when the one being filled is full. */
static struct hf_command *add_command(struct connection *connection, unsigned shard, uint64_t now_ns, uint16_t opcode, uint16_t lines,
                                      uint16_t ext_bytes)
{
    struct frame *frame = open_frame(connection, shard, now_ns);
    struct hf_command *command = hf_batch_add(frame->batch, opcode, lines, ext_bytes);
    if (command)
        return command;
    send_frame(connection, shard);
    frame = open_frame(connection, shard, now_ns);
    command = hf_batch_add(frame->batch, opcode, lines, ext_bytes);
    assert(command);
    return command;
}

static void send_if_full(struct connection *connection, unsigned shard)
{
    if (hf_batch_count(connection->open[shard]->batch) >= connection->load->options->batch)
        send_frame(connection, shard);
}

static void add_order(struct load *load, struct connection *connection, uint64_t intended_ns, uint64_t now_ns)
{
    struct hf_load_order order;
    hf_load_source_next(&load->source, &order);
    uint16_t route = hf_route(&order.lines[0].sku);
    unsigned shard = hf_client_shard(connection->client, route);
    size_t bytes = sizeof(struct hf_frame) + sizeof(struct hf_command) + order.line_count * sizeof(struct hf_line);
    if (bytes > hf_client_frame_bytes_max(connection->client)) {
        load->report->orders++;
        load->places_inflight++;
        count_place(load, HF_TOO_LARGE, 1);
        return;
    }
    struct hf_command *command = add_command(connection, shard, now_ns, HF_PLACE, order.line_count, 0);
    command->id = hf_client_id(connection->client, route);
    command->arg = load->options->ttl_ms;
    command->body.place.customer = order.customer;
    command->body.place.channel = HF_CHANNEL_WEB;
    memcpy(hf_command_lines_rw(command), order.lines, order.line_count * sizeof(struct hf_line));
    struct frame *frame = connection->open[shard];
    frame->intended_ns[frame->places++] = intended_ns;
    load->report->orders++;
    load->places_inflight++;
    send_if_full(connection, shard);
}

static void add_verb(struct load *load, struct connection *connection, uint64_t now_ns)
{
    const struct verb *verb = &connection->verbs[connection->verb_first++ % load->verbs_room];
    uint16_t route = hf_id_route(verb->order), opcode = verb->opcode;
    unsigned shard = hf_client_shard(connection->client, route);
    const char *name;
    uint16_t ext_bytes = opcode == HF_SETTLE ? hf_extension_bytes(sizeof payment_reference - 1) : 0;
    struct hf_command *command = add_command(connection, shard, now_ns, opcode, 0, ext_bytes);
    command->id = hf_client_id(connection->client, route);
    command->body.verb.order = verb->order;
    if (opcode == HF_SETTLE || opcode == HF_PAYMENT_RESULT) {
        command->body.verb.amount = verb->amount;
        memcpy(command->body.verb.currency, "EUR", 3);
    }
    if (opcode == HF_SETTLE)
        hf_extension_put(hf_command_extensions_rw(command), HF_EXT_PAYMENT_REFERENCE, payment_reference, sizeof payment_reference - 1);
    if (opcode == HF_PAYMENT_RESULT) {
        command->arg = verb->intent;
        command->body.verb.status = HF_STATUS_CAPTURED;
    }
    verb_counts(load->report, opcode, &name)->sent++;
    send_if_full(connection, shard);
}

static bool has_room(const struct load *load, const struct connection *connection)
{
    return connection->ready && connection->inflight < load->options->inflight;
}

static void offer_verbs(struct load *load, uint64_t now_ns)
{
    for (unsigned i = 0; i < load->options->connections; i++) {
        struct connection *connection = &load->connections[i];
        while (connection->verb_first < connection->verb_next && has_room(load, connection))
            add_verb(load, connection, now_ns);
    }
}

/* The connection for the next order: the one whose frame is being filled, else the next with room. */
static struct connection *pick_connection(struct load *load)
{
    for (unsigned i = 0; i < load->options->connections; i++) {
        struct connection *connection = &load->connections[load->turn];
        if (has_room(load, connection))
            return connection;
        load->turn = load->turn + 1 == load->options->connections ? 0 : load->turn + 1;
    }
    return NULL;
}

static void offer_orders(struct load *load, uint64_t now_ns)
{
    bool closed = load->options->has_rate && load->options->rate <= 0;
    load->blocked = false;
    while (load->source.made < load->total) {
        uint64_t due_ns = closed ? now_ns : load->start_ns + hf_load_source_due_ns(&load->source, load->source.made);
        if (due_ns > now_ns)
            return;
        struct connection *connection = pick_connection(load);
        if (!connection) {
            load->blocked = true;
            return;
        }
        unsigned before = connection->inflight;
        add_order(load, connection, due_ns, now_ns);
        if (connection->inflight != before)
            load->turn = load->turn + 1 == load->options->connections ? 0 : load->turn + 1;
    }
}

/* Sends frames that are not full: when nothing more is coming, or when the oldest command in them has waited long enough. */
static uint64_t send_partial(struct load *load, uint64_t now_ns, uint64_t next_due_ns, bool all)
{
    uint64_t wake_ns = UINT64_MAX;
    for (unsigned i = 0; i < load->options->connections; i++) {
        struct connection *connection = &load->connections[i];
        for (unsigned shard = 0; shard < connection->shards; shard++) {
            if (!connection->open[shard] || !has_room(load, connection))
                continue;
            uint64_t ends_ns = connection->open[shard]->first_ns + load->options->linger_ns;
            if (all || now_ns >= ends_ns || next_due_ns > ends_ns)
                send_frame(connection, shard);
            else
                wake_ns = ends_ns < wake_ns ? ends_ns : wake_ns;
        }
    }
    return wake_ns;
}

/* Offers what is due and says how long there is nothing more to do. */
static uint64_t offer(struct load *load, uint64_t now_ns, bool stopping)
{
    const uint64_t idle_ns = 5000000, least_ns = 20000;
    bool closed = load->options->has_rate && load->options->rate <= 0;
    offer_verbs(load, now_ns);
    if (!stopping)
        offer_orders(load, now_ns);
    bool over = stopping || load->source.made >= load->total;
    uint64_t due_ns = over || closed ? UINT64_MAX : load->start_ns + hf_load_source_due_ns(&load->source, load->source.made);
    uint64_t wake_ns = closed && !over ? UINT64_MAX : send_partial(load, now_ns, due_ns, over);
    /* At a rate the wait is for the order that fills a frame, not for each. */
    if (due_ns != UINT64_MAX && !load->blocked && wake_ns == UINT64_MAX)
        wake_ns = due_ns;
    if (wake_ns == UINT64_MAX || wake_ns > now_ns + idle_ns)
        return idle_ns;
    return wake_ns > now_ns + least_ns ? wake_ns - now_ns : least_ns;
}

/* ---- the run ---- */

/* Looks which connections have been welcomed; returns how many are open now. */
static unsigned look_at_connections(struct load *load)
{
    unsigned open = 0;
    for (unsigned i = 0; i < load->options->connections; i++) {
        struct hf_client_status status;
        struct connection *connection = &load->connections[i];
        hf_client_status(connection->client, &status);
        connection->ready = connection->ready || status.ever_connected;
        open += status.connected;
    }
    if (open > 0)
        load->last_heard_ns = hf_loop_now_ns(load->loop);
    return open;
}

static bool told_to_stop(const struct load *load)
{
    return load->options->stop && *load->options->stop;
}

/* Waits until all are connected, or some within a while; false when none is. */
static bool wait_for_connections(struct load *load)
{
    uint64_t begin_ns = hf_loop_now_ns(load->loop);
    for (;;) {
        unsigned open = look_at_connections(load);
        if (open == load->options->connections)
            return true;
        if (hf_loop_now_ns(load->loop) - begin_ns > connect_ns || told_to_stop(load))
            return open > 0;
        if (hf_loop_poll(load->loop, 10000000) < 0)
            return false;
    }
}

/* Connected, and yet nothing comes: an engine that stands still would otherwise be waited for without end. */
static bool fell_silent(struct load *load, uint64_t now_ns)
{
    uint64_t patience_ns = load->options->patience_ns ? load->options->patience_ns : patience_default_ns;
    load->report->silent = load->report->silent || (load->frames_inflight > 0 && now_ns - load->waiting_ns > patience_ns);
    return load->report->silent;
}

static bool has_work(const struct load *load)
{
    for (unsigned i = 0; i < load->options->connections; i++) {
        const struct connection *connection = &load->connections[i];
        if (connection->inflight > 0 || connection->verb_first < connection->verb_next)
            return true;
    }
    return false;
}

static void run(struct load *load)
{
    const struct hf_load_options *options = load->options;
    uint64_t stop_at_ns = options->seconds > 0 ? load->start_ns + (uint64_t)(options->seconds * 1e9) : UINT64_MAX;
    uint64_t look_at_ns = 0, give_up_ns = UINT64_MAX;
    for (;;) {
        uint64_t now_ns = hf_loop_now_ns(load->loop);
        bool stopping = now_ns >= stop_at_ns || told_to_stop(load) || fell_silent(load, now_ns) ||
                        (now_ns - load->last_heard_ns > gone_ns && now_ns - load->last_answer_ns > gone_ns);
        if (now_ns >= look_at_ns) {
            look_at_connections(load);
            look_at_ns = now_ns + 10000000;
        }
        uint64_t wait_ns = offer(load, now_ns, stopping);
        if (stopping || load->source.made >= load->total) {
            if (stopping && give_up_ns == UINT64_MAX)
                give_up_ns = now_ns + settle_down_ns;
            if (!has_work(load) || now_ns >= give_up_ns)
                return;
        }
        int served = hf_loop_poll(load->loop, wait_ns);
        hf_acked_flush(&load->acked);
        if (served < 0)
            return;
    }
}

/* Orders that were due by the end and never sent. */
static uint64_t count_unsent(const struct load *load, uint64_t end_ns)
{
    const struct hf_load_options *options = load->options;
    uint64_t number = load->source.made, stop_ns = (uint64_t)(options->seconds * 1e9), spent_ns = end_ns - load->start_ns;
    if (options->has_rate && options->rate <= 0)
        return 0;
    uint64_t until_ns = options->seconds > 0 && stop_ns < spent_ns ? stop_ns : spent_ns;
    if (options->has_rate) {
        uint64_t due = (uint64_t)((double)until_ns / 1e9 * options->rate);
        due = due < load->total ? due : load->total;
        return due > number ? due - number : 0;
    }
    while (number < load->total && hf_load_source_due_ns(&load->source, number) < until_ns)
        number++;
    return number - load->source.made;
}

static void sum_up(struct load *load)
{
    struct hf_load_report *report = load->report;
    uint64_t end_ns = hf_loop_now_ns(load->loop);
    report->unsent = count_unsent(load, end_ns);
    report->unanswered = load->places_inflight;
    uint64_t until_ns = load->last_answer_ns > load->start_ns ? load->last_answer_ns : end_ns;
    report->seconds = (double)(until_ns - load->start_ns) / 1e9;
    for (unsigned i = 0; i < load->options->connections; i++) {
        struct hf_client_status status;
        hf_client_status(load->connections[i].client, &status);
        report->connected = report->connected || status.ever_connected;
        report->connections_made += status.connections;
        report->sessions_resumed += status.sessions_resumed;
        report->sessions_replaced += status.sessions_replaced;
        report->frames_resent += status.frames_resent;
        report->errors += status.disconnections + status.protocol_errors;
        const char *error = hf_client_error(load->connections[i].client);
        if (*error)
            snprintf(report->error, sizeof report->error, "%s", error);
    }
    if (!report->connected && !*report->error)
        snprintf(report->error, sizeof report->error, "%s does not answer", load->options->server);
    if (report->silent)
        snprintf(report->error, sizeof report->error, "%s has not answered for %g s", load->options->server,
                 (double)(load->options->patience_ns ? load->options->patience_ns : patience_default_ns) / 1e9);
    if (load->acked.failed) {
        report->errors++;
        snprintf(report->error, sizeof report->error, "%s cannot be written any more", load->options->acked_path);
    }
}

int hf_load_run(const struct hf_load_options *options, struct hf_load_report *report)
{
    struct load *load = calloc(1, sizeof *load);
    memset(report, 0, sizeof *report);
    if (!load)
        return HF_E_MEMORY;
    load->options = options;
    load->report = report;
    load->acked.fd = -1;
    int failed = open_load(load);
    if (!failed) {
        bool connected = wait_for_connections(load);
        load->start_ns = load->last_answer_ns = load->last_heard_ns = hf_loop_now_ns(load->loop);
        if (connected)
            run(load);
        hf_acked_flush(&load->acked);
        sum_up(load);
    }
    close_load(load);
    free(load);
    return failed;
}
