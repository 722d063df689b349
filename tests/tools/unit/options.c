//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "lib/curve.h"
#include "lib/options.h"
#include "lib/log.h"

#include <inttypes.h>

static about_t about = {.name = "program",
                        .purpose = "does what it does.",
                        .example = "  build/room/program --count 1"};

//  One option of each kind, with its default
static struct {
    const char *bind, *connect, *text, *none, *choice;
    int count, port;
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

static int s_forget (void **state)
{
    free (out_text);
    free (err_text);
    out_text = err_text = NULL;
    curve_dir = NULL;
    return 0;
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
    v.from = UINT64_MAX;
    v.seq = 3;
    v.topics.fallback = "";
    v.endpoints.fallback = "tcp://127.0.0.1:5557";
    log_program = "nobody";
    log_level = LOG_QUIET;
    return s_forget (state);
}

static int s_parse (const char **argv)
{
    int argc = 0;
    while (argv[argc])
        argc++;
    s_setup (NULL);
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
    assert_string_equal (log_program, "program");
    return status;
}

//  The words of `line` are separated by '|'. What the values point to stays until the next call.
static int s_parse_line (const char *line)
{
    static char words[20][200];
    const char *argv[22] = {"program"}, *list = *line ? line : NULL;
    for (size_t i = 0; unit_word (&list, words[i]); i++)
        argv[1 + i] = words[i];
    return s_parse (argv);
}

static void s_put (text_t *out, const char *name, const char *value)
{
    text_put_string (out, out->size > 0 ? " " : "");
    text_put_string (out, name);
    text_put_char (out, '=');
    text_put_string (out, value);
}

static void s_put_list (text_t *out, const char *name, const option_list_t *list)
{
    if (list->count == (list->fallback ? 1 : 0) &&
        (!list->fallback || list->items[0] == list->fallback))
        return;
    s_put (out, name, "");
    for (size_t i = 0; i < list->count; i++) {
        text_put_string (out, i > 0 ? "," : "");
        text_put_string (out, list->items[i]);
    }
}

//  The values that are not the defaults, to be freed
static char *s_changed (void)
{
    char text[60];
    text_t out = {NULL, 0, 0};
#define PUT(name, format, value, fallback)                                                         \
    if ((value) != (fallback)) {                                                                   \
        snprintf (text, sizeof text, format, value);                                               \
        s_put (&out, name, text);                                                                  \
    }
#define PUT_TEXT(name, value, fallback)                                                            \
    if (!value || strcmp (value, fallback) != 0)                                                   \
        s_put (&out, name, value ? value : "NULL");
    PUT_TEXT ("bind", v.bind, "tcp://127.0.0.1:5555");
    PUT_TEXT ("connect", v.connect, "tcp://127.0.0.1:5556");
    PUT_TEXT ("text", v.text, "ping");
    if (v.none)
        s_put (&out, "none", v.none);
    PUT_TEXT ("choice", v.choice, "v0.26");
    PUT ("count", "%d", v.count, 7);
    PUT ("port", "%d", v.port, 80);
    PUT ("seed", "%" PRIu64, v.seed, 12345678901234567890u);
    s_put_list (&out, "topic", &v.topics);
    if (v.skip.set) {
        snprintf (text, sizeof text, "%" PRIu64 "-%" PRIu64, v.skip.first, v.skip.last);
        s_put (&out, "skip", text);
    }
    PUT ("from", "%" PRIu64, v.from, UINT64_MAX);
    PUT ("seq", "%" PRIu64, v.seq, 3);
    PUT ("flag", "%d", v.flag, 0);
    s_put_list (&out, "endpoints", &v.endpoints);
    s_put_list (&out, "others", &v.others);
    PUT ("level", "%d", log_level, LOG_LINES);
    if (curve_dir)
        s_put (&out, "curve-dir", curve_dir);
    return text_take (&out);
}

//  What comes of a command line: the values that are not the defaults; or, of wrong usage, the one
//  line, without "program: "
static void s_gives (const char *line, const char *want)
{
    int status = s_parse_line (line);
    if (status == OPTIONS_RUN) {
        unit_is (s_changed (), want);
        return;
    }
    assert_int_equal (status, OPTIONS_WRONG);
    char whole[400];
    snprintf (whole, sizeof whole, "program: %s\n", want);
    assert_string_equal (err_text, whole);
    assert_ptr_equal (strchr (err_text, '\n'), err_text + strlen (err_text) - 1);
}

//  -- Values

static void test_lines (void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"--bind|tcp://*:*|--connect=ipc:///tmp/x|--text=a=b|--none||--choice=v0.9|--count|0|"
         "--port=65535|--topic=|--topic|b|--skip=3-5|--from|12|--seq=live|--flag",
         "bind=tcp://*:* connect=ipc:///tmp/x text=a=b none= choice=v0.9 count=0 port=65535 "
         "topic=,b skip=3-5 from=12 seq=18446744073709551615 flag=1"},
        //  Of one that is given twice the last counts
        {"--count=1|--count=2|--text=|--skip=7-7|--flag|--flag", "text= count=2 skip=7-7 flag=1"},
        //  What looks like an option can be a value
        {"--text|--count", "text=--count"},
        {"--text=--help", "text=--help"},
        {"--quiet", "level=0"},
        {"--choice|v0.24", "choice=v0.24"},
        {"--count|1", "count=1"},
        {"--count|007", ""},
        {"--count|2147483647", "count=2147483647"},
        {"--port|1", "port=1"},
        {"--port|0", "--port: '0': want a whole number from 1 to 65535"},
        {"--port=65536", "--port: '65536': want a whole number from 1 to 65535"},
        {"--seed|0", "seed=0"},
        {"--seed=18446744073709551615", "seed=18446744073709551615"},
        {"--skip=0-18446744073709551614", "skip=0-18446744073709551614"},
        {"--from|0", "from=0"},
        {"--from|live", ""},
        {"--from|9007199254740993", "from=9007199254740993"},
        {"--from|18446744073709551614", "from=18446744073709551614"},
        {"--curve-dir=/tmp", "curve-dir=/tmp"},
        //  In the order given; to bind or to connect is the program's choice, so what is good for
        //  one of the two is taken
        {"--endpoints=tcp://*:*|--endpoints|ipc:///tmp/x|--others=tcp://h:1",
         "endpoints=tcp://*:*,ipc:///tmp/x others=tcp://h:1"},
        {"--endpoints=5557", "--endpoints: '5557': want tcp://HOST:PORT or ipc://PATH"},
        {"--endpoints=tcp://h:1|--endpoints=",
         "--endpoints: '': want tcp://HOST:PORT or ipc://PATH"},
        {"--endpoints=tcp://h:65536",
         "--endpoints: 'tcp://h:65536': the port must be a number up to 65535, or *"},
        {"--topic=|--topic=|--topic=|--topic=|--topic=|--topic=|--topic=|--topic=|"
         "--topic=|--topic=|--topic=|--topic=|--topic=|--topic=|--topic=|--topic=",
         "topic=,,,,,,,,,,,,,,,"},
        {"--topic=|--topic=|--topic=|--topic=|--topic=|--topic=|--topic=|--topic=|"
         "--topic=|--topic=|--topic=|--topic=|--topic=|--topic=|--topic=|--topic=|--topic=x",
         "--topic: 'x': at most 16 of them"},
        //  Wrong usage
        {"--flag=yes", "--flag: it takes no value"},
        {"--flag=", "--flag: it takes no value"},
        {"--flag|yes", "'yes': not an option (see --help)"},
        {"--count", "--count: a value is missing"},
        {"--endpoints", "--endpoints: a value is missing"},
        {"--curve-dir", "--curve-dir: a value is missing"},
        {"--quiet|--text", "--text: a value is missing"},
        {"--bogus|1", "--bogus: unknown option (see --help)"},
        {"--bogus=1", "--bogus: unknown option (see --help)"},
        //  No abbreviations, nothing behind a name, no other case
        {"--coun|1", "--coun: unknown option (see --help)"},
        {"--counter|1", "--counter: unknown option (see --help)"},
        {"--Count|1", "--Count: unknown option (see --help)"},
        {"--=1", "--: unknown option (see --help)"},
        {"--help=1", "--help: unknown option (see --help)"},
        {"--helpme", "--helpme: unknown option (see --help)"},
        {"---count|1", "---count: unknown option (see --help)"},
        {"--count|1|2", "'2': not an option (see --help)"},
        {"-c|1", "'-c': not an option (see --help)"},
        {"-", "'-': not an option (see --help)"},
        {"--", "'--': not an option (see --help)"},
        {"--quiet|", "'': not an option (see --help)"},
        //  The first that is wrong is told
        {"--port=0|--bogus", "--port: '0': want a whole number from 1 to 65535"},
        //  What the value holds does not make the error two lines
        {"--count|1\n2", "--count: '1?2': want a whole number from 0 to 2147483647"},
        {"--bind|tcp://a\nb", "--bind: 'tcp://a?b': want tcp://HOST:PORT"},
        {"--choice|\r\nv0.9", "--choice: '??v0.9': want one of v0.26|v0.24|v0.9"},
        {"--bo\ngus|1", "--bo?gus: unknown option (see --help)"},
        {"posi\ntional", "'posi?tional': not an option (see --help)"},
    };
    for (size_t i = 0; i < COUNT (cases); i++)
        s_gives (cases[i][0], cases[i][1]);
}

