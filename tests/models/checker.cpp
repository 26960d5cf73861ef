/*
 * Runs the models of ring/ under Relacy (Debian's relacy-dev): the one file that knows it.
 *
 *   ring_models [--iterations N] [--weakened N] [--model NAME]
 *
 * First each model as the code stands, then with each ordering of ring/ weakened alone: acquire or release to relaxed, and acq_rel to each
 * of its halves. A weakened run must fail; one that does not is a missing check or an ordering that nobody needs. Ends with `orderings: n,
 * caught: n`; exit 0 only if the code as it stands fails nowhere and the two figures are equal.
 */
#include <relacy/relacy.hpp>

/* Relacy renames these for the code under test, which here is in other files. */
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno
#undef memory_order_relaxed
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel

#include "tests/models/checker.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ostream>
#include <streambuf>
#include <string>
#include <vector>

extern "C" {
extern struct hf_model_site *const __start_hf_model_sites[];
extern struct hf_model_site *const __stop_hf_model_sites[];
alignas(4096) unsigned char hf_model_arena[HF_MODEL_ARENA_BYTES];
}

namespace
{

enum { CELLS = 128, GRANULE_BYTES = 8, GRANULES = HF_MODEL_ARENA_BYTES / GRANULE_BYTES };

/* Who read and wrote one granule of the arena and when, in Relacy's vector clocks; forgotten at the next iteration. */
struct granule {
    uint64_t iteration = 0;
    rl::var_data_impl<HF_MODEL_THREADS> seen;
};

granule granules[GRANULES];
uint64_t iteration;
const hf_model *model;
uint32_t model_bit;
rl::atomic<uint64_t> *cells;
uint32_t cells_used;
bool running;

struct suite : rl::test_suite<suite, HF_MODEL_THREADS> {
    rl::atomic<uint64_t> atomics[CELLS];

    void before()
    {
        for (auto &atomic : atomics)
            atomic.store(0, rl::mo_relaxed, RL_INFO);
        cells = atomics;
        cells_used = 0;
        iteration++;
        std::memset(hf_model_arena, 0, sizeof hf_model_arena);
        running = true;
        model->setup();
    }

    void thread(unsigned index)
    {
        model->threads[index]();
    }

    void after()
    {
        if (model->finish != nullptr)
            model->finish();
        running = false;
    }
};

[[noreturn]] void fail(const char *what, rl::test_result_e result, const rl::debug_info &info)
{
    running = false;
    rl::ctx().fail_test(what, result, info);
    std::abort(); /* fail_test leaves this fiber for good */
}

rl::atomic<uint64_t> &cell_of(const uint32_t *cell)
{
    if (*cell == 0) {
        if (cells_used + 1 == CELLS)
            fail("more atomics than the checker has cells", rl::test_result_user_assert_failed, RL_INFO);
        *const_cast<uint32_t *>(cell) = ++cells_used;
    }
    return cells[*cell];
}

rl::debug_info place_of(const hf_model_site *site)
{
    return rl::debug_info(site->operation, site->file, site->line);
}

rl::memory_order order_of(hf_model_site *site)
{
    static const rl::memory_order orders[] = {rl::mo_relaxed, rl::mo_acquire, rl::mo_release, rl::mo_acq_rel};
    site->models |= model_bit;
    return orders[site->is_weakened ? site->weakened : site->order];
}

template <bool store> void plain_access(const void *address, size_t bytes)
{
    const unsigned char *at = static_cast<const unsigned char *>(address);
    if (!running || at < hf_model_arena || at >= hf_model_arena + HF_MODEL_ARENA_BYTES || bytes == 0)
        return;
    rl::thread_info_base &thread = *rl::ctx().threadx_;
    size_t first = size_t(at - hf_model_arena) / GRANULE_BYTES, last = size_t(at - hf_model_arena + bytes - 1) / GRANULE_BYTES;
    for (size_t i = first; i <= last; i++) {
        granule &g = granules[i];
        if (g.iteration != iteration) {
            std::fill(g.seen.load_acq_rel_timestamp_, g.seen.load_acq_rel_timestamp_ + HF_MODEL_THREADS, rl::timestamp_t(0));
            std::fill(g.seen.store_acq_rel_timestamp_, g.seen.store_acq_rel_timestamp_ + HF_MODEL_THREADS, rl::timestamp_t(0));
            g.iteration = iteration;
        }
        if (!(store ? g.seen.store(thread) : g.seen.load(thread))) {
            static char what[96];
            std::snprintf(what, sizeof what, "plain %s of arena byte %zu", store ? "write" : "read", i * GRANULE_BYTES);
            fail(what, rl::test_result_data_race, RL_INFO);
        }
    }
}

/* What Relacy says, cut at its size: it replaces operator new while it runs, so that nothing may grow on the way. */
struct text : std::streambuf {
    text(char *begin, size_t bytes)
    {
        setp(begin, begin + bytes);
    }

