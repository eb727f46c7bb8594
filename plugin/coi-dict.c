/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "array.h"
#include "dict-private.h"
#include "ioloop.h"
#include "mail-storage-private.h"
#include "coi-compat.h"
#include "coi-handoff.h"
#include "coi-metadata.h"
#include "coi-subscriptions.h"
#include "coi-user.h"
#include "coi-dict.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct coi_dict_entry {
	const char *path;
	/* NULL of a subscription, which may be long, and which
	   coi_subscriptions_read() reads anew */
	const char *value;
};

/* What is in a dict in a file, of all that we may ask for. */
struct coi_dict_entries {
	ARRAY(struct coi_dict_entry) all;
};

/* What is waited for. */
struct dict_wait {
	struct ioloop *ioloop;
	/* when the first wait began, by coi_handoff_clock() */
	uint64_t began;
	bool answered, timed_out;
};

struct dict_question {
	struct dict_wait wait;
	int ret;
	char *value, *error;
};

static void dict_wait_answered(struct dict_wait *wait)
{
	wait->answered = TRUE;
	if (wait->ioloop != NULL)
		io_loop_stop(wait->ioloop);
}

static void dict_wait_timed_out(struct dict_wait *wait)
{
	wait->timed_out = TRUE;
	io_loop_stop(wait->ioloop);
}

/* Nothing else of the process goes on meanwhile, as in dict_lookup(). Returns FALSE (and
   error_r) if there is no answer; then the dict is to be closed. */
static bool
dict_wait_for(struct dict_wait *wait, struct dict *dict, const char **error_r)
{
	struct ioloop *prev_ioloop = current_ioloop;
	uint64_t now = coi_handoff_clock();
	struct timeout *to;

	if (wait->answered)
		return TRUE;
	if (wait->began == 0)
		wait->began = now;
	wait->ioloop = io_loop_create();
	dict_switch_ioloop(dict);
	to = timeout_add(COI_DICT_TIMEOUT_MSECS -
				 I_MIN(now - wait->began,
				       COI_DICT_TIMEOUT_MSECS),
			 dict_wait_timed_out, wait);
	while (!wait->answered && !wait->timed_out)
		io_loop_run(wait->ioloop);
	timeout_remove(&to);
	io_loop_set_current(prev_ioloop);
	dict_switch_ioloop(dict);
	io_loop_set_current(wait->ioloop);
	io_loop_destroy(&wait->ioloop);
	if (!wait->answered) {
		*error_r =
			t_strdup_printf("The dict hasn't answered within %u s",
					COI_DICT_TIMEOUT_MSECS / 1000);
	}
	return wait->answered;
}

/* Freeing the user would wait for the answer. Whoever needs the dict yet opens another. */
static void dict_give_up(struct mail_user *user, struct dict *dict)
{
	i_assert(dict == user->_attr_dict);
	dict_deinit(&user->_attr_dict);
}

static void
dict_question_answered(const struct dict_lookup_result *result, void *context)
{
	struct dict_question *question = context;

	question->ret = result->ret;
	if (result->ret < 0)
		question->error = i_strdup(result->error);
	else if (result->ret > 0)
		question->value = i_strdup(result->value);
	dict_wait_answered(&question->wait);
}

static bool dict_is_remote(const struct dict *dict)
{
	return strcmp(dict->name, "proxy") == 0;
}

/* One that is in use can't be closed. */
static bool
dict_wait_is_bounded(const struct coi_user *cuser, const struct dict *dict)
{
	return dict_is_remote(dict) &&
		(cuser->delivering ||
		 (cuser->waiting && dict->iter_count == 0 &&
		  dict->transaction_count == 0 && dict->commits == NULL));
}

bool coi_dict_is_file(const struct dict *dict)
{
	return strcmp(dict->name, "file") == 0;
}

/* Reading anything from a file dict takes all of it into memory; and where that isn't
   enough, the process ends, and with it the delivery to everybody else. A FIFO would
   keep them waiting, and a device may never end. Returns what is wrong, or NULL. */
static const char *dict_file_problem(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "isn't a file";
	if (st->st_size > COI_DICT_FILE_MAX_SIZE)
		return t_strdup_printf("is too large: %lld bytes",
				       (long long)st->st_size);
	return NULL;
}

static int
dict_file_check(struct mail_user *user, struct dict *dict, const char **error_r)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	const char *path, *problem = NULL;
	struct stat st;

	path = coi_compat_dict_file_path(user, dict);
	if (path != NULL && stat(path, &st) == 0)
		problem = dict_file_problem(&st);
	if (problem != NULL) {
		*error_r = t_strconcat(path, " ", problem, NULL);
		return -1;
	}
	cuser->dict_checked = TRUE;
	return 0;
}

