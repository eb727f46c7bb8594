/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/*
 * For NOTIFY Dovecot watches two files of a namespace: the log of its list
 * index, which tells of all folders but INBOX, and INBOX's own log. Half a
 * second after one has changed it takes a look. That delay is in a timeout that
 * nobody else can get at, but one may have it flushed. So that is done after
 * each I/O callback, as for the selected mailbox (coi-notify.c).
 *
 * Twice a second it hardly matters, but so often it does, that a look can miss
 * a change for which there is no event any more:
 *
 * - A look reads the list's log. Into INBOX it looks only if a callback has seen
 *   before that its log has changed. But at its begin it takes note of what
 *   INBOX's log is like then. A change between that callback and the look is
 *   never told: its own callback finds the log as noted. So where a look ends
 *   without INBOX, and its log isn't what it was when INBOX was last told, INBOX
 *   is told by us; but only if there is something new to tell. A log also changes
 *   without, and there are maildirs where each sync writes to it.
 * - STATUS, which tells the client, may have a maildir locked. A delivery doesn't
 *   wait for that, but leaves the mail to the next one who syncs the folder, and
 *   no log changes. So a maildir that was told is synced a little later.
 * - Dovecot doesn't notice that a log has been rotated, and goes on to watch the
 *   old one; and who ends to watch a file ends it for all of the session that do.
 *   So a little later we see to that, too.
 * - Reading the list's log, Dovecot writes the new names of folders into the map of
 *   the index that it has, but takes folders out of a copy of that map. A look that
 *   goes by the old one finds a folder there without a name. It takes the index for
 *   corrupted then, and has it made anew, of which other sessions may crash. So a
 *   look has its map for itself.
 * - A folder that is deleted loses its mails first. Who opens INBOX to tell of that, as
 *   STATUS does, may make a new one in what is being deleted. So a look makes no folder.
 * - A look so early doesn't see yet that INBOX goes. When the next one finds a new INBOX,
 *   Dovecot 2.3 takes its log for a damaged one of the old INBOX, and destroys it, with
 *   the mail that it is about. So it is kept from syncing the old one (coi-mailbox.c).
 * - A folder is there before its index is. Who opens it in between, as STATUS does,
 *   makes it an index without UIDVALIDITY, which mdbox can't repair without doubling
 *   mails. So where a folder has been added, we wait as long as Dovecot would.
 */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "llist.h"
#include "mail-index-private.h"
#include "mail-transaction-log-private.h"
#include "mail-storage-private.h"
#include "mail-namespace.h"
#include "mailbox-list-private.h"
#include "mailbox-list-index.h"
#include "maildir-storage.h"
#include "coi-imap.h"
#include "coi-notify.h"
#include "coi-user.h"
#include "coi-list-notify.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is about the folder and not about the mails in it. */
#define COI_LIST_NOTIFY_NAMES                                         \
	(MAILBOX_LIST_NOTIFY_CREATE | MAILBOX_LIST_NOTIFY_DELETE |    \
	 MAILBOX_LIST_NOTIFY_RENAME | MAILBOX_LIST_NOTIFY_SUBSCRIBE | \
	 MAILBOX_LIST_NOTIFY_UNSUBSCRIBE)

/* A namespace whose changes a client wants to be told. */
struct coi_list_notify {
	struct coi_list_notify *prev, *next;

	struct mailbox_list_notify *notify;
	struct timeout *to_flush;
	/* of the last look that told something or was ours, and the least
	   time from it to the next one */
	struct timeval last_time;
	unsigned int interval_msecs;

	/* What Dovecot calls to take a look; NULL while it doesn't want to. */
	void (*wait_callback)(void *context);
	void *wait_context;

	/* The logs that are watched. NULL is INBOX's if it isn't to be told, or
	   not from a log of its own. */
	char *list_log_path, *inbox_log_path;
	ino_t list_log_ino, inbox_log_ino;