    int overflow(int c) override
    {
        return c;
    }

    int said() const
    {
        return int(pptr() - pbase());
    }
};

char history[4 << 20];

struct outcome {
    bool failed;
    uint64_t iterations;
    rl::test_result_e result;
    int history_bytes;
};

/* `iterations` random runs or, with 0, all that the model's bound on switches allows. */
outcome run(const hf_model &m, uint32_t bit, uint64_t iterations)
{
    text nothing(nullptr, 0), said(history, sizeof history);
    std::ostream progress(&nothing), output(&said);
    rl::test_params params;
    params.iteration_count = iterations;
    params.output_stream = &output;
    params.progress_stream = &progress;
    params.search_type = iterations != 0 ? rl::sched_random : rl::sched_bound;
    params.context_bound = unsigned(m.switches);
    params.execution_depth_limit = 20000;
    model = &m;
    model_bit = bit;
    bool good = rl::simulate<suite>(params);
    return {!good, params.stop_iteration, params.test_result, said.said()};
}

struct weakening {
    std::string file;
    uint32_t line;
    std::string operation;
    hf_model_order from, to;
    std::vector<hf_model_site *> sites; /* an inline function has one in each file that includes it */
};

const char *name_of(hf_model_order order)
{
    static const char *const names[] = {"relaxed", "acquire", "release", "acq_rel"};
    return names[order];
}

std::string base_name(const char *path)
{
    const char *slash = std::strrchr(path, '/');
    return slash == nullptr ? path : slash + 1;
}

void add_site(std::vector<weakening> &all, hf_model_site *site, hf_model_order to)
{
    std::string file = base_name(site->file);
    for (auto &w : all)
        if (w.file == file && w.line == site->line && w.operation == site->operation && w.to == to) {
            w.sites.push_back(site);
            return;
        }
    all.push_back({file, site->line, site->operation, site->order, to, {site}});
}

std::vector<weakening> all_weakenings()
{
    std::vector<weakening> all;
    for (auto at = __start_hf_model_sites; at != __stop_hf_model_sites; at++) {
        if ((*at)->order == HF_MODEL_ACQ_REL) {
            add_site(all, *at, HF_MODEL_RELEASE);
            add_site(all, *at, HF_MODEL_ACQUIRE);
        } else if ((*at)->order != HF_MODEL_RELAXED) {
            add_site(all, *at, HF_MODEL_RELAXED);
        }
    }
    std::sort(all.begin(), all.end(),
              [](const weakening &a, const weakening &b) { return a.file != b.file ? a.file < b.file : a.line < b.line; });
    return all;
}

std::vector<hf_model> all_models()
{
    std::vector<hf_model> all;
    for (const hf_model *list : {hf_spsc_models, hf_word_models, hf_log_buffer_models})
        for (; list->name != nullptr; list++)
            all.push_back(*list);
    return all;
}

/* Which of the models that come by the site fails with it weakened: a few runs of each, then more. */
bool find_failure(const std::vector<hf_model> &models, uint32_t reached, uint64_t runs_most)
{
    for (uint64_t runs = 20; runs <= runs_most; runs *= 10)
        for (size_t i = 0; i < models.size(); i++) {
            if ((reached & 1u << i) == 0)
                continue;
            outcome o = run(models[i], 1u << i, runs);
            if (!o.failed)
                continue;
            std::printf("caught: \"%s\", run %llu, %s\n", models[i].name, (unsigned long long)o.iterations, rl::test_result_str(o.result));
            return true;
        }
    return false;
}

bool is_caught(const weakening &w, const std::vector<hf_model> &models, uint64_t runs_most)
{
    uint32_t reached = 0;
    for (auto site : w.sites) {
        reached |= site->models;
        site->weakened = w.to;
        site->is_weakened = true;
    }
    std::printf("%s:%u %s %s -> %s: ", w.file.c_str(), w.line, w.operation.c_str(), name_of(w.from), name_of(w.to));
    bool caught = find_failure(models, reached, runs_most);
    if (!caught)
        std::printf("NOT CAUGHT (%s)\n", reached == 0 ? "no model comes here" : "all models that come here pass");
    std::fflush(stdout);
    for (auto site : w.sites)
        site->is_weakened = false;
    return caught;
}

bool report(const hf_model &m, const outcome &o, const char *kind)
{
    if (o.failed)
        std::printf("%.*s\n", o.history_bytes, history);
    std::printf("%s: %llu runs %s: %s\n", m.name, (unsigned long long)o.iterations, kind,
                o.failed ? rl::test_result_str(o.result) : "good");
    std::fflush(stdout);
    return !o.failed;
}

bool model_holds(const hf_model &m, uint32_t bit, uint64_t iterations)
{
    if (!report(m, run(m, bit, iterations), "at random"))
        return false;
    std::string kind = "(all) with at most " + std::to_string(m.switches) + " forced switches";
    return m.switches < 0 || report(m, run(m, bit, 0), kind.c_str());
}

bool models_hold(const std::vector<hf_model> &models, uint64_t iterations, const std::string &only)
{
    bool good = true;
    for (size_t i = 0; i < models.size(); i++) {
        if (!only.empty() && only != models[i].name)
            continue;
        good = model_holds(models[i], 1u << i, iterations) && good;
    }
    return good;
}

} // namespace

