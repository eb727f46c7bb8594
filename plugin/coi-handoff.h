/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_HANDOFF_H
#define COI_HANDOFF_H

/* Talks to the service coi-push (docs/handoff.md): writes requests, asks, and
   puts deliveries into the spool where the service can't be asked. Knows
   nothing of mail users. */

#include "array-decl.h"
#include "coi-push.h"

struct event;

/* A value of a header, and a body. */
#define COI_HANDOFF_MAX_VALUE 4096

struct coi_subscription {
	const char *id;
	/* as it is stored, see coi-push.h */
	const char *json;
	/* set by coi_subscriptions_read_wishes() */
	struct coi_push_wishes wishes;
};
ARRAY_DEFINE_TYPE(coi_subscription, struct coi_subscription);

/* What is told of a delivered mail. A text that is NULL or empty is left out,
   one that is too long is cut off. */
struct coi_handoff_mail {
	bool chat;
	uint32_t uid, uidvalidity;
	/* UTF-8 */
	const char *folder;
	const char *from_email, *from_name, *subject;
	/* the Date header; the offset is in minutes east of UTC */
	bool have_date;
	int64_t date;
	int date_offset;
	const char *msg_id, *group_id;
	const char *content_type, *content_encoding;
	/* NULL if it is too large */
	const buffer_t *body;
};

/* Each writes a request. The first three write as many of the subscriptions as
   fit into one, and return how many these are. */
unsigned int
coi_handoff_write_deliver(string_t *line, const char *id, const char *username,
			  const struct coi_subscription *subs,
			  unsigned int count,
			  const struct coi_handoff_mail *mail);
/* of gone and forget, which have nothing else */
typedef unsigned int
coi_handoff_write_about_t(string_t *line, const char *username,
			  const struct coi_subscription *subs,
			  unsigned int count);
coi_handoff_write_about_t coi_handoff_write_gone;
coi_handoff_write_about_t coi_handoff_write_forget;
void coi_handoff_write_register(string_t *line, const char *username,
				const struct coi_subscription *sub);
void coi_handoff_write_vapid(string_t *line);
void coi_handoff_write_status(string_t *line);

/* Milliseconds of a clock that never jumps. */
uint64_t coi_handoff_clock(void);

/* The name of a new hand-off. */
const char *coi_handoff_new_id(void);

struct coi_handoff_answer {
	/* "+" or "-" */
	bool ok;
	/* "queued", "full", .. */
	const char *word;
	/* fields behind it: "name=value", unescaped */
	const char *const *fields;
};

/* Returns the value of the field number *pos or a later one that has this name,
   and sets *pos behind it; or NULL. */
const char *coi_handoff_answer_next(const struct coi_handoff_answer *answer,
				    const char *name, unsigned int *pos);

/* Where the service listens; base_dir is Dovecot's. */
const char *coi_handoff_socket_path(const char *base_dir);

/* Sends the line and waits for the answer. Never takes much longer than the
   timeout. Returns 0 if answered (the answer is in the data stack), -1 if
   not. */
int coi_handoff_ask(const char *socket_path, const string_t *line,
		    unsigned int timeout_msecs,
		    struct coi_handoff_answer *answer_r, const char **error_r);

/* Seals the line and puts it into the spool. Returns 0 if ok, -1 if error. */
int coi_handoff_spool(struct event *event, const char *spool_dir,
		      const char *id, const string_t *line,
		      const char **error_r);

struct coi_handoff_service {
	struct event *event;
	const char *socket_path;
	const char *spool_dir;
	unsigned int timeout_msecs;
};

enum coi_handoff_outcome {
	/* The service has it. */
	COI_HANDOFF_QUEUED,
	/* It will have it. */
	COI_HANDOFF_SPOOLED,
	/* Nobody has it. */
	COI_HANDOFF_FAILED,
};

/* TRUE if the service has just failed to answer a delivery: then it isn't asked
   for some seconds, so that one that hangs costs a process one timeout. */
bool coi_handoff_is_away(void);
void coi_handoff_set_away(void);
/* Forgets that, and ends all that goes on. */
void coi_handoff_deinit(void);

/* Hands off the request of a delivery. Failures are logged, each kind once a
   minute. Once something is in the spool, the service is woken from the root
   ioloop for a while. answer_r is good for COI_HANDOFF_QUEUED only. */
enum coi_handoff_outcome
coi_handoff_deliver(const struct coi_handoff_service *service, const char *id,
		    const string_t *line, struct coi_handoff_answer *answer_r);

#endif