	/* All folders that were there when the last look began have a lower one,
	   in the list's index. */
	uint32_t next_uid;
	/* There is one that hasn't, and it has been left alone for a while. */
	bool waited;

	/* INBOX's log when the look began that was the last to tell of INBOX, or
	   to find nothing to tell, and when the one began that goes on */
	struct stat inbox_told, inbox_begun;
	/* What there was to tell. */
	struct coi_notify_status inbox_status;
	struct mailbox_list_notify_rec inbox_rec;
	bool looking;
	bool inbox_found;

	/* The maildirs that have been told lately, by their vnames. */
	ARRAY(char *) told;
	struct timeout *to_late;
	/* There has been another look since to_late was set. */
	bool late_again;
	/* There may have been a change without an event. */
	bool look_missed;
};

#define COI_LIST_CONTEXT(obj) MODULE_CONTEXT(obj, coi_list_module)
static MODULE_CONTEXT_DEFINE_INIT(coi_list_module,
				  &mailbox_list_module_register);

static struct coi_list_notify *watched_lists;
/* A callback is going to end that has flushed; it is no reason to do so again. */
static bool flushing;
/* A look is going on that Dovecot wouldn't take now. */
static bool looking;

static struct coi_list_notify *
coi_list_notify_find(const struct mailbox_list_notify *notify)
{
	struct coi_list_notify *list;

	for (list = watched_lists; list != NULL; list = list->next) {
		if (list->notify == notify)
			return list;
	}
	return NULL;
}

static bool coi_list_notify_is_readable(const struct coi_list_notify *list)
{
	struct stat st;

	return (stat(list->list_log_path, &st) == 0 || errno == ENOENT) &&
		(list->inbox_log_path == NULL ||
		 stat(list->inbox_log_path, &st) == 0 || errno == ENOENT);
}

/* From now on the index has another map than Dovecot's look. */
static void coi_list_notify_unshare_map(struct mailbox_list *mailbox_list)
{
	struct mailbox_list_index *ilist =
		INDEX_LIST_CONTEXT_REQUIRE(mailbox_list);
	struct mail_index *index = ilist->index;
	struct mail_index_map *map;

	if (index->map->refcount > 1) {
		map = mail_index_map_clone(index->map);
		mail_index_unmap(&index->map);
		index->map = map;
	}
}

static uint32_t coi_list_notify_get_next_uid(struct coi_list_notify *list)
{
	struct mailbox_list_index *ilist =
		INDEX_LIST_CONTEXT_REQUIRE(list->notify->list);

	/* If it can't be read, there is nothing new. */
	coi_list_notify_unshare_map(list->notify->list);
	(void)mail_index_refresh(ilist->index);
	return ilist->index->map->hdr.next_uid;
}

/* Returns TRUE if a folder has been added just now, for half a second. */
static bool coi_list_notify_is_too_early(struct coi_list_notify *list)
{
	uint32_t next_uid = coi_list_notify_get_next_uid(list);

	if (next_uid != list->next_uid && !list->waited) {
		list->waited = TRUE;
		return TRUE;
	}
	/* If there is no look now, there won't be one because of that folder. */
	list->next_uid = next_uid;
	list->waited = FALSE;
	return FALSE;
}

/* For as long as none tells anything. They may come too early, while a delivery to a
   maildir is still writing: so the next one may follow soon, but each time later. */
static void coi_list_notify_looks(struct coi_list_notify *list)
{
	list->interval_msecs = coi_notify_next_interval(&list->last_time,
							list->interval_msecs);
	list->last_time = ioloop_timeval;
}

static void coi_list_notify_flush(struct coi_list_notify *list)
{
	timeout_remove(&list->to_flush);
	/* Dovecot would write into the middle of an answer. */
	if (coi_imap_output_is_busy(list->notify->list->ns->user) ||
	    coi_list_notify_is_too_early(list)) {
		list->to_flush = timeout_add_short(COI_NOTIFY_LATE_MSECS,
						   coi_list_notify_flush, list);
		return;
	}
	coi_list_notify_looks(list);
	flushing = TRUE;
	looking = TRUE;
	/* may free the list */
	mailbox_list_notify_flush(list->notify);
	looking = FALSE;
}