/* An assert of ring/ or of a model ends the iteration, not the process. */
extern "C" void __assert_fail(const char *assertion, const char *file, unsigned line, const char *function) noexcept(true)
{
    if (running)
        fail(assertion, rl::test_result_user_assert_failed, rl::debug_info(function, file, line));
    std::fprintf(stderr, "%s:%u: %s: assertion failed: %s\n", file, line, function, assertion);
    std::abort();
}

void hf_model_pause(void)
{
    rl::ctx().yield(1, RL_INFO);
}

uint64_t hf_model_load(const uint32_t *cell, hf_model_site *site)
{
    return cell_of(cell).load(order_of(site), place_of(site));
}

void hf_model_store(uint32_t *cell, uint64_t value, hf_model_site *site)
{
    cell_of(cell).store(value, order_of(site), place_of(site));
}

bool hf_model_cas(uint32_t *cell, uint64_t *expected, uint64_t desired, bool weak, hf_model_site *site)
{
    rl::atomic<uint64_t> &atomic = cell_of(cell);
    uint64_t seen = *expected;
    rl::debug_info place = place_of(site);
    bool done = weak ? atomic.compare_exchange_weak(seen, desired, order_of(site), place, rl::mo_relaxed, place)
                     : atomic.compare_exchange_strong(seen, desired, order_of(site), place, rl::mo_relaxed, place);
    *expected = seen;
    return done;
}

