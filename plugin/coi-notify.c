/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/*
 * Dovecot watches the files of a mailbox with inotify. When one changes, it
 * starts a timeout of half a second, and tells the client after that. Nothing
 * can be set there. But the timeout is in the mailbox, and whatever I/O
 * callback has started it runs in the I/O loop context of the user. So after
 * each callback in that context we look whether a watched mailbox has got such
 * a timeout, and put a shorter one in its place: at once if the client hasn't
 * been told anything lately, else when the interval is over. Nothing wakes up
 * that would not have woken up before, and no file is watched twice.
 *
 * At once can be too early in a maildir. The file appears first; then the delivery
 * notes in the index that it knows of that change, and then what the mail is. A look
 * in between finds nothing, and no event follows. But all the while the delivery has
 * the list of UIDs locked. So we wait until it hasn't, which is also sooner over than
 * Dovecot's own waiting. As that lock may be anybody's, there is an end to it; and a
 * second look is always taken when Dovecot would have taken its first, and further ones
 * while the lock is still there.
 *
 * For NOTIFY, Dovecot 2.3 stops watching the selected mailbox when it looks, and
 * begins again a second later without another look. What comes in between isn't told.
 * That is rare where half a second of changes is told together, but not where the first
 * one is told at once. So where watching begins again, we look if anything has changed.
 *
 * Of an sdbox or mdbox Dovecot watches the log of the index, and doesn't notice that it is
 * rotated. What was written to the old one before that makes us look, and then we have
 * the new one watched.
 */

#include "lib.h"
#include "ioloop.h"
#include "llist.h"
#include "time-util.h"
#include "mail-index-modseq.h"
#include "mail-transaction-log.h"
#include "mail-storage-private.h"
#include "maildir-storage.h"
#include "maildir-uidlist.h"
#include "mdbox-storage.h"
#include "sdbox-storage.h"
#include "coi-compat.h"
#include "coi-user.h"
#include "coi-list-notify.h"
#include "coi-notify.h"

/* Then Dovecot is going to have a look of its own. */
#define COI_NOTIFY_LATEST_MSECS 16000

static struct coi_notify *watched_mailboxes;
/* The one that is being told. */
static const struct coi_notify *looking;

static void coi_notify_look(struct coi_notify *notify)
{
	struct mailbox *box = notify->box;

	looking = notify;
	/* may free the mailbox, and with it what notify points to */
	box->notify_callback(box, box->notify_context);
	looking = NULL;
}

static bool coi_notify_is_maildir(const struct mailbox *box)
{
	return strcmp(box->storage->name, MAILDIR_STORAGE_NAME) == 0;
}

static bool coi_notify_is_dbox(const struct mailbox *box)
{
	return strcmp(box->storage->name, SDBOX_STORAGE_NAME) == 0 ||
		strcmp(box->storage->name, MDBOX_STORAGE_NAME) == 0;
}

static bool coi_notify_is_locked(struct mailbox *box)
{
	const char *dir, *path;
	struct stat st;

	if (!coi_notify_is_maildir(box) ||
	    mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_CONTROL, &dir) <= 0)
		return FALSE;
	path = t_strconcat(dir, "/" MAILDIR_UIDLIST_NAME ".lock", NULL);
	return stat(path, &st) == 0;
}

static void coi_notify_stat_log(struct mailbox *box, struct stat *st_r)
{
	const char *dir;

	if (!coi_notify_is_dbox(box) ||
	    mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_INDEX, &dir) <= 0 ||
	    stat(t_strconcat(dir,
			     "/" MAIL_INDEX_PREFIX MAIL_TRANSACTION_LOG_SUFFIX,
			     NULL),
		 st_r) < 0)
		i_zero(st_r);
}

static void coi_notify_follow_log(struct coi_notify *notify)
{
	struct mailbox *box = notify->box;
	mailbox_notify_callback_t *callback = box->notify_callback;
	void *context = box->notify_context;
	struct stat st;

	coi_notify_stat_log(box, &st);
	if (st.st_ino == 0 ||
	    (st.st_ino == notify->log_st.st_ino &&
	     CMP_DEV_T(st.st_dev, notify->log_st.st_dev)))
		return;
	mailbox_notify_changes_stop(box);
	/* not the macro, which wants to know what the context is */
	(mailbox_notify_changes)(box, callback, context);
}

static void coi_notify_late(struct coi_notify *notify);

static void coi_notify_start_late(struct coi_notify *notify)
{
	timeout_remove(&notify->to_late);
	notify->to_late = timeout_add_short(notify->late_msecs, coi_notify_late,
					    notify);
}

