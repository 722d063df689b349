//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "lib/curve.h"
#include "lib/options.h"
#include "lib/log.h"

#include <signal.h>

static about_t about = {.name = "program",
                        .purpose = "does what it does.",
                        .example = "  build/room/program --count 1"};

//  One option of each kind, with its default
static struct {
    const char *bind, *connect, *text, *none, *choice;
    int count, port;
    double delay;
    option_list_t topics, endpoints, others;
    bool flag;
    option_range_t skip;
    uint64_t from, seq, seed;
} v;

static const option_t options[] = {
    OPTION_BIND ("bind", &v.bind, "where to listen"),
    OPTION_CONNECT ("connect", &v.connect, "where to connect"),
    OPTION_TEXT ("text", &v.text, "what to say"),
    OPTION_TEXT ("none", &v.none, "has no default"),
    OPTION_CHOICE ("choice", &v.choice, "v0.26|v0.24|v0.9", "as which vLLM to speak"),
    OPTION_INT ("count", &v.count, 0, INT_MAX, "how many"),
    OPTION_INT ("port", &v.port, 1, 65535, "which one"),
    OPTION_UINT64 ("seed", &v.seed, "what to begin with"),
    OPTION_SECONDS ("delay", &v.delay, 0, 3600, "how long"),
    OPTION_LIST ("topic", &v.topics, "what messages begin with"),
    OPTION_RANGE ("skip", &v.skip, "which to miss"),
    OPTION_FROM ("from", &v.from, "where to start"),
    OPTION_FROM ("seq", &v.seq, "where to start, too"),
    OPTION_FLAG ("flag", &v.flag, "do it"),
    OPTION_ENDPOINTS ("endpoints", &v.endpoints, "where they are"),
    OPTION_ENDPOINTS ("others", &v.others, "where the others are"),
    OPTION_END,
};

//  What options_parse printed in the last call of s_parse
static char *out_text, *err_text;

static void s_forget (void)
{
    free (out_text);
    free (err_text);
    out_text = err_text = NULL;
}

static int s_setup (void **state)
{
    memset (&v, 0, sizeof v);
    v.bind = "tcp://127.0.0.1:5555";
    v.connect = "tcp://127.0.0.1:5556";
    v.text = "ping";
    v.choice = "v0.26";
    v.count = 7;
    v.seed = 12345678901234567890u;
    v.port = 80;
    v.delay = 1.5;
    v.from = UINT64_MAX;
    v.seq = 3;
    v.topics.fallback = "";
    v.endpoints.fallback = "tcp://127.0.0.1:5557";
    log_program = "nobody";
    log_level = LOG_QUIET;
    return 0;
}

static int s_teardown (void **state)
{
    s_forget ();
    return 0;
}

#define PARSE(...) s_parse ((const char *[]){"program", __VA_ARGS__, NULL})

static int s_parse (const char **argv)
{
    int argc = 0;
    while (argv[argc])
        argc++;
    s_forget ();
    size_t out_size, err_size;
    FILE *out = open_memstream (&out_text, &out_size);
    FILE *err = open_memstream (&err_text, &err_size);
    int status = options_parse (argc, (char **) argv, &about, options, out, err);
    fclose (out);
    fclose (err);
    if (status != OPTIONS_HELP)
        assert_string_equal (out_text, "");
    if (status != OPTIONS_WRONG)
        assert_string_equal (err_text, "");
    return status;
}

//  Wrong usage: nothing but one line, which begins with the program and the option
static void s_refused (int status, const char *line)
{
    assert_int_equal (status, OPTIONS_WRONG);
    assert_string_equal (out_text, "");
    assert_string_equal (err_text, line);
    assert_ptr_equal (strchr (err_text, '\n'), err_text + strlen (err_text) - 1);
}

//  Each of these values, as wrong usage: what it is not
static void s_refuses (const char *option, const char *const *values, size_t count,
                       const char *want)
{
    for (size_t i = 0; i < count; i++) {
        char line[200];
        snprintf (line, sizeof line, "program: %s: '%s': %s\n", option, values[i], want);
        s_refused (PARSE (option, values[i]), line);
    }
}

//  -- What a main() sees. First, since a child should not come after the first socket.

static int child_argc;
static char **child_argv;

