#include "tests/sim/process.h"

#include "server/memory.h"
#include "tests/sim/check.h"
#include "tests/sim/history.h"
#include "tests/sim/memory.h"
#include "tests/sim/network.h"
#include "tests/sim/sim.h"
#include "tests/sim/threads.h"

#include <assert.h>

static struct {
    struct hf_sim_disk *disk;
    struct hf_node *node;
    struct hf_server_options options;
    enum sim_process_state state;
    bool stop_asked, forged;
    uint64_t refuse_memory;
    int code;
    char error[1024];
    uint64_t engine_ns, latest_ns;
} process;

void sim_process_begin(struct hf_sim_disk *disk)
{
    memset(&process, 0, sizeof process);
    process.disk = disk;
}

enum sim_process_state sim_process_state(void)
{
    return process.state;
}

int sim_process_code(void)
{
    return process.code;
}

const char *sim_process_error(void)
{
    return process.error;
}

struct hf_node *sim_process_node(void)
{
    return process.node;
}

bool sim_process_listens(void)
{
    return process.state == SIM_UP;
}

uint64_t sim_process_term(void)
{
    return process.node ? process.node->term : 0;
}

uint64_t sim_process_engine_ns(void)
{
    if (process.state == SIM_UP || process.state == SIM_STOPPING)
        process.engine_ns = hf_engine_time_now(&process.node->time);
    if (process.engine_ns > process.latest_ns)
        process.latest_ns = process.engine_ns;
    return process.engine_ns;
}

uint64_t sim_process_latest_ns(void)
{
    sim_process_engine_ns();
    return process.latest_ns;
}

uint64_t sim_process_disk_next_ns(void)
{
    return hf_sim_disk_next_ns(process.disk);
}

static void *process_main(void *context)
{
    struct hf_node *node = context;
    sim_memory_refuse(process.refuse_memory);
    int code = hf_node_start(node, &process.options, process.error, sizeof process.error);
    sim_memory_refuse(0);
    if (code != 0) {
        sim_note("start refused: %d", code);
        process.code = code;
        process.state = SIM_REFUSED;
        return NULL;
    }
    process.state = SIM_UP;
    sim_history_restarted();
    sim_check_restarted();
    while (!process.stop_asked)
        sim_yield(20000000);
    process.state = SIM_STOPPING;
    code = hf_node_stop(node, process.error, sizeof process.error);
    sim_process_engine_ns();
    sim_note("stopped: %d", code);
    process.code = code;
    process.state = code == 0 ? SIM_STOPPED : SIM_EXITED;
    hf_memory_free(process.node);
    process.node = NULL;
    return NULL;
}

void sim_process_start(const struct hf_server_options *options, const struct hf_node_world *world)
{
    assert(process.state == SIM_DOWN && !process.node);
    process.node = hf_memory_zeroed(sizeof *process.node);
    assert(process.node);
    process.node->world = *world;
    process.node->world.disk = process.disk;
    process.options = *options;
    process.stop_asked = false;
    process.code = 0;
    process.refuse_memory = 0;
    process.error[0] = 0;
    process.state = SIM_STARTING;
    sim_thread_start(process_main, process.node, "main");
}

void sim_process_refuse_memory(uint64_t nth)
{
    process.refuse_memory = nth;
}

void sim_process_forged(bool forged)
{
    process.forged = forged;
}

bool sim_process_is_forged(void)
{
    return process.forged;
}

void sim_process_stop(void)
{
    process.stop_asked = true;
}

void sim_process_exits(int status)
{
    sim_note("exits with %d", status);
    sim_process_engine_ns();
    process.code = status;
    process.state = SIM_EXITED;
}

void sim_process_kill(bool power)
{
    sim_note("%s", power ? "power cut" : "killed");
    sim_process_engine_ns();
    if (power)
        hf_sim_disk_power_cut(process.disk);
    else
        hf_sim_disk_kill(process.disk);
    if (process.state != SIM_REFUSED) /* a start that was refused has left nothing */
        process.state = SIM_EXITED;
    sim_process_bury();
}

void sim_process_bury(void)
{
    bool destroyed = process.state == SIM_REFUSED;
    sim_memory_refuse(0);
    sim_threads_kill();
    sim_network_engine_gone();
    sim_history_process_died();
    if (process.node && !destroyed)
        hf_node_destroy(process.node);
    hf_memory_free(process.node);
    process.node = NULL;
    hf_sim_disk_restart(process.disk);
    process.state = SIM_DOWN;
}

void sim_process_end(void)
{
    if (process.state != SIM_DOWN)
        sim_process_kill(false);
}