static void coi_notify_late(struct coi_notify *notify)
{
	timeout_remove(&notify->to_late);
	coi_notify_follow_log(notify);
	if (notify->late_msecs < COI_NOTIFY_LATEST_MSECS &&
	    coi_notify_is_locked(notify->box)) {
		notify->late_msecs *= 2;
		coi_notify_start_late(notify);
	}
	coi_notify_look(notify);
}

static void coi_notify_now(struct coi_notify *notify);

static void coi_notify_look_in(struct coi_notify *notify, unsigned int msecs)
{
	struct mailbox *box = notify->box;

	timeout_remove(&box->to_notify_delay);
	box->to_notify_delay = timeout_add_short(msecs, coi_notify_now, notify);
	notify->to_delay = box->to_notify_delay;
}

static void coi_notify_now(struct coi_notify *notify)
{
	struct mailbox *box = notify->box;

	if (notify->wait_msecs < COI_NOTIFY_INTERVAL_MSECS &&
	    coi_notify_is_locked(box)) {
		notify->wait_msecs = I_MAX(notify->wait_msecs * 2, 1);
		coi_notify_look_in(notify, notify->wait_msecs);
		return;
	}
	coi_notify_follow_log(notify);
	notify->wait_msecs = 0;
	timeout_remove(&box->to_notify_delay);
	notify->to_delay = NULL;
	notify->interval_msecs = coi_notify_next_interval(
		&notify->last_time, notify->interval_msecs);
	notify->looked_uid = mail_index_get_header(box->view)->next_uid;
	notify->last_time = ioloop_timeval;
	notify->late_msecs = COI_NOTIFY_LATE_MSECS;
	coi_notify_start_late(notify);
	coi_notify_look(notify);
}

unsigned int coi_notify_get_delay(const struct timeval *last_time,
				  unsigned int interval_msecs)
{
	long long msecs;

	msecs = timeval_diff_msecs(&ioloop_timeval, last_time);
	/* the clock may have been set back */
	if (msecs < 0 || msecs >= interval_msecs)
		return 0;
	return interval_msecs - msecs;
}

unsigned int coi_notify_next_interval(const struct timeval *last_time,
				      unsigned int interval_msecs)
{
	/* Twice the longest: it is no quiet to have waited for as long as one must. */
	if (coi_notify_get_delay(last_time, 2 * COI_NOTIFY_INTERVAL_MSECS) == 0)
		return 1;
	return I_MIN(interval_msecs * 2, COI_NOTIFY_INTERVAL_MSECS);
}

static void coi_notify_look_soon(struct coi_notify *notify)
{
	const struct mail_index_header *hdr =
		mail_index_get_header(notify->box->view);

	/* A look that has found no mail may have come too early. */
	if (hdr->next_uid != notify->looked_uid)
		notify->interval_msecs = COI_NOTIFY_INTERVAL_MSECS;
	coi_notify_look_in(notify,
			   coi_notify_get_delay(&notify->last_time,
						notify->interval_msecs));
}

static void coi_notify_before_io(struct mail_user *user ATTR_UNUSED)
{
}

static void coi_notify_after_io(struct mail_user *user)
{
	struct coi_notify *notify;
	struct mailbox *box;

	for (notify = watched_mailboxes; notify != NULL;
	     notify = notify->next) {
		box = notify->box;
		if (box->to_notify_delay == NULL) {
			notify->to_delay = NULL;
		} else if (box->to_notify_delay != notify->to_delay) {
			coi_notify_look_soon(notify);
		}
	}
	coi_list_notify_after_io(user);
}

bool coi_notify_hook_io(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	const struct coi_settings *set = coi_user_settings(user);
	struct ioloop_context *ctx;

	if (cuser->notify_hooked)
		return TRUE;
	ctx = io_loop_get_current_context(current_ioloop);
	if (set == NULL || !set->coi_notify_instant || ctx == NULL)
		return FALSE;
	/* The context goes away with the user, and our callback with it. */
	io_loop_context_add_callbacks(ctx, coi_notify_before_io,
				      coi_notify_after_io, user);
	cuser->notify_hooked = TRUE;
	return TRUE;
}

static void coi_notify_read_view(struct mail_index_view *view,
				 struct coi_notify_status *status_r)
{
	const struct mail_index_header *hdr = mail_index_get_header(view);

	i_zero(status_r);
	status_r->uid_validity = hdr->uid_validity;
	status_r->next_uid = hdr->next_uid;
	status_r->messages = hdr->messages_count;
	status_r->seen = hdr->seen_messages_count;
	status_r->modseq = mail_index_modseq_get_highest(view);
}