bool coi_list_notify_is_looking(void)
{
	return looking;
}

void coi_list_notify_after_io(struct mail_user *user)
{
	struct coi_list_notify *list;

	if (flushing) {
		flushing = FALSE;
		return;
	}
	for (list = watched_lists; list != NULL; list = list->next) {
		if (list->wait_callback == NULL ||
		    list->notify->list->ns->user != user)
			continue;
		/* Then Dovecot has ended to wait, without telling us, and to
		   flush it would be its end. */
		if (!coi_list_notify_is_readable(list)) {
			list->wait_callback = NULL;
			timeout_remove(&list->to_flush);
		} else if (list->to_flush == NULL) {
			list->to_flush = timeout_add_short(
				coi_notify_get_delay(&list->last_time,
						     list->interval_msecs),
				coi_list_notify_flush, list);
		}
	}
}

/* A log that isn't there is all zeroes; that is a state like any other. */
static void coi_list_notify_stat(const char *log_path, struct stat *st_r)
{
	if (log_path == NULL || stat(log_path, st_r) < 0)
		i_zero(st_r);
}

static void coi_list_notify_get_inodes(const struct coi_list_notify *list,
				       ino_t *list_r, ino_t *inbox_r)
{
	struct stat st;

	coi_list_notify_stat(list->list_log_path, &st);
	*list_r = st.st_ino;
	coi_list_notify_stat(list->inbox_log_path, &st);
	*inbox_r = st.st_ino;
}

static void
coi_list_notify_wait(struct mailbox_list_notify *notify,
		     void (*callback)(void *context), void *context);

static void coi_list_notify_forget_told(struct coi_list_notify *list)
{
	char *vname;

	array_foreach_elem(&list->told, vname)
		i_free(vname);
	array_clear(&list->told);
}

/* Returns NULL where it can't be opened; then there is nothing to tell. */
static struct mailbox *
coi_list_notify_open(struct mailbox_list *list, const char *vname,
		     enum mailbox_flags flags)
{
	enum mailbox_existence existence;
	struct mailbox *box;

	/* A folder that isn't there, or not any more, isn't to be made by opening it. */
	box = mailbox_alloc(list, vname, flags);
	box->deleting = TRUE;
	if (mailbox_exists(box, FALSE, &existence) < 0 ||
	    existence != MAILBOX_EXISTENCE_SELECT || mailbox_open(box) < 0)
		mailbox_free(&box);
	else
		box->deleting = FALSE;
	return box;
}

/* Returns TRUE if there is something of INBOX that has not been told yet. */
static bool coi_list_notify_inbox_differs(struct coi_list_notify *list)
{
	struct coi_notify_status status;
	struct mailbox *box;
	bool differs;

	box = coi_list_notify_open(list->notify->list, "INBOX",
				   MAILBOX_FLAG_READONLY);
	if (box == NULL)
		return FALSE;
	coi_notify_read_status(box, &status);
	differs = memcmp(&status, &list->inbox_status, sizeof(status)) != 0;
	list->inbox_status = status;
	/* Dovecot has it open, and STATUS would take it as it was. Not else: it
	   may write, and so be the next change. */
	if (differs)
		(void)mailbox_sync(box, MAILBOX_SYNC_FLAG_FAST);
	mailbox_free(&box);
	return differs;
}

static void coi_list_notify_late(struct coi_list_notify *list);

static void coi_list_notify_start_late(struct coi_list_notify *list)
{
	if (list->to_late == NULL) {
		list->to_late = timeout_add_short(COI_NOTIFY_LATE_MSECS,
						  coi_list_notify_late, list);
	} else {
		list->late_again = TRUE;
	}
}

