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
 * At once can be too early: in a maildir the file appears before the delivery
 * has given it its UID, and a look in between sees nothing, with no event to
 * follow. So a second look is taken when Dovecot would have taken its first.
 *
 * NOTIFY watches whole namespaces. Their delay is in a timeout that nobody else
 * can get at, but one may have it flushed. So after a callback that is done, too,
 * and no later look is needed: the list's own log is the last thing written.
 */

#include "lib.h"
#include "ioloop.h"
#include "llist.h"
#include "time-util.h"
#include "mail-storage-private.h"
#include "mail-namespace.h"
#include "mailbox-list-private.h"
#include "coi-compat.h"
#include "coi-user.h"
#include "coi-notify.h"

/* Least time between two updates of one mailbox: some 30 a second. */
#define COI_NOTIFY_INTERVAL_MSECS 33
/* As long as Dovecot's own delay. */
#define COI_NOTIFY_LATE_MSECS 500

/* A namespace whose changes the client wants to be told. */
struct coi_notify_list {
	struct coi_notify_list *prev, *next;

	struct mailbox_list_notify *notify;
	struct timeout *to_flush;
	struct timeval last_time;
};

#define COI_LIST_CONTEXT(obj) MODULE_CONTEXT(obj, coi_list_module)
static MODULE_CONTEXT_DEFINE_INIT(coi_list_module,
				  &mailbox_list_module_register);

static struct coi_notify *watched_mailboxes;
static struct coi_notify_list *watched_lists;
/* A callback is going to end that has flushed; it is no reason to do so again. */
static bool flushing;

static void coi_notify_late(struct coi_notify *notify)
{
	struct mailbox *box = notify->box;

	timeout_remove(&notify->to_late);
	box->notify_callback(box, box->notify_context);
}

static void coi_notify_now(struct coi_notify *notify)
{
	struct mailbox *box = notify->box;

	timeout_remove(&box->to_notify_delay);
	notify->to_delay = NULL;
	notify->last_time = ioloop_timeval;
	if (notify->to_late != NULL) {
		timeout_reset(notify->to_late);
	} else {
		notify->to_late = timeout_add_short(COI_NOTIFY_LATE_MSECS,
						    coi_notify_late, notify);
	}
	/* may free the mailbox, and with it what notify points to */
	box->notify_callback(box, box->notify_context);
}

static unsigned int coi_notify_get_delay(const struct timeval *last_time)
{
	long long msecs;

	msecs = timeval_diff_msecs(&ioloop_timeval, last_time);
	/* the clock may have been set back */
	if (msecs < 0 || msecs >= COI_NOTIFY_INTERVAL_MSECS)
		return 0;
	return COI_NOTIFY_INTERVAL_MSECS - msecs;
}

static void coi_notify_before_io(struct mail_user *user ATTR_UNUSED)
{
}

static void coi_notify_flush(struct coi_notify_list *list)
{
	timeout_remove(&list->to_flush);
	list->last_time = ioloop_timeval;
	flushing = TRUE;
	/* may free the list */
	mailbox_list_notify_flush(list->notify);
}

static void coi_notify_lists_after_io(struct mail_user *user)
{
	struct coi_notify_list *list;

	if (flushing) {
		flushing = FALSE;
		return;
	}
	for (list = watched_lists; list != NULL; list = list->next) {
		if (list->to_flush == NULL &&
		    list->notify->list->ns->user == user) {
			list->to_flush = timeout_add_short(
				coi_notify_get_delay(&list->last_time),
				coi_notify_flush, list);
		}
	}
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
			timeout_remove(&box->to_notify_delay);
			box->to_notify_delay = timeout_add_short(
				coi_notify_get_delay(&notify->last_time),
				coi_notify_now, notify);
			notify->to_delay = box->to_notify_delay;
		}
	}
	coi_notify_lists_after_io(user);
}

static bool coi_notify_hook_io(struct mail_user *user)
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

static void coi_notify_unwatch(struct coi_notify *notify)
{
	if (!notify->watched)
		return;
	notify->watched = FALSE;
	timeout_remove(&notify->to_late);
	DLLIST_REMOVE(&watched_mailboxes, notify);
}

void coi_notify_changed(struct coi_notify *notify, struct mailbox *box)
{
	if (box->notify_callback == NULL) {
		coi_notify_unwatch(notify);
	} else if (!notify->watched && coi_notify_hook_io(box->storage->user)) {
		notify->watched = TRUE;
		notify->box = box;
		notify->to_delay = NULL;
		DLLIST_PREPEND(&watched_mailboxes, notify);
	}
}

static void coi_notify_list_unwatch(struct mailbox_list_notify *notify)
{
	struct coi_notify_list *list;

	for (list = watched_lists; list != NULL; list = list->next) {
		if (list->notify == notify) {
			timeout_remove(&list->to_flush);
			DLLIST_REMOVE(&watched_lists, list);
			i_free(list);
			return;
		}
	}
}

static void coi_list_notify_wait(struct mailbox_list_notify *notify,
				 void (*callback)(void *context), void *context)
{
	union mailbox_list_module_context *ctx = COI_LIST_CONTEXT(notify->list);
	struct coi_notify_list *list;

	ctx->super.notify_wait(notify, callback, context);
	coi_notify_list_unwatch(notify);
	if (callback != NULL && coi_notify_hook_io(notify->list->ns->user)) {
		list = i_new(struct coi_notify_list, 1);
		list->notify = notify;
		DLLIST_PREPEND(&watched_lists, list);
	}
}

static void coi_list_notify_deinit(struct mailbox_list_notify *notify)
{
	union mailbox_list_module_context *ctx = COI_LIST_CONTEXT(notify->list);

	coi_notify_list_unwatch(notify);
	ctx->super.notify_deinit(notify);
}

void coi_notify_list_created(struct mailbox_list *mailbox_list)
{
	struct mailbox_list_vfuncs *v = mailbox_list->vlast;
	union mailbox_list_module_context *ctx;

	if (COI_USER_CONTEXT(mailbox_list->ns->user) == NULL)
		return;
	/* The list index, if there is one, has its functions put into super later. */
	ctx = p_new(mailbox_list->pool, union mailbox_list_module_context, 1);
	ctx->super = *v;
	mailbox_list->vlast = &ctx->super;
	v->notify_wait = coi_list_notify_wait;
	v->notify_deinit = coi_list_notify_deinit;
	MODULE_CONTEXT_SET_SELF(mailbox_list, coi_list_module, ctx);
}

void coi_notify_deinit(struct coi_notify *notify)
{
	coi_notify_unwatch(notify);
}
