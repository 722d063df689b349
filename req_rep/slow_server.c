//  SPDX-License-Identifier: MIT
//  slow_server.c - REP socket that lets its first clients wait, so that they can learn patience
//
//  The server of Demos 1.1 and 1.2. While it delays one answer the next requests queue up: a REP
//  serves one at a time. The client of a late answer may be gone; the answer is then dropped.
//  Run:   build/req_rep/slow_server --delay-s 1.5 --delay-first-n 2

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "pingpong.h"

//  Plays at hard work: a poll of no socket at all only waits, and a Ctrl-C ends it
static void s_work (double seconds)
{
    if (!zsys_interrupted)
        zmq_poll (NULL, 0, (long) (seconds * 1000));
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5555";
    double delay_s = 1.5;
    int delay_first_n = 2, count = 0;
    const option_t options[] = {
        OPTION_BIND ("endpoint", &endpoint, "where to listen"),
        OPTION_SECONDS ("delay-s", &delay_s, 0, 3600, "seconds to wait before an answer"),
        OPTION_INT ("delay-first-n", &delay_first_n, 0, INT_MAX, "so many answers are delayed"),
        OPTION_INT ("count", &count, 0, INT_MAX, "requests to answer; 0: until stopped"),
        OPTION_END,
    };
    const about_t about = {
        .name = "slow_server",
        .purpose = "REP that delays its first N answers",
        .example = "  build/req_rep/slow_server --delay-s 1.5 --delay-first-n 2\n"
                   "  build/req_rep/timeout_retry_client",
        .at_risk = "requests, and their answers",
    };
    options_read (argc, argv, &about, options);

    zsock_t *rep = zsock_new (ZMQ_REP);
    curve_server (rep);
    zsock_set_maxmsgsize (rep, MP_MAX_FRAME);
    keepalive_probe (rep);  //  A client whose machine has vanished is missed after 12 s
    if (!log_bound (rep, endpoint, zsock_bind (rep, "%s", endpoint))) {
        zsock_destroy (&rep);
        return EXIT_STOPPED_OR_FAILED;
    }
    zsock_set_linger (rep, 250);  //  The last answer gets so many ms to leave when we exit

    int served = 0, bad = 0;
    while (!zsys_interrupted && (count == 0 || served < count)) {
        zmsg_t *request = zmsg_recv (rep);
        if (!request)
            break;  //  A signal came
        log_recv ("client", rep, request);

        mp_error_t why;
        char *text = pingpong_text (request, &why);
        if (text && served < delay_first_n) {
            print_line ("got: %s, answering in %g s", text, delay_s);
            s_work (delay_s);
        } else if (text) {
            print_line ("got: %s, answering now", text);
        } else {
            warn_line ("bad request: %s", why.text);
            bad++;
        }
        zmsg_t *reply = pingpong_reply (text, &why);
        log_send ("client", rep, reply);
        zmsg_send (&reply, rep);  //  If the client has given up, the late reply is dropped here
        zstr_free (&text);
        zmsg_destroy (&request);
        served++;
    }
    print_summary ("%d answered, %d bad", served - bad, bad);
    zsock_destroy (&rep);
    return EXIT_SUCCESS;
}