/* Watches the logs as they are now. */
static void coi_list_notify_watch_again(struct coi_list_notify *list)
{
	void (*callback)(void *context) = list->wait_callback;
	void *context = list->wait_context;

	coi_list_notify_wait(list->notify, NULL, NULL);
	coi_list_notify_wait(list->notify, callback, context);
	list->look_missed = TRUE;
	coi_list_notify_start_late(list);
}

void coi_list_notify_watches_lost(struct mail_user *user)
{
	struct coi_list_notify *list;

	for (list = watched_lists; list != NULL; list = list->next) {
		if (list->wait_callback != NULL &&
		    list->notify->list->ns->user == user)
			coi_list_notify_watch_again(list);
	}
}

static void coi_list_notify_late(struct coi_list_notify *list)
{
	ino_t list_ino, inbox_ino;
	struct mailbox *box;
	char *vname;

	if (coi_imap_output_is_busy(list->notify->list->ns->user))
		return; /* for another half second */

	/* What is found in them goes into a log, so that Dovecot hears of it. */
	array_foreach_elem(&list->told, vname) {
		box = coi_list_notify_open(list->notify->list, vname, 0);
		if (box != NULL) {
			(void)mailbox_sync(box, 0);
			mailbox_free(&box);
		}
	}
	if (!list->late_again)
		coi_list_notify_forget_told(list);

	coi_list_notify_get_inodes(list, &list_ino, &inbox_ino);
	if (list->wait_callback != NULL &&
	    (list_ino != list->list_log_ino ||
	     inbox_ino != list->inbox_log_ino))
		coi_list_notify_watch_again(list);
	if (list->look_missed && coi_list_notify_is_too_early(list))
		return;

	if (list->late_again)
		list->late_again = FALSE;
	else
		timeout_remove(&list->to_late);
	if (list->look_missed) {
		list->look_missed = FALSE;
		looking = TRUE;
		/* may free the list */
		if (list->wait_callback != NULL)
			list->wait_callback(list->wait_context);
		looking = FALSE;
	}
}

static void
coi_list_notify_told(struct coi_list_notify *list, const char *vname)
{
	char *told;

	coi_list_notify_start_late(list);
	if (strcmp(list->notify->list->ns->storage->name,
		   MAILDIR_STORAGE_NAME) != 0)
		return;
	array_foreach_elem(&list->told, told) {
		if (strcmp(told, vname) == 0)
			return;
	}
	told = i_strdup(vname);
	array_push_back(&list->told, &told);
}

/* The same conditions as Dovecot's. */
static char *coi_list_notify_inbox_log_path(struct mailbox_list *list,
					    enum mailbox_list_notify_event mask,
					    struct coi_notify_status *status_r)
{
	struct mailbox *box;
	const char *index_dir;

	if ((mask & MAILBOX_LIST_NOTIFY_STATUS) == 0 ||
	    (list->ns->flags & NAMESPACE_FLAG_INBOX_ANY) == 0 ||
	    list->mail_set->mailbox_list_index_include_inbox ||
	    mailbox_list_get_path(list, "INBOX", MAILBOX_LIST_PATH_TYPE_INDEX,
				  &index_dir) <= 0)
		return NULL;
	box = coi_list_notify_open(list, "INBOX", MAILBOX_FLAG_READONLY);
	if (box != NULL) {
		coi_notify_read_status(box, status_r);
		mailbox_free(&box);
	}
	return i_strconcat(index_dir,
			   "/" MAIL_INDEX_PREFIX MAIL_TRANSACTION_LOG_SUFFIX,
			   NULL);
}

static void coi_list_notify_free(struct coi_list_notify *list)
{
	coi_list_notify_forget_told(list);
	array_free(&list->told);
	timeout_remove(&list->to_flush);
	timeout_remove(&list->to_late);
	i_free(list->list_log_path);
	i_free(list->inbox_log_path);
	i_free(list);
}

