/* What a client takes, and the n-th thing of it cannot be had. */
#include "tests/failnth/nth.h"

#include "client/holdfast.h"
#include "tests/client/peer.h"

static struct peer *peer;

static int call(struct hf_client *client)
{
    static _Alignas(8) uint8_t answers[HF_FRAME_ANSWER_BYTES_MAX];
    uint16_t refused;
    for (unsigned shard = 0; shard < 2; shard++) {
        struct hf_batch *batch = hf_client_batch(client, shard);
        assert_non_null(batch);
        assert_non_null(hf_batch_add(batch, HF_LIST_LOCATIONS, 0, 0));
        int code = hf_client_call(client, batch, 10000000000ull, (struct hf_answer *)(void *)answers, sizeof answers, &refused);
        if (code != 0)
            return code;
    }
    return 0;
}

static int use_client(char *sentence, size_t bytes)
{
    struct hf_client_options options = {.server = peer_address(peer), .frames_max = 4, .connect_timeout_ns = 5000000000};
    struct hf_client *client = NULL;
    int code = hf_client_create(NULL, &options, &client, sentence, bytes);
    if (code != 0) {
        assert_null(client);
        return code;
    }
    code = hf_client_connect(client, 10000000000ull, true);
    if (code == 0)
        code = call(client);
    if (code != 0)
        nth_say(sentence, bytes, hf_client_error(client));
    hf_client_destroy(client);
    return code;
}

static int use_loop(char *sentence, size_t bytes)
{
    struct hf_loop *loop = NULL;
    int code = hf_loop_create(&loop);
    nth_say(sentence, bytes, "a loop could not be made");
    if (code == 0)
        (void)hf_loop_poll(loop, 0);
    hf_loop_destroy(loop);
    return code;
}

static void clients_are_refused(void **state)
{
    (void)state;
    nth_for_every("loop", use_loop, FAULTS_TAKING, 0, true);
    nth_for_every("client", use_client, FAULTS_TAKING, 0, true);
}

static int set_up(void **state)
{
    (void)state;
    peer = peer_start(&(struct peer_options){.shards = 2});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    peer_stop(peer);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(clients_are_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