static void s_read_body (void)
{
    options_read (child_argc, child_argv, &about, options);
    printf ("count %d\n", v.count);
    raise (SIGTERM);
    printf ("interrupted %d\n", zsys_interrupted);
    //  That stdout is line-buffered the process tests see: cmocka has used this one
    fflush (stdout);
    _exit (0);
}

static int s_read (const char **argv)
{
    child_argv = (char **) argv;
    for (child_argc = 0; argv[child_argc];)
        child_argc++;
    s_forget ();
    capture_t out = unit_catch (stdout);
    capture_t err = unit_catch (stderr);
    int status = unit_in_child (s_read_body);
    err_text = unit_caught (&err);
    out_text = unit_caught (&out);
    return status;
}

static void test_read (void **state)
{
    assert_int_equal (s_read ((const char *[]){"program", "--count", "3", NULL}), 0);
    assert_string_equal (out_text, "count 3\ninterrupted 1\n");
    assert_string_equal (err_text, "");

    assert_int_equal (s_read ((const char *[]){"program", "--help", NULL}), 0);
    assert_memory_equal (out_text, "program - does what it does.\n", 29);
    assert_null (strstr (out_text, "count 7"));
    assert_string_equal (err_text, "");

    assert_int_equal (s_read ((const char *[]){"program", "--count", "x", NULL}), 2);
    assert_string_equal (out_text, "");
    assert_string_equal (err_text,
                         "program: --count: 'x': want a whole number from 0 to 2147483647\n");
}

//  -- Values

static void test_defaults (void **state)
{
    assert_int_equal (s_parse ((const char *[]){"program", NULL}), OPTIONS_RUN);
    assert_string_equal (v.bind, "tcp://127.0.0.1:5555");
    assert_string_equal (v.connect, "tcp://127.0.0.1:5556");
    assert_string_equal (v.text, "ping");
    assert_null (v.none);
    assert_string_equal (v.choice, "v0.26");
    assert_int_equal (v.count, 7);
    assert_true (v.delay == 1.5);
    assert_int_equal (v.topics.count, 1);
    assert_string_equal (v.topics.items[0], "");
    assert_int_equal (v.endpoints.count, 1);
    assert_string_equal (v.endpoints.items[0], "tcp://127.0.0.1:5557");
    assert_int_equal (v.others.count, 0);
    assert_false (v.flag);
    assert_false (v.skip.set);
    assert_true (v.from == UINT64_MAX);
    assert_string_equal (log_program, "program");
    assert_int_equal (log_level, LOG_LINES);
}

static void test_both_forms (void **state)
{
    assert_int_equal (PARSE ("--bind", "tcp://*:*", "--connect=ipc:///tmp/x", "--text=a=b",
                             "--none", "", "--choice=v0.9", "--count", "0", "--port=65535",
                             "--delay", ".25", "--topic=", "--topic", "b", "--skip=3-5", "--from",
                             "12", "--seq=live"),
                      OPTIONS_RUN);
    assert_string_equal (v.bind, "tcp://*:*");
    assert_string_equal (v.connect, "ipc:///tmp/x");
    assert_string_equal (v.text, "a=b");
    assert_string_equal (v.none, "");
    assert_string_equal (v.choice, "v0.9");
    assert_int_equal (v.count, 0);
    assert_int_equal (v.port, 65535);
    assert_true (v.delay == 0.25);
    assert_int_equal (v.topics.count, 2);
    assert_string_equal (v.topics.items[0], "");
    assert_string_equal (v.topics.items[1], "b");
    assert_true (v.skip.set);
    assert_true (v.skip.first == 3);
    assert_true (v.skip.last == 5);
    assert_true (v.from == 12);
    assert_true (v.seq == UINT64_MAX);

    //  Of one that is given twice the last counts
    assert_int_equal (PARSE ("--count=1", "--count=2", "--text=", "--skip=7-7"), OPTIONS_RUN);
    assert_int_equal (v.count, 2);
    assert_string_equal (v.text, "");
    assert_true (v.skip.first == 7 && v.skip.last == 7);
    //  What looks like an option can be a value
    assert_int_equal (PARSE ("--text", "--count"), OPTIONS_RUN);
    assert_string_equal (v.text, "--count");
    assert_int_equal (PARSE ("--text=--help"), OPTIONS_RUN);
    assert_string_equal (v.text, "--help");
}

