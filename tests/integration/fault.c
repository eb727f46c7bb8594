/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Preloaded into Dovecot, for what takes place too rarely by itself. On sdbox, in
   folders whose path has COI_FAULT_PATH in it:
   - as long as there is a file named COI_FAULT_FILE, the index can't be synced after
     new mails were committed to it;
   - as long as there is one named COI_FAULT_WAIT, no mail is copied there, who is about
     to notes that in the file by a line, and who has stored one waits once it is
     committed;
   - as long as there is one named COI_FAULT_STORED, who has stored or copied one does;
   - as long as there is one named COI_FAULT_CHANGING, the log of the index looks as
     if it had changed, each time.

   On mdbox, in whatever folder, once new mails are committed to the index, and copies not
   yet counted:
   - as long as there is a file named COI_FAULT_FILE, the index can't be synced;
   - as long as there is one named COI_FAULT_STORED, who has committed them waits.

   As long as there is a file named COI_FAULT_HELD, who is about to commit a conditional
   STORE notes that there by a line, and waits.

   On maildir, as long as there is a file named COI_FAULT_SLOW, imap waits 2 ms before it
   looks at cur/, and who makes a cache file waits 6 ms once it is there.

   And as long as there is a file named COI_FAULT_NOTES, it is noted there who opens or
   looks at a file whose path ends with COI_FAULT_NOTED: a line "PROGRAM open" or "PROGRAM
   stat" each time, whether the file is there or not. */

/* else open() is an inline function that calls another one */
#undef _FORTIFY_SOURCE
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct mailbox_transaction_context;
struct sdbox_sync_context;
struct mdbox_sync_context;
struct mail_save_context;
struct mail_index_transaction_commit_result;

int link(const char *old_path, const char *new_path);
int rename(const char *old_path, const char *new_path);
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int lstat64(const char *path, struct stat64 *st);
int stat64(const char *path, struct stat64 *st);
int sdbox_sync_finish(struct sdbox_sync_context **ctx, bool success);
int mdbox_sync_finish(struct mdbox_sync_context **ctx, bool success);
void mdbox_transaction_save_commit_post(
	struct mail_save_context *ctx,
	struct mail_index_transaction_commit_result *result);
void mailbox_transaction_set_max_modseq(struct mailbox_transaction_context *t,
					uint64_t max_modseq, void *seqs);
int mailbox_transaction_commit(struct mailbox_transaction_context **t);

static bool is_saving;
static bool is_committing;
static const struct mailbox_transaction_context *conditional;

static bool is_there(const char *name)
{
	const char *path = getenv(name);

	return path != NULL && access(path, F_OK) == 0;
}

static void wait_while_told(const char *name)
{
	for (int i = 0; i < 6000 && is_there(name); i++)
		(void)usleep(10000);
}

static bool has_end(const char *path, const char *end)
{
	size_t len = strlen(path), end_len = strlen(end);

	return len >= end_len && strcmp(path + len - end_len, end) == 0;
}

static bool is_meant(const char *path)
{
	const char *part = getenv("COI_FAULT_PATH");

	return part != NULL && strstr(path, part) != NULL;
}

static int real_open(const char *path, int flags, mode_t mode)
{
	static int (*real)(const char *, int, ...);

	if (real == NULL)
		real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT,
							      "open64");
	return real(path, flags, mode);
}

