// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// The functions of coi-relay.h.

#include <cstring>
#include <string>

#include "coi-relay.h"
#include "relay/relay.h"

struct coi_relay {
  std::unique_ptr<coi::relay::Relay> relay;
};

void coi_relay_settings_defaults(struct coi_relay_settings* set) {
  *set = {};
  set->key_dir = set->queue_dir = set->spool_dir = set->vapid_subject = "";
  set->vapid_subject_default = "";
  set->hosts_allowed = set->hosts_denied = set->hosts_http = set->networks_allowed = "";
  set->ssl_ca_file = set->device_token_gateway = "";
  set->ttl_chat_secs = 24 * 3600;
  set->ttl_mail_secs = 24 * 3600;
  set->queue_limit = 1000000;
  set->queue_user_limit = 1000;
  set->in_flight_limit = 256;
  set->in_flight_origin_limit = 32;
  set->connections_origin_limit = 8;
  set->request_timeout_msecs = 30000;
  set->connect_timeout_msecs = 10000;
  set->register_timeout_msecs = 10000;
  set->register_limit = 30;
}

struct coi_relay* coi_relay_open(const struct coi_relay_settings* set,
                                 const struct coi_relay_callbacks* callbacks, char** error_r) {
  std::string error;
  auto relay = coi::relay::Relay::Open(*set, *callbacks, {}, &error);
  if (relay == nullptr) {
    *error_r = strdup(coi::relay::Printable(error, 1000).c_str());
    return nullptr;
  }
  *error_r = nullptr;
  return new coi_relay{std::move(relay)};
}

int coi_relay_fd(const struct coi_relay* relay) {
  return relay->relay->fd();
}

void coi_relay_run(struct coi_relay* relay) {
  relay->relay->Run();
}

void coi_relay_add_client(struct coi_relay* relay, int fd) {
  relay->relay->AddClient(fd);
}

void coi_relay_close(struct coi_relay** relay) {
  if (*relay != nullptr) {
    (*relay)->relay->Close();
    delete *relay;
    *relay = nullptr;
  }
}

void coi_relay_get_status(const struct coi_relay* relay, struct coi_relay_status* status_r) {
  relay->relay->GetStatus(status_r);
}