static void test_levels (void **state)
{
    assert_int_equal (PARSE ("--quiet"), OPTIONS_RUN);
    assert_int_equal (log_level, LOG_QUIET);
    assert_int_equal (PARSE ("--count", "1"), OPTIONS_RUN);
    assert_int_equal (log_level, LOG_LINES);
}

static void test_numbers (void **state)
{
    static const struct {
        const char *text;
        int count;
    } good[] = {{"0", 0}, {"1", 1}, {"007", 7}, {"2147483647", INT_MAX}};
    for (size_t i = 0; i < COUNT (good); i++) {
        assert_int_equal (PARSE ("--count", good[i].text), OPTIONS_RUN);
        assert_int_equal (v.count, good[i].count);
    }
    //  The last one is a digit, but an Arabic one
    static const char *const bad[] = {"2147483648",
                                      "4294967296",
                                      "4294967303",
                                      "9223372036854775807",
                                      "18446744073709551615",
                                      "18446744073709551616",
                                      "99999999999999999999",
                                      "-1",
                                      "-0",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1x",
                                      "x1",
                                      "",
                                      "0x10",
                                      "1e3",
                                      "1.0",
                                      "1,000",
                                      "\xd9\xa1"};
    s_refuses ("--count", bad, COUNT (bad), "want a whole number from 0 to 2147483647");
    assert_int_equal (v.count, INT_MAX);
    //  A range of its own
    assert_int_equal (PARSE ("--port", "1"), OPTIONS_RUN);
    s_refused (PARSE ("--port", "0"),
               "program: --port: '0': want a whole number from 1 to 65535\n");
    s_refused (PARSE ("--port=65536"),
               "program: --port: '65536': want a whole number from 1 to 65535\n");
}

static void test_seconds (void **state)
{
    static const struct {
        const char *text;
        double seconds;
    } good[] = {{"0", 0}, {"0.25", 0.25}, {".5", 0.5}, {"2.", 2}, {"3600", 3600}};
    for (size_t i = 0; i < COUNT (good); i++) {
        assert_int_equal (PARSE ("--delay", good[i].text), OPTIONS_RUN);
        assert_true (v.delay == good[i].seconds);
    }
    static const char *const bad[] = {"3600.001",
                                      "3601",
                                      "-1",
                                      "-0",
                                      "+1",
                                      " 1",
                                      "1s",
                                      "",
                                      ".",
                                      "1..2",
                                      "1.2.3",
                                      "1e3",
                                      "0x10",
                                      "inf",
                                      "nan",
                                      "1,5",
                                      "99999999999999999999"};
    s_refuses ("--delay", bad, COUNT (bad), "want seconds from 0 to 3600");
    char digits[401];
    memset (digits, '9', 400);
    digits[400] = 0;
    assert_int_equal (PARSE ("--delay", digits), OPTIONS_WRONG);
}

static void test_choice (void **state)
{
    static const char *const good[] = {"v0.26", "v0.24", "v0.9"};
    static const char *const bad[] = {"",  "v0",    "v0.2",      "v0.260", "V0.26", "v0.26|v0.24",
                                      "|", "v0.9 ", "v0.24|v0.9"};
    for (size_t i = 0; i < COUNT (good); i++) {
        assert_int_equal (PARSE ("--choice", good[i]), OPTIONS_RUN);
        assert_string_equal (v.choice, good[i]);
    }
    s_refuses ("--choice", bad, COUNT (bad), "want one of v0.26|v0.24|v0.9");
    assert_string_equal (v.choice, "v0.9");
}

static void test_list (void **state)
{
    const char *argv[2 + OPTION_LIST_MAX + 1] = {"program"};
    for (size_t i = 0; i < OPTION_LIST_MAX; i++)
        argv[1 + i] = "--topic=x";
    assert_int_equal (s_parse (argv), OPTIONS_RUN);
    assert_int_equal (v.topics.count, OPTION_LIST_MAX);
    v.topics.count = 0;
    argv[1 + OPTION_LIST_MAX] = "--topic=one more";
    s_refused (s_parse (argv), "program: --topic: 'one more': at most 16 of them\n");
    assert_int_equal (v.topics.count, OPTION_LIST_MAX);
}

static void test_flag (void **state)
{
    assert_int_equal (PARSE ("--flag", "--count=2"), OPTIONS_RUN);
    assert_true (v.flag);
    assert_int_equal (v.count, 2);
    assert_int_equal (PARSE ("--flag", "--flag"), OPTIONS_RUN);
    assert_true (v.flag);
}