bool coi_list_notify_is_replaced(const struct mailbox *box)
{
	struct mail_transaction_log_header hdr;
	struct mail_index *index = box->index;
	const char *path;
	struct stat st;
	bool replaced;
	int fd;

	if (!box->inbox_user || (box->flags & MAILBOX_FLAG_READONLY) == 0 ||
	    !box->opened || mail_index_is_in_memory(index))
		return FALSE;
	path = t_strconcat(index->filepath, MAIL_TRANSACTION_LOG_SUFFIX, NULL);
	if (stat(path, &st) < 0 || st.st_ino == index->log->head->st_ino)
		return FALSE;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return FALSE;
	replaced = read(fd, &hdr, sizeof(hdr)) == sizeof(hdr) &&
		hdr.indexid != index->indexid;
	i_close_fd(&fd);
	return replaced;
}

void coi_list_notify_before_refresh(struct mailbox_list *mailbox_list)
{
	struct coi_list_notify *list;

	for (list = watched_lists; list != NULL; list = list->next) {
		if (list->notify->list == mailbox_list)
			coi_list_notify_unshare_map(mailbox_list);
	}
}

static int coi_list_notify_init(struct mailbox_list *mailbox_list,
				enum mailbox_list_notify_event mask,
				struct mailbox_list_notify **notify_r)
{
	union mailbox_list_module_context *ctx = COI_LIST_CONTEXT(mailbox_list);
	struct mailbox_list_index *ilist = INDEX_LIST_CONTEXT(mailbox_list);
	struct coi_list_notify *list;
	int ret;

	if (ctx->super.notify_init == NULL)
		return -1; /* as Dovecot does */
	/* The virtual plugin asks for this, and never takes a look. By way of an
	   alias, INBOX is another folder to 2.3, but in the same place of the
	   index: to look into either changes what there is to tell of the other
	   one, and so without end if each look is followed by one of ours. */
	if (ilist == NULL || mask == MAILBOX_LIST_NOTIFY_STATUS ||
	    mailbox_list->ns->alias_for != NULL ||
	    !coi_notify_hook_io(mailbox_list->ns->user))
		return ctx->super.notify_init(mailbox_list, mask, notify_r);

	list = i_new(struct coi_list_notify, 1);
	i_array_init(&list->told, 4);
	list->inbox_log_path = coi_list_notify_inbox_log_path(
		mailbox_list, mask, &list->inbox_status);
	coi_list_notify_stat(list->inbox_log_path, &list->inbox_told);
	ret = ctx->super.notify_init(mailbox_list, mask, notify_r);
	if (ret < 0) {
		coi_list_notify_free(list);
		return ret;
	}
	coi_list_notify_unshare_map(mailbox_list);
	/* It is open only now. */
	list->list_log_path = i_strconcat(ilist->index->filepath,
					  MAIL_TRANSACTION_LOG_SUFFIX, NULL);
	list->notify = *notify_r;
	list->next_uid = ilist->index->map->hdr.next_uid;
	list->inbox_rec.vname = list->inbox_rec.storage_name = "INBOX";
	list->inbox_rec.events = mask & MAILBOX_LIST_NOTIFY_STATUS;
	DLLIST_PREPEND(&watched_lists, list);
	return ret;
}

static void coi_list_notify_deinit(struct mailbox_list_notify *notify)
{
	union mailbox_list_module_context *ctx = COI_LIST_CONTEXT(notify->list);
	struct coi_list_notify *list = coi_list_notify_find(notify);
	struct mail_user *user = notify->list->ns->user;

	if (list != NULL) {
		DLLIST_REMOVE(&watched_lists, list);
		coi_list_notify_free(list);
	}
	ctx->super.notify_deinit(notify);
	/* Who watched the same files doesn't any more. */
	coi_list_notify_watches_lost(user);
}

