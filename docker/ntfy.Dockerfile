# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
#
# ntfy, as Debian has it: a push service of one's own (UnifiedPush).
ARG BASE=debian:trixie-slim

FROM ${BASE}
LABEL org.dovecot-coi.stage=runtime
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ntfy \
 && rm -rf /var/lib/apt/lists/*
# It keeps what it has in memory: none of it needs to outlive it.
USER nobody
EXPOSE 2586
ENTRYPOINT ["ntfy", "serve", "--config", "/dev/null"]