static void test_flag_takes_no_value (void **state)
{
    s_refused (PARSE ("--flag=yes"), "program: --flag: it takes no value\n");
    s_refused (PARSE ("--flag="), "program: --flag: it takes no value\n");
    assert_false (v.flag);
    //  What comes next is not its own
    s_refused (PARSE ("--flag", "yes"), "program: 'yes': not an option (see --help)\n");
}

//  In the order given; to bind or to connect is the program's choice, so what is good for one of
//  the two is taken
static void test_endpoints_given (void **state)
{
    assert_int_equal (
        PARSE ("--endpoints=tcp://*:*", "--endpoints", "ipc:///tmp/x", "--others=tcp://h:1"),
        OPTIONS_RUN);
    assert_int_equal (v.endpoints.count, 2);
    assert_string_equal (v.endpoints.items[0], "tcp://*:*");
    assert_string_equal (v.endpoints.items[1], "ipc:///tmp/x");
    assert_int_equal (v.others.count, 1);
    assert_string_equal (v.others.items[0], "tcp://h:1");
}

static void test_endpoints_too_many (void **state)
{
    const char *argv[2 + OPTION_LIST_MAX + 1] = {"program"};
    for (size_t i = 0; i < OPTION_LIST_MAX; i++)
        argv[1 + i] = "--endpoints=tcp://h:1";
    assert_int_equal (s_parse (argv), OPTIONS_RUN);
    assert_int_equal (v.endpoints.count, OPTION_LIST_MAX);
    v.endpoints.count = 0;
    argv[1 + OPTION_LIST_MAX] = "--endpoints=tcp://h:2";
    s_refused (s_parse (argv), "program: --endpoints: 'tcp://h:2': at most 16 of them\n");
}

static void test_endpoints_malformed (void **state)
{
    s_refused (PARSE ("--endpoints=5557"),
               "program: --endpoints: '5557': want tcp://HOST:PORT or ipc://PATH\n");
    s_refused (PARSE ("--endpoints=tcp://h:1", "--endpoints="),
               "program: --endpoints: '': want tcp://HOST:PORT or ipc://PATH\n");
    s_refused (PARSE ("--endpoints=tcp://h:65536"),
               "program: --endpoints: 'tcp://h:65536': "
               "the port must be a number up to 65535, or *\n");
    s_refused (PARSE ("--endpoints"), "program: --endpoints: a value is missing\n");
}

static void test_range_and_from (void **state)
{
    assert_int_equal (PARSE ("--skip=0-18446744073709551614"), OPTIONS_RUN);
    assert_true (v.skip.first == 0 && v.skip.last == UINT64_MAX - 1);
    static const char *const bad_ranges[] = {"",
                                             "3",
                                             "-",
                                             "3-",
                                             "-5",
                                             "5-3",
                                             "3--5",
                                             "3-5-7",
                                             "3 -5",
                                             "a-b",
                                             "3-5x",
                                             "+3-5",
                                             "3-live",
                                             "0x1-5",
                                             "3-18446744073709551615",
                                             "18446744073709551615-18446744073709551615",
                                             "00000000000000000000000003-5",
                                             "99999999999999999999-99999999999999999999"};
    v.skip.set = false;
    s_refuses ("--skip", bad_ranges, COUNT (bad_ranges), "want FIRST-LAST, two whole numbers");
    assert_false (v.skip.set);
    static const struct {
        const char *text;
        uint64_t from;
    } good[] = {
        {"0", 0},
        {"live", UINT64_MAX},
        {"9007199254740993", 9007199254740993},
        {"18446744073709551614", UINT64_MAX - 1},
    };
    for (size_t i = 0; i < COUNT (good); i++) {
        assert_int_equal (PARSE ("--from", good[i].text), OPTIONS_RUN);
        assert_true (v.from == good[i].from);
    }
    static const char *const bad[] = {"",
                                      "-1",
                                      "Live",
                                      "lively",
                                      "18446744073709551615",
                                      "1x",
                                      " 1",
                                      "0x1",
                                      "99999999999999999999"};
    v.from = 77;
    s_refuses ("--from", bad, COUNT (bad), "want a sequence number, or live");
    assert_true (v.from == 77);
}

