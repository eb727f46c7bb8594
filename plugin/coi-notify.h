/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_NOTIFY_H
#define COI_NOTIFY_H

/* Telling idle clients at once (IDL-1..3). */

#include <sys/stat.h>

struct mail_user;
struct mailbox;
struct timeout;

/* Least time between two updates of one mailbox: some 30 a second. */
#define COI_NOTIFY_INTERVAL_MSECS 33

/* As long as Dovecot's own delay, here and for NOTIFY. */
#define COI_NOTIFY_LATE_MSECS 500

/* What there is to tell of a mailbox. */
struct coi_notify_status {
	uint32_t uid_validity, next_uid, messages, seen;
	uint64_t modseq;
};

/* Our part of a mailbox that is watched for changes. */
struct coi_notify {
	struct coi_notify *prev, *next;
	struct mailbox *box;

	/* the delay that we have put in place of Dovecot's, for comparison
	   only: the mailbox owns it */
	const struct timeout *to_delay;
	/* how long it was last waited for whoever has a maildir locked */
	unsigned int wait_msecs;
	/* our own, for the second look, and how long after the first one, or the
	   last one, that is */
	struct timeout *to_late;
	unsigned int late_msecs;
	struct timeval last_time;
	/* the least time from then to the next look */
	unsigned int interval_msecs;
	/* the next UID before the last look */
	uint32_t looked_uid;
	/* what the client has been told, or is about to be */
	struct coi_notify_status status;
	bool watched;
	/* It isn't watched because it is being told. */
	bool was_told;
	/* of a maildir: new/ as it was then */
	struct stat new_st;
	/* the log that is watched */
	struct stat log_st;
};

/* Reads the index as it is now. Does not write. */
void coi_notify_read_status(struct mailbox *box,
			    struct coi_notify_status *status_r);

/* Called before and after Dovecot has begun, or ended, to watch the mailbox. */
void coi_notify_before_change(struct coi_notify *notify, struct mailbox *box);
void coi_notify_changed(struct coi_notify *notify, struct mailbox *box);
/* TRUE if there may be something that the client hasn't been told, and it is going to be
   looked at. That there is the same thing again isn't said twice. */
bool coi_notify_has_untold(struct mailbox *box);
/* Called before the mailbox is freed. */
void coi_notify_deinit(struct coi_notify *notify);

/* From now on we are called after each I/O callback of the user's. Returns FALSE
   if the admin wants no client to be told at once. */
bool coi_notify_hook_io(struct mail_user *user);
/* How long a client has to wait for which one has looked then, in milliseconds. */
unsigned int coi_notify_get_delay(const struct timeval *last_time,
				  unsigned int interval_msecs);
/* Returns the least time from a look now to the next one, where that was
   interval_msecs after the last one: little after some quiet, then twice as long each
   time. */
unsigned int coi_notify_next_interval(const struct timeval *last_time,
				      unsigned int interval_msecs);

#endif
