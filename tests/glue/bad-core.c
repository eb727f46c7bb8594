/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Libraries that look like the core and are none, one for each define. */

#include "coi.h"

#if defined(BAD_CORE_NO_SYMBOL)
__attribute__((visibility("default"))) int not_the_core;
#elif defined(BAD_CORE_VERSION)
const struct coi_core *coi_core(unsigned int version)
{
	(void)version;
	return NULL;
}
#elif defined(BAD_CORE_UNRESOLVED)
extern const struct coi_core *nobody_has_this(unsigned int version);

const struct coi_core *coi_core(unsigned int version)
{
	return nobody_has_this(version);
}
#endif
