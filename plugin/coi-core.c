/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

#include "lib.h"
#include "coi-core.h"

#include <dlfcn.h>

#define COI_CORE_PATH "coi/libcoi_core.so"

static char *core_path;
static void *core_handle;
static const struct coi_core *core;
static bool core_tried;

void coi_core_init(const char *module_path)
{
	const char *slash = strrchr(module_path, '/');

	core_path = slash == NULL ?
		i_strdup(COI_CORE_PATH) :
		i_strdup_printf("%.*s/" COI_CORE_PATH,
				(int)(slash - module_path), module_path);
}

void coi_core_deinit(void)
{
	core = NULL;
	core_tried = FALSE;
	if (core_handle != NULL) {
		(void)dlclose(core_handle);
		core_handle = NULL;
	}
	i_free(core_path);
}

static int coi_core_load(const char **error_r)
{
	union {
		void *symbol;
		coi_core_func_t *func;
	} entry;

	core_handle = dlopen(core_path, RTLD_NOW | RTLD_LOCAL);
	if (core_handle == NULL) {
		*error_r = t_strdup(dlerror());
		return -1;
	}
	entry.symbol = dlsym(core_handle, COI_CORE_SYMBOL);
	if (entry.symbol == NULL) {
		*error_r = t_strdup(dlerror());
		return -1;
	}
	core = entry.func(COI_CORE_VERSION);
	if (core == NULL) {
		*error_r = t_strdup_printf(
			"%s doesn't speak version %d of our interface",
			core_path, COI_CORE_VERSION);
		return -1;
	}
	return 0;
}

const struct coi_core *coi_core_get(struct event *event)
{
	const char *error;

	if (core_tried)
		return core;
	core_tried = TRUE;
	if (coi_core_load(&error) < 0) {
		e_error(event,
			"coi: Can't load the core library, "
			"so chat mail is treated as ordinary mail: %s",
			error);
	}
	return core;
}