static void test_uint64 (void **state)
{
    assert_int_equal (PARSE ("--seed", "0"), OPTIONS_RUN);
    assert_true (v.seed == 0);
    assert_int_equal (PARSE ("--seed=18446744073709551615"), OPTIONS_RUN);
    assert_true (v.seed == UINT64_MAX);
    static const char *const bad[] = {"", "-1", "1x", "18446744073709551616"};
    s_refuses ("--seed", bad, COUNT (bad), "want a whole number up to 18446744073709551615");
    assert_true (v.seed == UINT64_MAX);
}

//  -- Wrong usage

static void test_usage (void **state)
{
    s_refused (PARSE ("--count"), "program: --count: a value is missing\n");
    s_refused (PARSE ("--quiet", "--text"), "program: --text: a value is missing\n");
    s_refused (PARSE ("--bogus"), "program: --bogus: unknown option (see --help)\n");
    s_refused (PARSE ("--bogus", "1"), "program: --bogus: unknown option (see --help)\n");
    s_refused (PARSE ("--bogus=1"), "program: --bogus: unknown option (see --help)\n");
    //  No abbreviations, nothing behind a name, no other case
    s_refused (PARSE ("--coun", "1"), "program: --coun: unknown option (see --help)\n");
    s_refused (PARSE ("--counter", "1"), "program: --counter: unknown option (see --help)\n");
    s_refused (PARSE ("--Count", "1"), "program: --Count: unknown option (see --help)\n");
    s_refused (PARSE ("--=1"), "program: --: unknown option (see --help)\n");
    s_refused (PARSE ("--help=1"), "program: --help: unknown option (see --help)\n");
    s_refused (PARSE ("--helpme"), "program: --helpme: unknown option (see --help)\n");
    s_refused (PARSE ("---count", "1"), "program: ---count: unknown option (see --help)\n");
    //  Not options
    s_refused (PARSE ("5555"), "program: '5555': not an option (see --help)\n");
    s_refused (PARSE ("--count", "1", "2"), "program: '2': not an option (see --help)\n");
    s_refused (PARSE ("-c", "1"), "program: '-c': not an option (see --help)\n");
    s_refused (PARSE ("-"), "program: '-': not an option (see --help)\n");
    s_refused (PARSE ("--"), "program: '--': not an option (see --help)\n");
    s_refused (PARSE (""), "program: '': not an option (see --help)\n");
    //  The first that is wrong is told
    s_refused (PARSE ("--port=0", "--bogus"),
               "program: --port: '0': want a whole number from 1 to 65535\n");
    //  --help helps, wherever it stands
    assert_int_equal (PARSE ("--bogus", "--help"), OPTIONS_HELP);
}

//  Whatever the value holds, the error is one line
static void test_error_is_one_line (void **state)
{
    static const char *const values[][2] = {
        {"--count", "1\n2"},      {"--count", "\n"},  {"--bind", "tcp://a\nb"},
        {"--choice", "\r\nv0.9"}, {"--bo\ngus", "1"}, {"posi\ntional", ""},
    };
    for (size_t i = 0; i < COUNT (values); i++) {
        assert_int_equal (PARSE (values[i][0], values[i][1]), OPTIONS_WRONG);
        assert_memory_equal (err_text, "program: ", 9);
        assert_ptr_equal (strchr (err_text, '\n'), err_text + strlen (err_text) - 1);
        assert_null (strchr (err_text, '\r'));
    }
}

//  -- Help

static const char help_text[] =
    "program - does what it does.\n"
    "\n"
    "Usage: program [options]\n"
    "\n"
    "  --bind ENDPOINT              where to listen (default tcp://127.0.0.1:5555)\n"
    "  --connect ENDPOINT           where to connect (default tcp://127.0.0.1:5556)\n"
    "  --text TEXT                  what to say (default ping)\n"
    "  --none TEXT                  has no default (default none)\n"
    "  --choice v0.26|v0.24|v0.9    as which vLLM to speak (default v0.26)\n"
    "  --count N                    how many (default 7)\n"
    "  --port N                     which one (default 80)\n"
    "  --seed N                     what to begin with (default 12345678901234567890)\n"
    "  --delay SECONDS              how long (default 1.5)\n"
    "  --topic TEXT                 what messages begin with (default \"\"; repeatable)\n"
    "  --skip FIRST-LAST            which to miss (default none)\n"
    "  --from SEQ|live              where to start (default live)\n"
    "  --seq SEQ|live               where to start, too (default 3)\n"
    "  --flag                       do it\n"
    "  --endpoints ENDPOINT         where they are (default tcp://127.0.0.1:5557; repeatable)\n"
    "  --others ENDPOINT            where the others are (default none; repeatable)\n"
    "  --curve-dir DIR              keys for CURVE; only clients on their list may connect "
    "(default "
    "none)\n"
    "  --quiet                      print only the endpoints bound, errors and the summary\n"
    "  --help                       print this text\n"
    "\n"
    "ENDPOINT is tcp://ADDRESS:PORT or ipc://PATH; to listen, PORT may be * for a free one.\n"
    "Exit status: 0 done or stopped, 1 failed, or stopped without the answer that a client\n"
    "waits for, 2 wrong usage.\n"
    "\n"
    "Example:\n"
    "  build/room/program --count 1\n";