static void coi_list_notify_wait(struct mailbox_list_notify *notify,
				 void (*callback)(void *context), void *context)
{
	union mailbox_list_module_context *ctx = COI_LIST_CONTEXT(notify->list);
	struct coi_list_notify *list = coi_list_notify_find(notify);

	if (list != NULL) {
		list->wait_callback = callback;
		list->wait_context = context;
		timeout_remove(&list->to_flush);
		/* before they are watched: it is a rotation then, at worst */
		coi_list_notify_get_inodes(list, &list->list_log_ino,
					   &list->inbox_log_ino);
	}
	ctx->super.notify_wait(notify, callback, context);
}

/* TRUE if Dovecot has looked, and not into INBOX, which has changed. */
static bool coi_list_notify_missed_inbox(struct coi_list_notify *list)
{
	struct stat st;

	if (list->inbox_found)
		return FALSE;
	/* a log that isn't to be looked at never changes */
	coi_list_notify_stat(list->inbox_log_path, &st);
	if (!ST_CHANGED(st, list->inbox_told))
		return FALSE;
	list->inbox_told = st;
	return coi_list_notify_inbox_differs(list);
}

static void
coi_list_notify_check_inbox(struct coi_list_notify *list,
			    const struct mailbox_list_notify_rec **rec_r)
{
	if (strcmp((*rec_r)->vname, "INBOX") != 0 ||
	    ((*rec_r)->events & COI_LIST_NOTIFY_NAMES) != 0)
		return;
	list->inbox_found = TRUE;
	list->inbox_told = list->inbox_begun;
	/* Who has synced it since, as we do, has taken the difference away
	   that Dovecot looks for. */
	if (coi_list_notify_inbox_differs(list) && (*rec_r)->events == 0)
		*rec_r = &list->inbox_rec;
}

static int coi_list_notify_next(struct mailbox_list_notify *notify,
				const struct mailbox_list_notify_rec **rec_r)
{
	union mailbox_list_module_context *ctx = COI_LIST_CONTEXT(notify->list);
	struct coi_list_notify *list = coi_list_notify_find(notify);
	bool begins;
	int ret;

	if (list == NULL)
		return ctx->super.notify_next(notify, rec_r);

	begins = !list->looking;
	if (begins) {
		list->looking = TRUE;
		list->inbox_found = FALSE;
		list->next_uid = coi_list_notify_get_next_uid(list);
		list->waited = FALSE;
		coi_list_notify_stat(list->inbox_log_path, &list->inbox_begun);
	}
	ret = ctx->super.notify_next(notify, rec_r);
	if (begins)
		coi_list_notify_unshare_map(notify->list);
	if (ret > 0) {
		coi_list_notify_check_inbox(list, rec_r);
	} else {
		list->looking = FALSE;
		coi_list_notify_start_late(list);
		if (ret == 0 && coi_list_notify_missed_inbox(list)) {
			/* We are asked again, and that is a new look. */
			*rec_r = &list->inbox_rec;
			ret = 1;
		}
	}
	/* without any event, nothing is told */
	if (ret > 0 && (*rec_r)->events != 0) {
		list->last_time = ioloop_timeval;
		list->interval_msecs = COI_NOTIFY_INTERVAL_MSECS;
		if (((*rec_r)->events & COI_LIST_NOTIFY_NAMES) == 0)
			coi_list_notify_told(list, (*rec_r)->vname);
	}
	return ret;
}

void coi_list_notify_created(struct mailbox_list *list)
{
	struct mailbox_list_vfuncs *v = list->vlast;
	union mailbox_list_module_context *ctx;

	/* No other process knows NOTIFY. */
	if (!coi_imap_is_here() || COI_USER_CONTEXT(list->ns->user) == NULL)
		return;
	/* The list index, if there is one, has its functions put into super later. */
	ctx = p_new(list->pool, union mailbox_list_module_context, 1);
	ctx->super = *v;
	list->vlast = &ctx->super;
	v->notify_init = coi_list_notify_init;
	v->notify_next = coi_list_notify_next;
	v->notify_deinit = coi_list_notify_deinit;
	v->notify_wait = coi_list_notify_wait;
	MODULE_CONTEXT_SET_SELF(list, coi_list_module, ctx);
}
