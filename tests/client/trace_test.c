/* Files that people make: traces, good and bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/trace.h"

static const char header[] = "time,order,customer,store,sku,quantity,price\n";

static int read_text(const char *head, const char *text, struct hf_trace *trace, char *error)
{
    const char *folder = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/holdfast-trace-XXXXXX", folder ? folder : "/tmp");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, head, strlen(head)), strlen(head));
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    int failed = hf_trace_read(path, trace, error);
    unlink(path);
    return failed;
}

static void a_trace_is_read_into_orders_and_lines(void **state)
{
    (void)state;
    struct hf_trace trace;
    char error[HF_CSV_ERROR_BYTES];
    assert_int_equal(read_text(header, "1000,a,7,3,apple,2,199\r\n1000,a,7,4,pear,1,50\n\n1250,b,8,3,apple,1,199", &trace, error), 0);
    assert_int_equal(trace.order_count, 2);
    assert_int_equal(trace.line_count, 3);
    assert_int_equal(trace.orders[0].line_count, 2);
    assert_int_equal(trace.orders[0].time_ms, 0);
    assert_int_equal(trace.orders[1].time_ms, 250);
    assert_int_equal(trace.orders[1].customer, 8);
    assert_int_equal(trace.lines[1].location, 4);
    assert_int_equal(trace.lines[0].quantity, 2);
    assert_int_equal(trace.lines[0].price, 199);
    assert_memory_equal(&trace.lines[1].sku, "pear\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    assert_int_equal(trace.length_ms, 250);
    hf_trace_free(&trace);
}

static void a_bad_line_is_named_by_its_number(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line, *sentence;
    } cases[] = {
        {"1,a,7,3,apple,2\n", ":2:", "6 fields where 7 are expected"},
        {"1,a,7,3,apple,2,199,9\n", ":2:", "8 fields"},
        {"1,a,7,3,apple,2,199\n1,b,7,0,apple,2,199\n", ":3:", "store '0'"},
        {"x,a,7,3,apple,2,199\n", ":2:", "time 'x'"},
        {"1,a,-7,3,apple,2,199\n", ":2:", "customer '-7'"},
        {"1,a,99999999999999999999,3,apple,2,199\n", ":2:", "customer"},
        {"1,a,7,3,,2,199\n", ":2:", "a sku has 1 to 16 bytes"},
        {"1,a,7,3,12345678901234567,2,199\n", ":2:", "a sku has 1 to 16 bytes"},
        {"1,a,7,3,apple,0,199\n", ":2:", "quantity '0'"},
        {"1,a,7,3,apple,2147483648,199\n", ":2:", "quantity"},
        {"1,a,7,3,apple,1,1.99\n", ":2:", "price '1.99'"},
        {"1,,7,3,apple,1,199\n", ":2:", "no name"},
        {"1,a,7,3,apple,1,1\n1,b,7,3,apple,1,1\n1,a,7,3,pear,1,1\n", ":4:", "must be adjacent"},
        {"1,a,7,3,apple,1,1\n1,a,8,3,pear,1,1\n", ":3:", "two customers"},
        {"", ":1:", "no order"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hf_trace trace;
        char error[HF_CSV_ERROR_BYTES] = "";
        assert_int_equal(read_text(header, cases[i].text, &trace, error), HF_E_USAGE);
        assert_non_null(strstr(error, cases[i].line));
        assert_non_null(strstr(error, cases[i].sentence));
    }
}

static void another_header_is_refused(void **state)
{
    (void)state;
    static const char *const heads[] = {"", "time,order\n", "Time,order,customer,store,sku,quantity,price\n", "1,a,7,3,apple,2,199\n"};
    for (unsigned i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct hf_trace trace;
        char error[HF_CSV_ERROR_BYTES] = "";
        assert_int_equal(read_text(heads[i], "", &trace, error), HF_E_USAGE);
        assert_non_null(strstr(error, "header must be exactly 'time,order,customer,store,sku,quantity,price'"));
    }
}

static void a_missing_file_is_an_io_error(void **state)
{
    (void)state;
    struct hf_trace trace;
    char error[HF_CSV_ERROR_BYTES] = "";
    assert_int_equal(hf_trace_read("/nonexistent/trace.csv", &trace, error), HF_E_IO);
    assert_non_null(strstr(error, "cannot be read"));
}

static void an_order_has_at_most_256_lines(void **state)
{
    (void)state;
    struct hf_trace trace;
    char *text = calloc(257, 64), error[HF_CSV_ERROR_BYTES] = "";
    for (int i = 0; i < 256; i++)
        snprintf(text + strlen(text), 64, "1,a,7,3,sku%d,1,1\n", i);
    assert_int_equal(read_text(header, text, &trace, error), 0);
    assert_int_equal(trace.orders[0].line_count, 256);
    hf_trace_free(&trace);
    snprintf(text + strlen(text), 64, "1,a,7,3,more,1,1\n");
    assert_int_equal(read_text(header, text, &trace, error), HF_E_USAGE);
    assert_non_null(strstr(error, ":258: an order has at most 256 lines"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trace_is_read_into_orders_and_lines),
        cmocka_unit_test(a_bad_line_is_named_by_its_number),
        cmocka_unit_test(another_header_is_refused),
        cmocka_unit_test(a_missing_file_is_an_io_error),
        cmocka_unit_test(an_order_has_at_most_256_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
