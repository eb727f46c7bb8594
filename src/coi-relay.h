/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_RELAY_H
#define COI_RELAY_H

/* The door of the relay: the work of the service coi-push, to which
 * plugin/push/coi-push.c is the shell. Linked into that program, not loaded.
 *
 * (1) Everything runs in the caller's thread. No call blocks for the network;
 *     coi_relay_run() returns within some milliseconds.
 * (2) Callbacks are called from within coi_relay_open() (log() alone),
 *     coi_relay_run(), coi_relay_add_client() and coi_relay_close(), and must
 *     not call back into the relay.
 * (3) Texts handed to callbacks are NUL-terminated, valid UTF-8 without control
 *     characters, hold no secret, and are good for the call only.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Strings must outlive the relay. Lists are separated by blanks. */
struct coi_relay_settings {
	/* Keys: vapid.pem, vapid-*.pem, storage.pem; made where missing. */
	const char *key_dir;
	/* The queue's database. Must not be the same as key_dir. */
	const char *queue_dir;
	/* Where mail processes put hand-offs while the service is away; gets
	   the file seal.pub. */
	const char *spool_dir;

	/* `sub` of the VAPID token: mailto: or https: (RFC 8292, 2.1). The
	   default is for an empty one; one that can't be used is left out, with
	   a warning. */
	const char *vapid_subject;
	const char *vapid_subject_default;

	/* END-3. Patterns of hosts: "push.example.org", "*.example.org". If
	   hosts_allowed isn't empty, no other host is. */
	const char *hosts_allowed;
	const char *hosts_denied;
	/* END-1: hosts (host or host:port) that may be http. */
	const char *hosts_http;
	/* END-2: networks (CIDR) that may be connected to although they are
	   not public. */
	const char *networks_allowed;
	/* PEM file of further certificate authorities to trust; "" for none */
	const char *ssl_ca_file;

	/* How long a push is kept and retried. */
	unsigned int ttl_chat_secs;
	unsigned int ttl_mail_secs;

	/* Pushes in the queue, altogether and for one user. What is more is
	   refused (all), or replaces the user's oldest (one user). */
	unsigned int queue_limit;
	unsigned int queue_user_limit;
	/* Requests under way, altogether and to one origin; connections to
	   one origin. */
	unsigned int in_flight_limit;
	unsigned int in_flight_origin_limit;
	unsigned int connections_origin_limit;
	/* For one request, and of that until it is connected (TLS too). */
	unsigned int request_timeout_msecs;
	unsigned int connect_timeout_msecs;
	/* A registration's answer comes at most that late. */
	unsigned int register_timeout_msecs;
	/* Where device tokens are sent (CLI-4); "" for nowhere. An endpoint
	   like others: END-1..3. */
	const char *device_token_gateway;

	/* Registrations a user may begin in an hour (END-5). */
	unsigned int register_limit;
};

/* Fills in defaults: no strings but "" for the lists and ssl_ca_file. */
void coi_relay_settings_defaults(struct coi_relay_settings *set);

enum coi_relay_log {
	COI_RELAY_LOG_DEBUG,
	COI_RELAY_LOG_INFO,
	COI_RELAY_LOG_WARNING,
	COI_RELAY_LOG_ERROR,
};

enum coi_relay_outcome {
	COI_RELAY_DELIVERED,
	/* will be tried again */
	COI_RELAY_DEFERRED,
	/* TTL is over, the user has too many, or it is too large */
	COI_RELAY_DROPPED,
	/* the push service says that the subscription is gone */
	COI_RELAY_GONE,
};

/* One attempt to send one push. */
struct coi_relay_event {
	enum coi_relay_outcome outcome;
	const char *user;
	const char *subscription;
	/* scheme, host and port of the push service */
	const char *origin;
	/* HTTP status; 0 where there was none */
	unsigned int status;
	/* why there was none, or ""  */
	const char *error;
	unsigned int attempt;
	/* since the hand-off was accepted */
	uint64_t age_usecs;
	/* validation message of a registration */
	bool validation;
};

struct coi_relay_callbacks {
	void (*log)(void *context, enum coi_relay_log level, const char *text);
	void (*event)(void *context, const struct coi_relay_event *event);
	/* A connection given to coi_relay_add_client() is closed. */
	void (*client_closed)(void *context);
	void *context;
};

struct coi_relay_status {
	uint64_t queued;
	uint64_t in_flight;
	uint64_t clients;
	uint64_t delivered, deferred, dropped, gone;
};

struct coi_relay;

/* Makes the directories' files where they are missing, opens the queue and
   goes on with what is in it. Waits up to 20 s for another process that has it.
   Returns NULL, and an error to be freed with free(), where it can't. Both
   structs are copied. */
struct coi_relay *
coi_relay_open(const struct coi_relay_settings *set,
	       const struct coi_relay_callbacks *callbacks, char **error_r);

/* A file descriptor (epoll) that is readable when coi_relay_run() has work;
   timers are in it, too. */
int coi_relay_fd(const struct coi_relay *relay);
void coi_relay_run(struct coi_relay *relay);

/* Takes over an accepted connection of the hand-off socket. */
void coi_relay_add_client(struct coi_relay *relay, int fd);

/* No more connections are taken; what was accepted is in the queue. Waits half a
   second for what is under way, ends the rest of it (which is sent again after the
   next start), and frees all. */
void coi_relay_close(struct coi_relay **relay);

void coi_relay_get_status(const struct coi_relay *relay,
			  struct coi_relay_status *status_r);

#ifdef __cplusplus
}
#endif

#endif /* COI_RELAY_H */
