//  SPDX-License-Identifier: MIT

#include "lib/keepalive.h"

void keepalive_kernel (zsock_t *socket)
{
    keepalive_probe (socket);
    zsock_set_tcp_maxrt (socket, 10000);
}

void keepalive_probe (zsock_t *socket)
{
    zsock_set_tcp_keepalive (socket, 1);
    zsock_set_tcp_keepalive_idle (socket, 2);
    zsock_set_tcp_keepalive_intvl (socket, 2);
    zsock_set_tcp_keepalive_cnt (socket, 5);
    if (zsock_type (socket) != ZMQ_PUSH)
        zsock_set_tcp_maxrt (socket, 10000);
}
