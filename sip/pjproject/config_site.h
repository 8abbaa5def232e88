/*
 * pjproject's compile-time settings for a proxy.
 *
 * pjsip's defaults are those of one phone: a handful of accounts, one call, small messages.
 * Every value here answers something that was measured or read in pjproject 2.17.
 */
#ifndef PUSH_PROXY_CONFIG_SITE_H
#define PUSH_PROXY_CONFIG_SITE_H

/* ---- sizes of messages ---- */

/* What a datagram may hold (65,507) and what a message on a stream may have. It is an array in every
 * pjsip_rx_data: one per UDP listener, and one for all streams together (docs/adr/0009). It is also
 * what every transmit buffer costs unless its owner has given it a smaller one. */
#define PJSIP_MAX_PKT_LEN 65536
/* Route and Contact URIs carry our signed tokens and the apps' pn-* parameters (APNs and FCM
 * tokens of 160 characters and more). */
#define PJSIP_MAX_URL_SIZE 1024
/* PJSIP_GENERIC_ARRAY_MAX_COUNT cannot be set here (pjsip defines it unconditionally): the build
 * script raises it to 128, because 40 Supported tags would lose a call otherwise. */

/* ---- how many of everything ---- */

/* Only in-process phones use pjsua accounts (ADR 0004). Each costs 7 kB, used or not. */
#define PJSUA_MAX_ACC 32
/* Size of the transaction hash table, not a limit: 300 calls/s live 32 s as about five
 * transactions each. */
#define PJSIP_MAX_TSX_COUNT (64 * 1024 - 1)
/* Only in-process phones use pjsua calls; the proxy has none. */
#define PJSUA_MAX_CALLS 64
/* UDP listeners, and the RTP and SIP sockets of in-process phones. The proxy's own TCP and TLS
 * connections are none of pjsip's (docs/adr/0009). A handle costs 500 bytes, used or not. */
#define PJ_IOQUEUE_MAX_HANDLES 4096

/* ---- pools, sized for many short-lived messages ---- */

/* A relayed INVITE needs 3 to 6 kB, a response less than 2; a transaction keeps its messages for
 * 32 s over UDP, so slack in the first block is the proxy's memory. */
#define PJSIP_POOL_LEN_TDATA 2000
#define PJSIP_POOL_INC_TDATA 2000
#define PJSIP_POOL_RDATA_LEN 4000
#define PJSIP_POOL_RDATA_INC 4000
#define PJSIP_POOL_TSX_LEN 1536
#define PJSIP_POOL_TSX_INC 512
#define PJSIP_POOL_TSX_LAYER_LEN (512 * 1024)
#define PJSIP_POOL_TSX_LAYER_INC (64 * 1024)

/* ---- behaviour of a proxy ---- */

/* A request above 1,300 bytes must not leave its flow: a phone behind NAT has no TCP port. */
#define PJSIP_DONT_SWITCH_TO_TCP 1
#define PJSIP_DONT_SWITCH_TO_TLS 1
/* From and To are other people's headers: what came in leaves unchanged, port and escapes too. */
#define PJSIP_ALLOW_PORT_IN_FROMTO_HDR 1
#define PJSIP_URI_USE_ORIG_USERPASS 1
/* A burst of datagrams waits in the kernel instead of being lost (cut to net.core.rmem_max). */
#define PJSIP_UDP_SO_RCVBUF_SIZE (4 * 1024 * 1024)
#define PJSIP_UDP_SO_SNDBUF_SIZE (1024 * 1024)
/* Handle what has arrived in one go before the timers are looked at again. */
#define PJSIP_MAX_NET_EVENTS 16
#define PJ_HAS_IPV6 1

/* ---- logging ---- */

/* Level 5 is the library's own debugging. Level 4 still prints whole messages, credentials
 * included, unless msgLogging is off. */
#define PJ_LOG_MAX_LEVEL 4

/* ---- the sanitizer build ---- */

#ifdef PUSH_PROXY_SANITIZED
/* Every pool allocation is a malloc of its own, so that AddressSanitizer sees its end. */
#define PJ_POOL_DEBUG 1
#endif

#endif