static void test_help (void **state)
{
    assert_int_equal (PARSE ("--help"), OPTIONS_HELP);
    assert_string_equal (out_text, help_text);
    assert_int_equal (PARSE ("--quiet", "--help", "--count"), OPTIONS_HELP);
    assert_string_equal (out_text, help_text);
    assert_int_equal (PARSE ("-h"), OPTIONS_HELP);
    assert_string_equal (out_text, help_text);
    //  It does not last
    assert_int_equal (PARSE ("--quiet"), OPTIONS_RUN);
}

//  A default is what an option is without being given
static void test_help_shows_defaults (void **state)
{
    assert_int_equal (PARSE ("--count=3", "--text", "pong", "--from=9", "--help"), OPTIONS_HELP);
    assert_string_equal (out_text, help_text);
}

//  -- Endpoints

#define WANT_TCP "want tcp://HOST:PORT"
#define WANT_ANY "want tcp://HOST:PORT or ipc://PATH"
#define BAD_HOST "the host is malformed (an IPv6 address goes in brackets)"
#define BIND_PORT "the port must be a number up to 65535, or *"
#define CONNECT_PORT "the port must be a number from 1 to 65535"
#define NO_INPROC "inproc joins the threads of one process, and the other end is another process"

static void test_endpoints (void **state)
{
    static const struct {
        const char *endpoint;
        const char *bind, *connect;  //  What is wrong; NULL: nothing is
    } cases[] = {
        {"tcp://127.0.0.1:5555", NULL, NULL},
        {"tcp://localhost:1", NULL, NULL},
        {"tcp://some-host.example:65535", NULL, NULL},
        {"tcp://eth0:5555", NULL, NULL},
        {"tcp://0.0.0.0:5555", NULL, NULL},
        //  Ports
        {"tcp://127.0.0.1:0", NULL, "cannot connect to port 0"},
        {"tcp://127.0.0.1:*", NULL, CONNECT_PORT},
        {"tcp://127.0.0.1:65536", BIND_PORT, CONNECT_PORT},
        {"tcp://127.0.0.1:99999999999999999999", BIND_PORT, CONNECT_PORT},
        {"tcp://127.0.0.1:-1", BIND_PORT, CONNECT_PORT},
        {"tcp://127.0.0.1:+1", BIND_PORT, CONNECT_PORT},
        {"tcp://127.0.0.1: 1", BIND_PORT, CONNECT_PORT},
        {"tcp://127.0.0.1:1 ", BIND_PORT, CONNECT_PORT},
        {"tcp://127.0.0.1:", BIND_PORT, CONNECT_PORT},
        {"tcp://127.0.0.1:x", BIND_PORT, CONNECT_PORT},
        {"tcp://127.0.0.1:0x50", BIND_PORT, CONNECT_PORT},
        {"tcp://127.0.0.1:5555/", BIND_PORT, CONNECT_PORT},
        {"tcp://127.0.0.1:**", BIND_PORT, CONNECT_PORT},
        //  The wildcard host
        {"tcp://*:5555", NULL, "cannot connect to the wildcard host *"},
        {"tcp://*:*", NULL, "cannot connect to the wildcard host *"},
        //  IPv6 goes in brackets
        {"tcp://[::1]:5555", NULL, NULL},
        {"tcp://[::]:5555", NULL, NULL},
        {"tcp://[fe80::1%eth0]:5555", NULL, NULL},
        {"tcp://[::1]:*", NULL, CONNECT_PORT},
        {"tcp://[::1]:0", NULL, "cannot connect to port 0"},
        {"tcp://[::1]:65536", BIND_PORT, CONNECT_PORT},
        {"tcp://[::1]", WANT_TCP, WANT_TCP},
        {"tcp://[::1]5555", WANT_TCP, WANT_TCP},
        {"tcp://[::1:5555", WANT_TCP, WANT_TCP},
        {"tcp://[", WANT_TCP, WANT_TCP},
        {"tcp://[:: 1]:5555", BAD_HOST, BAD_HOST},
        {"tcp://::1:5555", BAD_HOST, BAD_HOST},
        {"tcp://1:2:5555", BAD_HOST, BAD_HOST},
        //  Hosts
        {"tcp://", WANT_TCP, WANT_TCP},
        {"tcp://127.0.0.1", WANT_TCP, WANT_TCP},
        {"tcp://5555", WANT_TCP, WANT_TCP},
        {"tcp://:5555", WANT_TCP, WANT_TCP},
        {"tcp:// :5555", BAD_HOST, BAD_HOST},
        {"tcp://a b:5555", BAD_HOST, BAD_HOST},
        {"tcp://a/b:5555", BAD_HOST, BAD_HOST},
        {"tcp:///tmp:5555", BAD_HOST, BAD_HOST},
        {"tcp://user@host:5555", BAD_HOST, BAD_HOST},
        {"tcp://-host:5555", BAD_HOST, BAD_HOST},
        {"tcp://_:5555", BAD_HOST, BAD_HOST},
        {"tcp://*x:5555", BAD_HOST, BAD_HOST},
        {"tcp://[*]:5555", BAD_HOST, BAD_HOST},
        {"tcp://[::1]]:5555", BAD_HOST, BAD_HOST},
        {"tcp://127.0.0.1;127.0.0.1:5555", BAD_HOST, BAD_HOST},
        //  ipc
        {"ipc:///tmp/x", NULL, NULL},
        {"ipc://x", NULL, NULL},
        {"ipc://a b:c", NULL, NULL},
        {"ipc://@abstract", NULL, NULL},
        {"ipc://*", NULL, "cannot connect to a wildcard"},
        {"ipc://", "want ipc://PATH", "want ipc://PATH"},
        //  Others
        {"inproc://x", NO_INPROC, NO_INPROC},
        {"inproc://", NO_INPROC, NO_INPROC},
        {"", WANT_ANY, WANT_ANY},
        {"5555", WANT_ANY, WANT_ANY},
        {"127.0.0.1:5555", WANT_ANY, WANT_ANY},
        {"tcp:127.0.0.1:5555", WANT_ANY, WANT_ANY},
        {"tcp:/127.0.0.1:5555", WANT_ANY, WANT_ANY},
        {"TCP://127.0.0.1:5555", WANT_ANY, WANT_ANY},
        {" tcp://127.0.0.1:5555", WANT_ANY, WANT_ANY},
        {"udp://127.0.0.1:5555", WANT_ANY, WANT_ANY},
        {"http://127.0.0.1:80", WANT_ANY, WANT_ANY},
        {"ipc:/tmp/x", WANT_ANY, WANT_ANY},
        {"@tcp://127.0.0.1:5555", WANT_ANY, WANT_ANY},
        {">tcp://127.0.0.1:5555", WANT_ANY, WANT_ANY},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        const char *names[] = {"--bind", "--connect"};
        const char *whys[] = {cases[i].bind, cases[i].connect};
        for (size_t k = 0; k < 2; k++) {
            const char *why = options_endpoint_error (cases[i].endpoint, k == 0);
            if (!why != !whys[k] || (why && strcmp (why, whys[k]) != 0))
                fail_msg ("%s %s: %s, not %s", names[k], cases[i].endpoint, why ? why : "good",
                          whys[k] ? whys[k] : "good");
            s_setup (NULL);
            int status = PARSE (names[k], cases[i].endpoint);
            if (!why) {
                assert_int_equal (status, OPTIONS_RUN);
                assert_string_equal (k == 0 ? v.bind : v.connect, cases[i].endpoint);
                continue;
            }
            char line[200];
            snprintf (line, sizeof line, "program: %s: '%s': %s\n", names[k], cases[i].endpoint,
                      why);
            s_refused (status, line);
            assert_string_equal (k == 0 ? v.bind : v.connect,
                                 k == 0 ? "tcp://127.0.0.1:5555" : "tcp://127.0.0.1:5556");
        }
    }
}