static int
dict_file_read(struct mail_user *user, struct dict *dict, pool_t pool,
	       struct coi_dict_entries *entries, const char **error_r)
{
	struct dict_iterate_context *iter;
	struct coi_dict_entry *entry;
	const char *path, *value;
	bool config;

	p_array_init(&entries->all, pool, 4);
	iter = dict_iterate_init(dict, mail_user_get_dict_op_settings(user),
				 DICT_PATH_PRIVATE, DICT_ITERATE_FLAG_RECURSE);
	while (dict_iterate(iter, &path, &value)) {
		config = strstr(path, "/" COI_CONFIG_KEY_PREFIX) != NULL;
		if (!config &&
		    strstr(path, "/" COI_SUBSCRIPTIONS_KEY_PREFIX) == NULL)
			continue;
		entry = array_append_space(&entries->all);
		entry->path = p_strdup(pool, path);
		entry->value = config ? p_strdup(pool, value) : NULL;
	}
	return dict_iterate_deinit(&iter, error_r);
}

/* Returns NULL (and error_r) if the file can't be read, or is too large. */
static const struct coi_dict_entries *
dict_file_entries(struct mail_user *user, struct dict *dict,
		  const char **error_r)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	struct coi_dict_entries *entries;
	pool_t pool;

	if (cuser->delivering && cuser->dict_entries != NULL)
		return cuser->dict_entries;
	if (coi_dict_check(user, dict, NULL, error_r) < 0)
		return NULL;
	pool = cuser->delivering ? user->pool : pool_datastack_create();
	entries = p_new(pool, struct coi_dict_entries, 1);
	if (dict_file_read(user, dict, pool, entries, error_r) < 0)
		return NULL;
	if (cuser->delivering)
		cuser->dict_entries = entries;
	return entries;
}

bool coi_dict_is_missing(struct mail_user *user)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	const char *path;
	struct stat st;

	if (!cuser->delivering)
		return FALSE;
	if (cuser->dict_looked_for)
		return cuser->dict_is_missing;
	cuser->dict_looked_for = TRUE;
	path = coi_compat_attribute_dict_file_path(user);
	if (path == NULL)
		return FALSE;
	if (stat(path, &st) < 0)
		cuser->dict_is_missing = errno == ENOENT;
	else if (dict_file_problem(&st) == NULL)
		cuser->dict_checked = TRUE;
	return cuser->dict_is_missing;
}

bool coi_dict_may_have(struct mail_user *user, struct dict *dict,
		       const char *prefix)
{
	const struct coi_dict_entries *entries;
	const struct coi_dict_entry *entry;
	unsigned int count;
	const char *error;

	if (!coi_dict_is_file(dict))
		return TRUE;
	entries = dict_file_entries(user, dict, &error);
	/* whoever reads it says what is wrong */
	if (entries == NULL)
		return TRUE;
	entry = array_get(&entries->all, &count);
	for (unsigned int i = 0; i < count; i++) {
		if (strstr(entry[i].path, prefix) != NULL)
			return TRUE;
	}
	return FALSE;
}

static int
dict_file_lookup(struct mail_user *user, struct dict *dict, const char *path,
		 const char **value_r, const char **error_r)
{
	const struct coi_dict_entries *entries;
	const struct coi_dict_entry *entry;
	unsigned int count;

	*value_r = NULL;
	entries = dict_file_entries(user, dict, error_r);
	if (entries == NULL)
		return -1;
	entry = array_get(&entries->all, &count);
	for (unsigned int i = 0; i < count; i++) {
		if (strcmp(entry[i].path, path) == 0)
			*value_r = entry[i].value;
	}
	return *value_r != NULL ? 1 : 0;
}

/* One question to a dict that another process serves. Where it isn't answered in time, the
   dict is closed. */
static int dict_ask(struct mail_user *user, struct dict *dict, const char *path,
		    const char **value_r, const char **error_r)
{
	struct dict_question question;

	i_zero(&question);
	/* dict_lookup_async() would keep the dict until it has been answered */
	dict->v.lookup_async(dict, mail_user_get_dict_op_settings(user), path,
			     dict_question_answered, &question);
	if (dict_wait_for(&question.wait, dict, error_r)) {
		*error_r = t_strdup(question.error);
	} else {
		dict_give_up(user, dict);
		question.ret = -1;
	}
	*value_r = t_strdup(question.value);
	i_free(question.value);
	i_free(question.error);
	return question.ret;
}