bool hf_model_cas_u32(uint32_t *cell, uint32_t *expected, uint32_t desired, bool weak, hf_model_site *site)
{
    uint64_t seen = *expected;
    bool done = hf_model_cas(cell, &seen, desired, weak, site);
    *expected = uint32_t(seen);
    return done;
}

uint64_t hf_model_add(uint32_t *cell, uint64_t value, hf_model_site *site)
{
    return cell_of(cell).fetch_add(value, order_of(site), place_of(site));
}

uint64_t hf_model_or(uint32_t *cell, uint64_t bits, hf_model_site *site)
{
    return cell_of(cell).fetch_or(bits, order_of(site), place_of(site));
}

uint64_t hf_model_and(uint32_t *cell, uint64_t bits, hf_model_site *site)
{
    return cell_of(cell).fetch_and(bits, order_of(site), place_of(site));
}

void *hf_model_memcpy(void *to, const void *from, size_t bytes)
{
    plain_access<false>(from, bytes);
    plain_access<true>(to, bytes);
    return std::memcpy(to, from, bytes);
}

void *hf_model_memmove(void *to, const void *from, size_t bytes)
{
    plain_access<false>(from, bytes);
    plain_access<true>(to, bytes);
    return std::memmove(to, from, bytes);
}

void *hf_model_memset(void *to, int byte, size_t bytes)
{
    plain_access<true>(to, bytes);
    return std::memset(to, byte, bytes);
}

/* What the compilers' -fsanitize=thread calls at each plain access; no sanitizer's runtime is linked. */
#define HF_MODEL_HOOKS(bytes)                    \
    void __tsan_read##bytes(void *at)            \
    {                                            \
        plain_access<false>(at, bytes);          \
    }                                            \
    void __tsan_write##bytes(void *at)           \
    {                                            \
        plain_access<true>(at, bytes);           \
    }                                            \
    void __tsan_unaligned_read##bytes(void *at)  \
    {                                            \
        plain_access<false>(at, bytes);          \
    }                                            \
    void __tsan_unaligned_write##bytes(void *at) \
    {                                            \
        plain_access<true>(at, bytes);           \
    }

extern "C" {
HF_MODEL_HOOKS(1)
HF_MODEL_HOOKS(2)
HF_MODEL_HOOKS(4)
HF_MODEL_HOOKS(8)
HF_MODEL_HOOKS(16)

void __tsan_init(void)
{
}

void __tsan_func_entry(void *)
{
}

void __tsan_func_exit(void)
{
}

void __tsan_read_range(void *at, size_t bytes)
{
    plain_access<false>(at, bytes);
}

void __tsan_write_range(void *at, size_t bytes)
{
    plain_access<true>(at, bytes);
}

void *__tsan_memcpy(void *to, const void *from, size_t bytes)
{
    return hf_model_memcpy(to, from, bytes);
}

void *__tsan_memmove(void *to, const void *from, size_t bytes)
{
    return hf_model_memmove(to, from, bytes);
}

void *__tsan_memset(void *to, int byte, size_t bytes)
{
    return hf_model_memset(to, byte, bytes);
}
}

int main(int argc, char **argv)
{
    uint64_t iterations = 2000, weakened = 20000;
    std::string only;
    for (int i = 1; i + 1 < argc; i += 2) {
        std::string option = argv[i];
        if (option == "--iterations")
            iterations = std::strtoull(argv[i + 1], nullptr, 10);
        else if (option == "--weakened")
            weakened = std::strtoull(argv[i + 1], nullptr, 10);
        else if (option == "--model")
            only = argv[i + 1];
    }
    std::vector<hf_model> models = all_models();
    if (!models_hold(models, iterations, only))
        return 1;
    if (!only.empty())
        return 0;
    size_t caught = 0;
    std::vector<weakening> weakenings = all_weakenings();
    for (const weakening &w : weakenings)
        caught += is_caught(w, models, weakened);
    std::printf("orderings: %zu, caught: %zu\n", weakenings.size(), caught);
    return caught == weakenings.size() && caught != 0 ? 0 : 1;
}