static void test_ipc_length (void **state)
{
    char endpoint[200] = "ipc:///tmp/";
    memset (endpoint + 11, 'x', sizeof endpoint - 12);
    for (size_t size = 105; size <= 110; size++) {
        endpoint[6 + size] = 0;
        for (int to_bind = 0; to_bind < 2; to_bind++) {
            const char *why = options_endpoint_error (endpoint, to_bind);
            if (size <= 107)
                assert_null (why);
            else
                assert_string_equal (why, "an ipc path has at most 107 bytes");
        }
        endpoint[6 + size] = 'x';
    }
}

//  A socket takes an IPv6 address only when it has been told so
static void test_curve_dir (void **state)
{
    static const char *const wrong[] = {"", "/nowhere/keys", "/etc/passwd"};
    s_refuses ("--curve-dir", wrong, COUNT (wrong), "want a folder that is there");
    assert_null (curve_dir);
    s_refused (PARSE ("--curve-dir"), "program: --curve-dir: a value is missing\n");
    assert_int_equal (PARSE ("--curve-dir=/tmp"), OPTIONS_RUN);
    assert_string_equal (curve_dir, "/tmp");
    curve_dir = NULL;
}

static void test_ipv6 (void **state)
{
    zsys_set_ipv6 (0);
    assert_int_equal (PARSE ("--bind=tcp://127.0.0.1:5555", "--connect=ipc:///tmp/x"), OPTIONS_RUN);
    assert_int_equal (zsys_ipv6 (), 0);
    assert_int_equal (PARSE ("--bind=tcp://[::1]:99999"), OPTIONS_WRONG);
    assert_int_equal (zsys_ipv6 (), 0);
    assert_int_equal (PARSE ("--bind=tcp://[::1]:5555"), OPTIONS_RUN);
    assert_int_equal (zsys_ipv6 (), 1);
    zsys_set_ipv6 (0);
    assert_int_equal (PARSE ("--connect=tcp://[::1]:5555"), OPTIONS_RUN);
    assert_int_equal (zsys_ipv6 (), 1);
    zsys_set_ipv6 (0);
}