int coi_dict_lookup(struct mail_user *user, struct dict *dict, const char *path,
		    const char **value_r, const char **error_r)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	uint64_t start;
	int ret;

	if (cuser->delivering && coi_dict_is_file(dict))
		return dict_file_lookup(user, dict, path, value_r, error_r);
	if (!dict_wait_is_bounded(cuser, dict)) {
		if (coi_dict_check(user, dict, NULL, error_r) < 0)
			return -1;
		return dict_lookup(dict, mail_user_get_dict_op_settings(user),
				   pool_datastack_create(), path, value_r,
				   error_r);
	}
	if (cuser->delivering && cuser->dict_error != NULL) {
		*error_r = cuser->dict_error;
		return -1;
	}
	start = coi_handoff_clock();
	ret = dict_ask(user, dict, path, value_r, error_r);
	/* By that question the service may have found out that its connection to
	   the database is gone, and has another one for the next. */
	if (ret < 0 && user->_attr_dict == dict &&
	    coi_handoff_clock() - start < COI_DICT_QUICK_MSECS)
		ret = dict_ask(user, dict, path, value_r, error_r);
	if (cuser->delivering) {
		if (ret < 0)
			cuser->dict_error = p_strdup(user->pool, *error_r);
		else
			cuser->dict_checked = TRUE;
	}
	return ret;
}

/* Reads what is there by now. Returns TRUE if there is more to come. */
static bool dict_list_more(struct dict_iterate_context *iter,
			   coi_dict_list_callback_t *callback, void *context)
{
	const char *path, *value;

	while (dict_iterate(iter, &path, &value))
		callback(path, value, context);
	return dict_iterate_has_more(iter);
}

int coi_dict_list(struct mail_user *user, struct dict *dict, const char *path,
		  enum dict_iterate_flags flags, unsigned int max_rows,
		  coi_dict_list_callback_t *callback, void *context,
		  const char **error_r)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	bool bounded = dict_wait_is_bounded(cuser, dict);
	struct dict_iterate_context *iter;
	struct dict_wait wait;
	const char *error;
	bool answered = TRUE;

	i_zero(&wait);
	iter = dict_iterate_init(
		dict, mail_user_get_dict_op_settings(user), path,
		flags | (bounded ? DICT_ITERATE_FLAG_ASYNC : 0));
	dict_iterate_set_limit(iter, max_rows);
	if (bounded) {
		dict_iterate_set_async_callback(iter, dict_wait_answered,
						&wait);
	}
	while (answered && dict_list_more(iter, callback, context)) {
		answered = dict_wait_for(&wait, dict, error_r);
		wait.answered = FALSE;
	}
	if (answered)
		return dict_iterate_deinit(&iter, error_r);
	(void)dict_iterate_deinit(&iter, &error);
	dict_give_up(user, dict);
	if (cuser->delivering)
		cuser->dict_error = p_strdup(user->pool, *error_r);
	return -1;
}

int coi_dict_check(struct mail_user *user, struct dict *dict,
		   struct mailbox *inbox, const char **error_r)
{
	struct coi_user *cuser = COI_USER_CONTEXT(user);
	const char *path, *value;

	if (!cuser->delivering || cuser->dict_checked)
		return 0;
	if (!dict_is_remote(dict))
		return dict_file_check(user, dict, error_r);
	if (coi_user_dict_path(user, inbox, COI_CONFIG_ENABLED_KEY, &path,
			       error_r) < 0)
		return -1;
	(void)coi_dict_lookup(user, dict, path, &value, error_r);
	return cuser->dict_checked ? 0 : -1;
}

/* Dovecot's file dict gives a new file the permissions of its folder, and one that it
   replaces those of the old file. */
void coi_dict_keep_private(struct mail_user *user, struct dict *dict)
{
	const char *path = coi_compat_dict_file_path(user, dict);
	struct stat st;
	int fd;

	if (path == NULL || !coi_compat_dict_is_ours(user))
		return;
	fd = open(path,
		  O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
		  0600);
	/* whoever writes to it says what is wrong; it may have to be made with
	   its folder, which is then nobody else's */
	if (fd == -1)
		return;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    (st.st_mode & S_IRWXO) != 0 &&
	    fchmod(fd, st.st_mode & (S_IRWXU | S_IRWXG)) < 0) {
		e_warning(user->event,
			  "coi: Can't keep others from reading %s: %m", path);
	}
	i_close_fd(&fd);
}