//  Values that are refused, and change nothing
static void test_bad_values (void **state)
{
    static const struct {
        const char *option, *want, *values;
    } cases[] = {
        {"--count", "want a whole number from 0 to 2147483647",
         "2147483648|4294967296|4294967303|9223372036854775807|18446744073709551615|"
         "18446744073709551616|99999999999999999999|-1|-0|+1| 1|1 |1x|x1||0x10|1e3|1.0|1,000|"
         "\xd9\xa1"},  //  The last one is a digit, but an Arabic one
        {"--choice", "want one of v0.26|v0.24|v0.9", "|v0|v0.2|v0.260|V0.26|v0.9 "},
        {"--skip", "want FIRST-LAST, two whole numbers",
         "|3|-|3-|-5|5-3|3--5|3-5-7|3 -5|a-b|3-5x|+3-5|3-live|0x1-5|3-18446744073709551615|"
         "18446744073709551615-18446744073709551615|00000000000000000000000003-5|"
         "99999999999999999999-99999999999999999999"},
        {"--from", "want a sequence number, or live",
         "|-1|Live|lively|18446744073709551615|1x| 1|0x1|99999999999999999999"},
        {"--seed", "want a whole number up to 18446744073709551615", "|-1|1x|18446744073709551616"},
        {"--curve-dir", "want a folder that is there", "|/nowhere/keys|/etc/passwd"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        char word[200], line[300], want[400];
        for (const char *list = cases[i].values; unit_word (&list, word);) {
            snprintf (line, sizeof line, "%s=%s", cases[i].option, word);
            snprintf (want, sizeof want, "%s: '%s': %s", cases[i].option, word, cases[i].want);
            s_gives (line, want);
            log_level = LOG_LINES;
            unit_is (s_changed (), "topic= endpoints=");  //  Lists get their defaults last
        }
    }
    for (const char *const *choice = (const char *[]){"v0.26|v0.24", "|", "v0.24|v0.9", NULL};
         *choice; choice++)
        assert_int_equal (s_parse ((const char *[]){"program", "--choice", *choice, NULL}),
                          OPTIONS_WRONG);
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
    "  --topic TEXT                 what messages begin with (default \"\"; repeatable)\n"
    "  --skip FIRST-LAST            which to miss (default none)\n"
    "  --from SEQ|live              where to start (default live)\n"
    "  --seq SEQ|live               where to start, too (default 3)\n"
    "  --flag                       do it\n"
    "  --endpoints ENDPOINT         where they are (default tcp://127.0.0.1:5557; repeatable)\n"
    "  --others ENDPOINT            where the others are (default none; repeatable)\n"
    "  --curve-dir DIR              keys for CURVE; only clients on their list may connect "
    "(default none)\n"
    "  --quiet                      print only the endpoints bound, errors and the summary\n"
    "  --help                       print this text\n"
    "\n"
    "ENDPOINT is tcp://ADDRESS:PORT or ipc://PATH; to listen, PORT may be * for a free one.\n"
    "Exit status: 0 done or stopped, 1 failed, or stopped without the answer that a client\n"
    "waits for, 2 wrong usage.\n"
    "\n"
    "Example:\n"
    "  build/room/program --count 1\n";

//  It helps wherever it stands, with the defaults, not with what has been given
static void test_help (void **state)
{
    static const char *const lines[] = {"--help", "-h", "--bogus|--help", "--quiet|--help|--count",
                                        "--count=3|--text|pong|--from=9|--help"};
    for (size_t i = 0; i < COUNT (lines); i++) {
        assert_int_equal (s_parse_line (lines[i]), OPTIONS_HELP);
        assert_string_equal (out_text, help_text);
    }
}

//  -- Endpoints

#define WANT_TCP "want tcp://HOST:PORT"
#define WANT_ANY "want tcp://HOST:PORT or ipc://PATH"
#define BAD_HOST "the host is malformed (an IPv6 address goes in brackets)"
#define NO_INPROC "inproc joins the threads of one process, and the other end is another process"

static void test_endpoints (void **state)
{
#define X50 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    static const struct {
        const char *bind, *connect;  //  What is wrong; NULL: nothing is
        const char *endpoints;
    } cases[] = {
        {NULL, NULL,
         "tcp://127.0.0.1:55|tcp://localhost:1|tcp://some-host.example:65535|tcp://eth0:5555|"
         "tcp://0.0.0.0:5555|tcp://[::1]:5555|tcp://[::]:5555|tcp://[fe80::1%eth0]:5555|"
         "ipc:///tmp/x|ipc://x|ipc://a b:c|ipc://@abstract|ipc://1234567" X50 X50},
        {NULL, "cannot connect to port 0", "tcp://127.0.0.1:0|tcp://[::1]:0"},
        {NULL, "the port must be a number from 1 to 65535", "tcp://127.0.0.1:*|tcp://[::1]:*"},
        {NULL, "cannot connect to the wildcard host *", "tcp://*:5555|tcp://*:*"},
        {NULL, "cannot connect to a wildcard", "ipc://*"},
        {"the port must be a number up to 65535, or *", "the port must be a number from 1 to 65535",
         "tcp://127.0.0.1:65536|tcp://127.0.0.1:99999999999999999999|tcp://127.0.0.1:-1|"
         "tcp://127.0.0.1:+1|tcp://127.0.0.1: 1|tcp://127.0.0.1:1 |tcp://127.0.0.1:|"
         "tcp://127.0.0.1:x|tcp://127.0.0.1:0x50|tcp://127.0.0.1:5555/|tcp://127.0.0.1:**|"
         "tcp://[::1]:65536"},
        {WANT_TCP, WANT_TCP,
         "tcp://[::1]|tcp://[::1]5555|tcp://[::1:5555|tcp://[|tcp://[]:5555|tcp://|"
         "tcp://127.0.0.1|tcp://5555|tcp://:5555"},
        {BAD_HOST, BAD_HOST,
         "tcp://[:: 1]:5555|tcp://::1:5555|tcp://1:2:5555|tcp:// :5555|tcp://a b:5555|"
         "tcp://a/b:5555|tcp:///tmp:5555|tcp://user@host:5555|tcp://-host:5555|tcp://_:5555|"
         "tcp://*x:5555|tcp://[*]:5555|tcp://[::1]]:5555|tcp://127.0.0.1;127.0.0.1:5555"},
        {"want ipc://PATH", "want ipc://PATH", "ipc://|ipc://@"},
        {"an ipc path has at most 107 bytes", "an ipc path has at most 107 bytes",
         "ipc://12345678" X50 X50},
        {NO_INPROC, NO_INPROC, "inproc://x|inproc://"},
        {WANT_ANY, WANT_ANY,
         "|5555|127.0.0.1:5555|tcp:127.0.0.1:5555|tcp:/127.0.0.1:5555|TCP://127.0.0.1:5555|"
         " tcp://127.0.0.1:5555|udp://127.0.0.1:5555|http://127.0.0.1:80|ipc:/tmp/x|"
         "@tcp://127.0.0.1:5555|>tcp://127.0.0.1:5555"},
    };
    for (size_t i = 0; i < 2 * COUNT (cases); i++) {
        const char *name = i % 2 ? "connect" : "bind";
        const char *why = i % 2 ? cases[i / 2].connect : cases[i / 2].bind;
        char word[200], line[300], want[400];
        for (const char *list = cases[i / 2].endpoints; unit_word (&list, word);) {
            snprintf (line, sizeof line, "--%s=%s", name, word);
            if (why)
                snprintf (want, sizeof want, "--%s: '%s': %s", name, word, why);
            else
                snprintf (want, sizeof want, "%s=%s", name, word);
            s_gives (line, want);
        }
    }
}

//  A socket takes an IPv6 address only when it has been told so
static void test_ipv6 (void **state)
{
    static const struct {
        const char *line;
        int ipv6;
    } cases[] = {{"--bind=tcp://127.0.0.1:5555|--connect=ipc:///tmp/x", 0},
                 {"--bind=tcp://[::1]:99999", 0},
                 {"--bind=tcp://[::1]:5555", 1},
                 {"--connect=tcp://[::1]:5555", 1}};
    for (size_t i = 0; i < COUNT (cases); i++) {
        zsys_set_ipv6 (0);
        s_parse_line (cases[i].line);
        assert_int_equal (zsys_ipv6 (), cases[i].ipv6);
    }
    zsys_set_ipv6 (0);
}

//  What is said to be good is good to libzmq
static void test_endpoints_with_libzmq (void **state)
{
    static const char *const lists[] = {
        "tcp://127.0.0.1:*|tcp://127.0.0.1:0|tcp://*:*|ipc://*",
        "tcp://127.0.0.1:5555|tcp://localhost:65535|ipc:///tmp/nobody-is-there"};
    for (int bind = 0; bind < 2; bind++) {
        char endpoint[200];
        for (const char *list = lists[!bind]; unit_word (&list, endpoint);) {
            assert_null (options_endpoint_error (endpoint, bind));
            zsock_t *socket = zsock_new (ZMQ_DEALER);
            int rc = bind ? zmq_bind (zsock_resolve (socket), endpoint)
                          : zmq_connect (zsock_resolve (socket), endpoint);
            const char *why = zmq_strerror (zmq_errno ());
            zsock_destroy (&socket);
            if (rc != 0)
                fail_msg ("%s %s: %s", bind ? "bind" : "connect", endpoint, why);
        }
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_lines), cmocka_unit_test (test_bad_values),
        cmocka_unit_test (test_help),  cmocka_unit_test (test_endpoints),
        cmocka_unit_test (test_ipv6),  cmocka_unit_test (test_endpoints_with_libzmq),
    };
    return cmocka_run_group_tests_name ("options", tests, s_setup, s_forget);
}