//  What is said to be good is good to libzmq
static void test_endpoints_with_libzmq (void **state)
{
    static const char *const to_bind[] = {
        "tcp://127.0.0.1:*", "tcp://127.0.0.1:0", "tcp://*:*", "ipc://*", "tcp://[]:*", "ipc://@",
    };
    static const char *const to_connect[] = {
        "tcp://127.0.0.1:5555",
        "tcp://localhost:65535",
        "ipc:///tmp/nobody-is-there",
        "ipc://@",
    };
    for (size_t i = 0; i < COUNT (to_bind) + COUNT (to_connect); i++) {
        bool bind = i < COUNT (to_bind);
        const char *endpoint = bind ? to_bind[i] : to_connect[i - COUNT (to_bind)];
        if (options_endpoint_error (endpoint, bind))
            continue;
        zsock_t *socket = zsock_new (ZMQ_DEALER);
        int rc = bind ? zmq_bind (zsock_resolve (socket), endpoint)
                      : zmq_connect (zsock_resolve (socket), endpoint);
        const char *why = zmq_strerror (zmq_errno ());
        zsock_destroy (&socket);
        if (rc != 0)
            fail_msg ("%s %s: %s", bind ? "bind" : "connect", endpoint, why);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown (name, s_setup, s_teardown)
        TEST (test_read),
        TEST (test_defaults),
        TEST (test_both_forms),
        TEST (test_levels),
        TEST (test_numbers),
        TEST (test_uint64),
        TEST (test_seconds),
        TEST (test_choice),
        TEST (test_list),
        TEST (test_flag),
        TEST (test_flag_takes_no_value),
        TEST (test_endpoints_given),
        TEST (test_endpoints_too_many),
        TEST (test_endpoints_malformed),
        TEST (test_range_and_from),
        TEST (test_usage),
        TEST (test_error_is_one_line),
        TEST (test_help),
        TEST (test_help_shows_defaults),
        TEST (test_endpoints),
        TEST (test_ipc_length),
        TEST (test_curve_dir),
        TEST (test_ipv6),
        TEST (test_endpoints_with_libzmq),
#undef TEST
    };
    return cmocka_run_group_tests_name ("options", tests, NULL, NULL);
}
