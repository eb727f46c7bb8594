/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "restrict-access.h"
#include "coi-core.h"

#include <dlfcn.h>
#include <unistd.h>

struct coi_library {
	const char *const name;
	const char *const symbol;
	const unsigned int version;
	/* what the log says that comes of its absence */
	const char *const what;
	const char *const consequence;

	void *handle;
	bool tried;
};

/* A function pointer in C can't come from dlsym() in any other way. */
union coi_library_entry {
	void *symbol;
	coi_core_func_t *core;
	coi_push_func_t *push;
	coi_seal_func_t *seal;
};

static struct coi_library core_library = {
	.name = "libcoi_core.so",
	.symbol = COI_CORE_SYMBOL,
	.version = COI_CORE_VERSION,
	.what = "core library",
	.consequence = "chat mail is treated as ordinary mail",
};
static struct coi_library push_library = {
	.name = "libcoi_push.so",
	.symbol = COI_PUSH_SYMBOL,
	.version = COI_PUSH_VERSION,
	.what = "push library",
	.consequence = "nothing is pushed",
};
static struct coi_library seal_library = {
	.name = "libcoi_seal.so",
	.symbol = COI_SEAL_SYMBOL,
	.version = COI_SEAL_VERSION,
	.what = "sealing library",
	.consequence = "nothing is pushed while coi-push is away",
};

static char *library_dir;
static const struct coi_core *core;
static const struct coi_push *push;
static const struct coi_seal *seal;

void coi_core_init(const char *module_path)
{
	const char *slash = strrchr(module_path, '/');

	library_dir = slash == NULL ?
		i_strdup("coi") :
		i_strdup_printf("%.*s/coi", (int)(slash - module_path),
				module_path);
}

static void coi_library_close(struct coi_library *lib)
{
	lib->tried = FALSE;
	if (lib->handle != NULL) {
		(void)dlclose(lib->handle);
		lib->handle = NULL;
	}
}

void coi_core_deinit(void)
{
	core = NULL;
	push = NULL;
	seal = NULL;
	coi_library_close(&core_library);
	coi_library_close(&push_library);
	coi_library_close(&seal_library);
	i_free(library_dir);
}

static const char *coi_library_path(const struct coi_library *lib)
{
	return t_strconcat(library_dir, "/", lib->name, NULL);
}

bool coi_core_is_shut_out(void)
{
	return restrict_access_get_current_chroot() != NULL && core == NULL &&
		access(coi_library_path(&core_library), R_OK) < 0;
}

static void coi_library_log_error(const struct coi_library *lib,
				  struct event *event, const char *error)
{
	e_error(event, "coi: Can't load the %s, so %s: %s", lib->what,
		lib->consequence, error);
}

/* Returns TRUE for the first call of the process, if the library is there: the
   caller then asks it for its table. */
static bool coi_library_load(struct coi_library *lib, struct event *event,
			     union coi_library_entry *entry_r)
{
	if (lib->tried)
		return FALSE;
	lib->tried = TRUE;

	lib->handle = dlopen(coi_library_path(lib), RTLD_NOW | RTLD_LOCAL);
	entry_r->symbol = lib->handle == NULL ? NULL :
						dlsym(lib->handle, lib->symbol);
	if (entry_r->symbol == NULL) {
		coi_library_log_error(lib, event, dlerror());
		return FALSE;
	}
	return TRUE;
}

static void coi_library_check_table(const struct coi_library *lib,
				    struct event *event, const void *table)
{
	if (table == NULL) {
		coi_library_log_error(
			lib, event,
			t_strdup_printf(
				"%s doesn't speak version %u of our interface",
				coi_library_path(lib), lib->version));
	}
}

const struct coi_core *coi_core_get(struct event *event)
{
	union coi_library_entry entry;

	if (coi_library_load(&core_library, event, &entry)) {
		core = entry.core(core_library.version);
		coi_library_check_table(&core_library, event, core);
	}
	return core;
}

const struct coi_push *coi_push_get(struct event *event)
{
	union coi_library_entry entry;

	if (coi_library_load(&push_library, event, &entry)) {
		push = entry.push(push_library.version);
		coi_library_check_table(&push_library, event, push);
	}
	return push;
}

const struct coi_seal *coi_seal_get(struct event *event)
{
	union coi_library_entry entry;

	if (coi_library_load(&seal_library, event, &entry)) {
		seal = entry.seal(seal_library.version);
		coi_library_check_table(&seal_library, event, seal);
	}
	return seal;
}