static void note_in(const char *name, const char *what)
{
	const char *notes = getenv(name);
	int fd, old_errno = errno;

	if (notes == NULL)
		return;
	fd = real_open(notes, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
	if (fd != -1) {
		(void)dprintf(fd, "%s %s\n", program_invocation_short_name,
			      what);
		(void)close(fd);
	}
	errno = old_errno;
}

static void note(const char *path, const char *what)
{
	const char *end = getenv("COI_FAULT_NOTED");

	if (end != NULL && has_end(path, end))
		note_in("COI_FAULT_NOTES", what);
}

/* Which of the four it is depends on how its caller was compiled. */
int open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {
		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	note(path, "open");
	return real_open(path, flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

int __open_2(const char *path, int flags)
{
	note(path, "open");
	return real_open(path, flags, 0);
}

int __open64_2(const char *path, int flags) __attribute__((alias("__open_2")));

int access(const char *path, int mode)
{
	static int (*real)(const char *, int);

	if (real == NULL)
		real = (int (*)(const char *, int))dlsym(RTLD_NEXT, "access");
	note(path, "stat");
	return real(path, mode);
}

int link(const char *old_path, const char *new_path)
{
	static int (*real)(const char *, const char *);

	if (real == NULL)
		real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT,
								  "link");
	if (is_meant(new_path)) {
		note_in("COI_FAULT_WAIT", "link");
		wait_while_told("COI_FAULT_WAIT");
	}
	return real(old_path, new_path);
}

static void look_changed(const char *path, struct stat *st)
{
	static long changes;

	if (is_meant(path) && strstr(path, "/dovecot.index.log") != NULL &&
	    is_there("COI_FAULT_CHANGING"))
		st->st_mtim.tv_nsec = ++changes % 1000000000;
}

/* Which of the two it is depends on how its caller was compiled. */
int stat(const char *path, struct stat *st)
{
	static int (*real)(const char *, struct stat *);
	int ret;

	if (real == NULL)
		real = (int (*)(const char *, struct stat *))dlsym(RTLD_NEXT,
								   "stat");
	note(path, "stat");
	if (strcmp(program_invocation_short_name, "imap") == 0 &&
	    has_end(path, "/cur") && is_there("COI_FAULT_SLOW"))
		(void)usleep(2000);
	ret = real(path, st);
	if (ret == 0)
		look_changed(path, st);
	return ret;
}

int lstat(const char *path, struct stat *st)
{
	static int (*real)(const char *, struct stat *);

	if (real == NULL)
		real = (int (*)(const char *, struct stat *))dlsym(RTLD_NEXT,
								   "lstat");
	note(path, "stat");
	return real(path, st);
}

int lstat64(const char *path, struct stat64 *st)
{
	return lstat(path, (struct stat *)st);
}

int stat64(const char *path, struct stat64 *st)
{
	return stat(path, (struct stat *)st);
}

int rename(const char *old_path, const char *new_path)
{
	static int (*real)(const char *, const char *);
	int ret, old_errno;

	if (real == NULL)
		real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT,
								  "rename");
	if (is_meant(new_path) && strstr(new_path, "/u.") != NULL)
		is_saving = true;
	ret = real(old_path, new_path);
	old_errno = errno;
	if (has_end(new_path, "/dovecot.index.cache") &&
	    is_there("COI_FAULT_SLOW"))
		(void)usleep(6000);
	errno = old_errno;
	return ret;
}

int sdbox_sync_finish(struct sdbox_sync_context **ctx, bool success)
{
	static int (*real)(struct sdbox_sync_context **, bool);
	int ret;

	if (real == NULL)
		real = (int (*)(struct sdbox_sync_context **,
				bool))dlsym(RTLD_NEXT, "sdbox_sync_finish");
	ret = real(ctx, success);
	if (is_saving) {
		wait_while_told("COI_FAULT_WAIT");
		wait_while_told("COI_FAULT_STORED");
		if (is_there("COI_FAULT_FILE"))
			ret = -1;
	}
	is_saving = false;
	return ret;
}

void mdbox_transaction_save_commit_post(
	struct mail_save_context *ctx,
	struct mail_index_transaction_commit_result *result)
{
	static void (*real)(struct mail_save_context *,
			    struct mail_index_transaction_commit_result *);

	if (real == NULL)
		real = (void (*)(struct mail_save_context *,
				 struct mail_index_transaction_commit_result *))
			dlsym(RTLD_NEXT, "mdbox_transaction_save_commit_post");
	is_committing = true;
	real(ctx, result);
	is_committing = false;
}

int mdbox_sync_finish(struct mdbox_sync_context **ctx, bool success)
{
	static int (*real)(struct mdbox_sync_context **, bool);
	int ret;

	if (real == NULL)
		real = (int (*)(struct mdbox_sync_context **,
				bool))dlsym(RTLD_NEXT, "mdbox_sync_finish");
	ret = real(ctx, success);
	if (!is_committing)
		return ret;
	wait_while_told("COI_FAULT_STORED");
	return is_there("COI_FAULT_FILE") ? -1 : ret;
}

void mailbox_transaction_set_max_modseq(struct mailbox_transaction_context *t,
					uint64_t max_modseq, void *seqs)
{
	static void (*real)(struct mailbox_transaction_context *, uint64_t,
			    void *);

	if (real == NULL)
		real = (void (*)(struct mailbox_transaction_context *, uint64_t,
				 void *))
			dlsym(RTLD_NEXT, "mailbox_transaction_set_max_modseq");
	conditional = t;
	real(t, max_modseq, seqs);
}

int mailbox_transaction_commit(struct mailbox_transaction_context **t)
{
	static int (*real)(struct mailbox_transaction_context **);

	if (real == NULL)
		real = (int (*)(struct mailbox_transaction_context **))dlsym(
			RTLD_NEXT, "mailbox_transaction_commit");
	if (*t == conditional) {
		conditional = NULL;
		note_in("COI_FAULT_HELD", "commit");
		wait_while_told("COI_FAULT_HELD");
	}
	return real(t);
}
