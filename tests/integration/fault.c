/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Preloaded into Dovecot, for what takes place too rarely by itself. On sdbox, in
   folders whose path has COI_FAULT_PATH in it:
   - as long as there is a file named COI_FAULT_FILE, the index can't be synced after
     new mails were committed to it;
   - as long as there is one named COI_FAULT_WAIT, no mail is copied there, and who
     has stored one waits once it is committed;
   - as long as there is one named COI_FAULT_CHANGING, the log of the index looks as
     if it had changed, each time. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct sdbox_sync_context;

int link(const char *old_path, const char *new_path);
int rename(const char *old_path, const char *new_path);
int stat64(const char *path, struct stat64 *st);
int sdbox_sync_finish(struct sdbox_sync_context **ctx, bool success);

static bool is_saving;

static bool is_there(const char *name)
{
	const char *path = getenv(name);

	return path != NULL && access(path, F_OK) == 0;
}

static void wait_while_told(void)
{
	for (int i = 0; i < 6000 && is_there("COI_FAULT_WAIT"); i++)
		(void)usleep(10000);
}

static bool is_meant(const char *path)
{
	const char *part = getenv("COI_FAULT_PATH");

	return part != NULL && strstr(path, part) != NULL;
}

int link(const char *old_path, const char *new_path)
{
	static int (*real)(const char *, const char *);

	if (real == NULL)
		real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT,
								  "link");
	if (is_meant(new_path))
		wait_while_told();
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
	ret = real(path, st);
	if (ret == 0)
		look_changed(path, st);
	return ret;
}

int stat64(const char *path, struct stat64 *st)
{
	return stat(path, (struct stat *)st);
}

int rename(const char *old_path, const char *new_path)
{
	static int (*real)(const char *, const char *);

	if (real == NULL)
		real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT,
								  "rename");
	if (is_meant(new_path) && strstr(new_path, "/u.") != NULL)
		is_saving = true;
	return real(old_path, new_path);
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
		wait_while_told();
		if (is_there("COI_FAULT_FILE"))
			ret = -1;
	}
	is_saving = false;
	return ret;
}