void coi_notify_read_status(struct mailbox *box,
			    struct coi_notify_status *status_r)
{
	struct mail_index_view *view;

	(void)mail_index_refresh(box->index);
	view = mail_index_view_open(box->index);
	coi_notify_read_view(view, status_r);
	mail_index_view_close(&view);
}

static void coi_notify_stat_new(struct mailbox *box, struct stat *st_r)
{
	/* not every kind of mailbox has a path */
	if (!coi_notify_is_maildir(box) ||
	    stat(t_strconcat(mailbox_get_path(box), "/new", NULL), st_r) < 0)
		i_zero(st_r);
}

/* Whether there is something in a maildir's new/ that isn't in the index yet. After a
   look that may be what can't be read, and then another look changes nothing. */
static bool coi_notify_has_new(struct coi_notify *notify)
{
	const struct maildir_index_header *hdr;
	struct stat st;

	coi_notify_stat_new(notify->box, &st);
	if (st.st_ino == 0)
		return FALSE;
	if (notify->was_told)
		return ST_CHANGED(st, notify->new_st);
	hdr = &(MAILDIR_MAILBOX(notify->box))->maildir_hdr;
	return (uint32_t)st.st_mtime != hdr->new_mtime ||
		!ST_NTIMES_EQUAL(ST_MTIME_NSEC(st), hdr->new_mtime_nsecs);
}

static bool coi_notify_has_changed(struct coi_notify *notify)
{
	struct coi_notify_status status;

	coi_notify_read_status(notify->box, &status);
	return memcmp(&status, &notify->status, sizeof(status)) != 0 ||
		coi_notify_has_new(notify);
}

bool coi_notify_has_untold(struct mailbox *box)
{
	struct coi_notify_status status, told;
	struct coi_notify *notify;
	struct stat st;

	for (notify = watched_mailboxes; notify != NULL;
	     notify = notify->next) {
		if (notify->box == box)
			break;
	}
	if (notify == NULL)
		return FALSE;
	if (box->to_notify_delay != NULL)
		return TRUE;
	/* Asked first: what is delivered after that is seen by what follows. */
	if (coi_notify_is_locked(box)) {
		coi_notify_look_in(notify, 0);
		return TRUE;
	}
	coi_notify_read_status(box, &status);
	coi_notify_read_view(box->view, &told);
	coi_notify_stat_new(box, &st);
	if (memcmp(&status, &told, sizeof(status)) == 0 &&
	    !coi_notify_has_new(notify))
		return FALSE;
	if (memcmp(&status, &notify->status, sizeof(status)) == 0 &&
	    !ST_CHANGED(st, notify->new_st))
		return FALSE;
	notify->status = status;
	notify->new_st = st;
	coi_notify_look_in(notify, 0);
	return TRUE;
}

static void coi_notify_watch(struct coi_notify *notify, struct mailbox *box)
{
	notify->watched = TRUE;
	notify->box = box;
	notify->to_delay = NULL;
	notify->wait_msecs = 0;
	DLLIST_PREPEND(&watched_mailboxes, notify);
	if (!notify->was_told)
		coi_notify_read_view(box->view, &notify->status);
	/* What is being delivered may have caused its event before. */
	if (coi_notify_has_changed(notify) || coi_notify_is_locked(box))
		coi_notify_look_soon(notify);
	notify->was_told = FALSE;
}

static void coi_notify_unwatch(struct coi_notify *notify)
{
	notify->watched = FALSE;
	timeout_remove(&notify->to_late);
	/* Not every kind of mailbox does that. */
	timeout_remove(&notify->box->to_notify_delay);
	DLLIST_REMOVE(&watched_mailboxes, notify);
}

void coi_notify_before_change(struct coi_notify *notify, struct mailbox *box)
{
	/* It is a rotation then, at worst. */
	if (box->notify_callback != NULL)
		coi_notify_stat_log(box, &notify->log_st);
}

void coi_notify_changed(struct coi_notify *notify, struct mailbox *box)
{
	if (box->notify_callback != NULL) {
		if (!notify->watched && coi_notify_hook_io(box->storage->user))
			coi_notify_watch(notify, box);
	} else if (notify->watched) {
		coi_notify_unwatch(notify);
		/* What is told leaves mails in the view that are gone, where the
		   client doesn't want to hear of that at once. */
		notify->was_told = looking == notify;
		if (notify->was_told) {
			coi_notify_read_status(box, &notify->status);
			coi_notify_stat_new(box, &notify->new_st);
		}
	}
}

void coi_notify_deinit(struct coi_notify *notify)
{
	if (notify->watched)
		coi_notify_unwatch(notify);
}
